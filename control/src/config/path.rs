//! Where in the YAML something stands, such as `services[1].real_servers[0].weight`.

use std::fmt;

/// A path built on the stack while descending; it costs nothing until it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path<'a> {
    /// The whole file.
    Root,
    /// The value of a key.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub(super) fn item(&'a self, index: usize) -> Path<'a> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(key),
            Path::Key(parent, key) => write!(f, "{parent}.{key}"),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_an_operator_would_write_it() {
        let services = Path::Root.key("services");
        let first = services.item(0);
        assert_eq!(first.key("name").to_string(), "services[0].name");
        assert_eq!(Path::Root.to_string(), "");
    }
}
