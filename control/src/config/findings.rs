//! Collects problems while the file is read and checked.

use super::code::Code;
use super::path::Path;
use super::problem::{Excerpt, Problem, Problems};
use super::tree::{Node, Place, Value};

/// The problems found so far, with what is needed to show where they are.
pub(super) struct Findings<'t> {
    text: &'t str,
    root: &'t Node<'t>,
    list: Vec<Problem>,
    more: bool,
}

impl<'t> Findings<'t> {
    /// Begins with what is wrong with the text as such.
    pub(super) fn new(text: &'t str, root: &'t Node<'t>, mut list: Vec<Problem>) -> Self {
        let more = list.len() > Problems::SHOWN;
        list.truncate(Problems::SHOWN);
        Self { text, root, list, more }
    }

    /// Whether nothing more is taken, so that whatever would be found can be skipped.
    pub(super) fn full(&self) -> bool {
        self.more
    }

    /// Reports a value, or the nearest thing around it if it was not written.
    pub(super) fn value(&mut self, code: Code, path: &Path<'_>, what: String, hint: &str) {
        let place = self.root.nearest(path).place;
        self.at(place, code, path, what, hint);
    }

    /// Reports a key: the last step of the path.
    pub(super) fn key(&mut self, code: Code, path: &Path<'_>, what: String, hint: &str) {
        let place = match path {
            Path::Key(parent, key) => match &self.root.nearest(parent).value {
                Value::Map(entries) => entries.iter().find(|e| e.key == *key).map(|e| e.place),
                _ => None,
            },
            Path::Root | Path::Item(..) => None,
        };
        let place = place.unwrap_or_else(|| self.root.nearest(path).place);
        self.at(place, code, path, what, hint);
    }

    /// Reports a place that a path alone does not name, such as a key's second mention.
    /// An empty hint is none.
    pub(super) fn at(
        &mut self,
        place: Place,
        code: Code,
        path: &Path<'_>,
        what: String,
        hint: &str,
    ) {
        if self.list.len() >= Problems::SHOWN {
            self.more = true;
            return;
        }
        self.list.push(Problem {
            code,
            path: path.to_string(),
            line: place.line,
            column: place.column,
            what,
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
            excerpt: Excerpt::default(),
        });
    }

    /// The line on which the value at a path stands.
    pub(super) fn line_of(&self, path: &Path<'_>) -> u32 {
        self.root.nearest(path).place.line
    }

    /// Sorts the problems and shows each its line.
    pub(super) fn finish(self, name: &str) -> Problems {
        Problems::in_text(name, self.text, self.list, self.more)
    }
}
