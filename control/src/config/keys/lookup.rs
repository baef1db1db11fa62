//! Finding keys by their path.

use super::{FILE, Key, Section};
use crate::config::suggest::{closest, listed};

/// A key that was found, or the whole file.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path, with `[]` after lists: `services[].persistence.timeout`. Empty for the
    /// whole file.
    pub path: String,
    /// The section it stands in, and the key; `None` for the whole file.
    pub key: Option<(&'static Section, &'static Key)>,
}

impl Found {
    fn root() -> Self {
        Self { path: String::new(), key: None }
    }

    fn below(&self, section: &'static Section, key: &'static Key) -> Self {
        let list = key.value.section().is_some_and(|(_, list)| list);
        let dot = if self.path.is_empty() { "" } else { "." };
        let brackets = if list { "[]" } else { "" };
        Self {
            path: format!("{}{dot}{}{brackets}", self.path, key.name),
            key: Some((section, key)),
        }
    }

    /// The keys below it, if it is a mapping or a list of mappings.
    #[must_use]
    pub fn section(&self) -> Option<&'static Section> {
        match self.key {
            None => Some(&FILE),
            Some((_, key)) => key.value.section().map(|(section, _)| section),
        }
    }

    /// The keys directly below it.
    #[must_use]
    pub fn children(&self) -> Vec<Found> {
        let keys = self.section().map(|section| (section, section.keys));
        keys.map_or_else(Vec::new, |(section, keys)| {
            keys.iter().map(|key| self.below(section, key)).collect()
        })
    }

    /// What it means.
    #[must_use]
    pub fn meaning(&self) -> String {
        match self.key {
            Some((section, key)) => section.meaning(key),
            None => FILE.about(),
        }
    }
}

/// Every key, parents before children, in the order of the file.
#[must_use]
pub fn every() -> Vec<Found> {
    fn walk(found: &Found, all: &mut Vec<Found>) {
        for child in found.children() {
            all.push(child.clone());
            walk(&child, all);
        }
    }
    let mut all = Vec::new();
    walk(&Found::root(), &mut all);
    all
}

/// Every section, the file's first.
#[cfg(test)]
pub(super) fn sections() -> Vec<&'static Section> {
    let mut all = vec![&FILE];
    all.extend(every().iter().filter_map(Found::section));
    all
}

/// The key at a path such as `services.persistence.timeout`; `[]` and `[0]` may stand
/// after lists, and nothing, or `.`, is the whole file.
///
/// # Errors
///
/// A sentence that names the keys that may have been meant.
pub fn find(path: &str) -> Result<Found, String> {
    let mut found = Found::root();
    for word in path.trim().split('.').filter(|word| !word.is_empty()) {
        let name = word.split('[').next().unwrap_or(word);
        let children = found.children();
        match children.iter().find(|child| child.key.is_some_and(|(_, key)| key.name == name)) {
            Some(child) => found = child.clone(),
            None => return Err(unknown(name, &found, &children)),
        }
    }
    Ok(found)
}

fn unknown(name: &str, parent: &Found, children: &[Found]) -> String {
    let shown = crate::config::scalar::shown(name);
    let place = match parent.path.as_str() {
        "" => "at the top of the file".to_owned(),
        path => format!("under `{path}`"),
    };
    if children.is_empty() {
        return format!("there is nothing {place}, so no {shown} either: it is a single value");
    }
    let names: Vec<&str> =
        children.iter().filter_map(|child| child.key).map(|(_, key)| key.name).collect();
    let elsewhere: Vec<String> = every()
        .into_iter()
        .filter(|found| found.key.is_some_and(|(_, key)| key.name == name))
        .map(|found| found.path)
        .collect();
    let paths: Vec<&str> = elsewhere.iter().map(String::as_str).collect();
    let hint = match (closest(name, &names), paths.is_empty()) {
        (_, false) => format!("did you mean {}?", listed(&paths)),
        (Some(key), true) => {
            let path =
                children.iter().find(|child| child.key.is_some_and(|(_, found)| found.name == key));
            format!("did you mean `{}`?", path.map_or(key, |found| found.path.as_str()))
        }
        (None, true) => format!("possible: {}", listed(&names)),
    };
    format!("there is no key {shown} {place}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_however_its_lists_are_written() {
        for path in [
            "services.persistence.timeout",
            "services[].persistence.timeout",
            " services[0].persistence.timeout.",
        ] {
            assert_eq!(find(path).unwrap().path, "services[].persistence.timeout");
        }
        assert_eq!(find("").unwrap().path, "");
        assert_eq!(find(".").unwrap().section().unwrap().keys.len(), FILE.keys.len());
    }

    #[test]
    fn a_misspelt_path_is_told_what_was_meant() {
        let told = |path| find(path).unwrap_err();
        assert_eq!(
            told("servises"),
            "there is no key `servises` at the top of the file; did you mean `services[]`?"
        );
        assert_eq!(
            told("services.persistance"),
            "there is no key `persistance` under `services[]`; \
             did you mean `services[].persistence`?"
        );
        assert!(
            told("vip_port").ends_with(
                "did you mean `services[].selectors[].vip_port` or `services[].vip_port`?"
            )
        );
        assert!(told("ports.colour").contains("possible: `name`, `device`"));
        assert!(told("ttl.x").contains("it is a single value"));
        assert!(!told("\u{1b}[2J").contains('\u{1b}'));
    }

    #[test]
    fn no_path_is_there_twice() {
        let mut paths: Vec<String> = every().into_iter().map(|found| found.path).collect();
        let all = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all);
    }
}
