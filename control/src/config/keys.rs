//! Every key of the configuration file, described once.
//!
//! What a key means is the doc comment of its field in the [model](super::model); what it
//! may be, its default and an example stand in the tables of this folder. The parser takes
//! its known keys from here; [`explain`], [`schema`], [`mod@reference`] and the manual page are
//! made from here. `tests/keys.rs` holds tables and parser together: every key, every
//! bound, every word and every default is tried.

pub mod explain;
mod file;
mod form;
mod lookup;
mod port;
mod real_server;
pub mod reference;
pub mod schema;
mod service;
mod value;

use documented::{Documented, DocumentedFields};

pub use form::Form;
pub use lookup::{Found, every, find};
pub use value::{Value, Words};

pub use file::FILE;
pub(super) use file::{
    ALLOW, COMPAT, CONTROL, FRAGMENTS, LOG, MEMORY, METRICS, NEIGHBOURS, RUN_AS, SERVICE_COMPAT,
    TABLES, TIMEOUTS,
};
pub(super) use port::{PORT, ROUTE};
pub(super) use real_server::{REAL_SERVER, TUNNEL};
pub(super) use service::{PERSISTENCE, PIN, SCHEDULER, SELECTOR, SERVICE};

/// A mapping: its keys in the order in which they are listed.
#[derive(Debug)]
pub struct Section {
    about: &'static str,
    fields: fn(&str) -> Option<&'static str>,
    /// The keys.
    pub keys: &'static [Key],
    /// How they depend on each other.
    pub rules: &'static [Rule],
}

impl Section {
    /// The section of a struct of the model, whose comments explain it.
    const fn of<T: Documented + DocumentedFields>(keys: &'static [Key]) -> Self {
        Self { about: T::DOCS, fields: doc_of::<T>, keys, rules: &[] }
    }

    /// The comments of another struct explain the keys.
    const fn explained_by<T: DocumentedFields>(mut self) -> Self {
        self.fields = doc_of::<T>;
        self
    }

    const fn rules(mut self, rules: &'static [Rule]) -> Self {
        self.rules = rules;
        self
    }

    /// What the section is for: paragraphs of text.
    #[must_use]
    pub fn about(&self) -> String {
        prose(self.about)
    }

    /// What a key of this section means: paragraphs of text.
    #[must_use]
    pub fn meaning(&self, key: &Key) -> String {
        match key.doc {
            Doc::Here(text) => text.to_owned(),
            Doc::Field(field) => prose((self.fields)(field).unwrap_or_default()),
        }
    }

    /// The key of this name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What it may be.
    pub value: Value,
    /// What it is if it is not written.
    pub default: Default,
    /// A value as one may write it, in YAML's flow style.
    pub example: &'static str,
    /// Whether a change of it needs a restart; otherwise a reload takes it over.
    pub restart: bool,
    doc: Doc,
}

/// Where the text about a key is.
#[derive(Debug)]
enum Doc {
    /// The comment of a field of the section's struct.
    Field(&'static str),
    /// Here, for a key that no field stands for.
    Here(&'static str),
}

/// What a key is if it is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It must be written.
    Compulsory,
    /// A value that may be written as well.
    Is(&'static str),
    /// Something that follows from the rest, in words.
    From(&'static str),
}

/// How the keys of a section depend on each other.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Exactly one of these groups is there.
    OneOf {
        /// The groups; a key that stands alone may be a list, which is not empty then.
        groups: &'static [&'static [&'static str]],
        /// Beside this key the first group may be missing or empty, and the others as well.
        unless: &'static str,
    },
    /// Both at once are refused; an empty list is as good as none.
    NotBoth(&'static str, &'static str),
    /// A key that another one's word makes possible.
    With {
        /// The key.
        key: &'static str,
        /// The other one.
        when: &'static str,
        /// Its words.
        is: &'static [&'static str],
        /// Whether the key is compulsory then.
        compulsory: bool,
    },
}

impl Key {
    /// A key that has no default, explained by the field of its name.
    const fn new(name: &'static str, value: Value, example: &'static str) -> Self {
        let doc = Doc::Field(name);
        Self { name, value, default: Default::Compulsory, example, restart: false, doc }
    }

    const fn or(mut self, default: &'static str) -> Self {
        self.default = Default::Is(default);
        self
    }

    const fn or_from(mut self, words: &'static str) -> Self {
        self.default = Default::From(words);
        self
    }

    const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    const fn field(mut self, name: &'static str) -> Self {
        self.doc = Doc::Field(name);
        self
    }

    const fn about(mut self, text: &'static str) -> Self {
        self.doc = Doc::Here(text);
        self
    }
}

/// The comment of a field or variant.
fn doc_of<T: DocumentedFields>(field: &str) -> Option<&'static str> {
    T::get_field_docs(field).ok()
}

/// A doc comment as text: without the key's own name in front, without line breaks inside
/// a paragraph.
fn prose(comment: &str) -> String {
    let text = match comment.strip_prefix('`').and_then(|rest| rest.split_once("`: ")) {
        Some((name, rest)) if !name.contains('`') => rest,
        _ => comment,
    };
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect();
    let text = paragraphs.join("\n\n");
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_loses_its_name_and_its_line_breaks() {
        assert_eq!(prose("`mib`: memory for\nDPDK.\n\nMore."), "Memory for DPDK.\n\nMore.");
        assert_eq!(prose("From `a` to `b`: all."), "From `a` to `b`: all.");
        assert_eq!(prose("`true` or `false`."), "`true` or `false`.");
    }

    #[test]
    fn every_key_is_explained_in_sentences() {
        for found in every() {
            let text = found.meaning();
            assert!(text.len() >= 10 && text.ends_with('.'), "{}: {text:?}", found.path);
            assert!(!text.starts_with('`') || !text.contains("`: "), "{}: {text:?}", found.path);
        }
    }

    #[test]
    fn rules_speak_of_keys_that_are_there() {
        for section in lookup::sections() {
            for rule in section.rules {
                let names: Vec<&str> = match rule {
                    Rule::OneOf { groups, unless } => groups
                        .iter()
                        .flat_map(|group| group.iter())
                        .chain([unless])
                        .copied()
                        .collect(),
                    Rule::NotBoth(a, b) => vec![a, b],
                    Rule::With { key, when, .. } => vec![key, when],
                };
                assert!(names.iter().all(|name| section.key(name).is_some()), "{rule:?}");
            }
        }
    }
}
