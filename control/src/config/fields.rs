//! Reading the keys of a mapping, each with a problem of its own if it is wrong.

use super::code::Code;
use super::findings::Findings;
use super::keys::Section;
use super::path::Path;
use super::scalar::{Reject, shown};
use super::suggest::{closest, listed};
use super::tree::{Entry, Node, Value};

/// A key's value, if there is one that can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Given<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// It is there and wrong, and that has been reported.
    Bad,
    /// It is there.
    Good(T),
}

/// The items of a list, as far as they could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed<T> {
    /// In the file's order; one that cannot be read is there as such, so that the index is
    /// the one in the file.
    pub(super) items: Vec<T>,
    /// Whether these are all: false where the list is compulsory and missing, is none, or
    /// has too many items.
    pub(super) whole: bool,
}

impl<T> Listed<T> {
    /// A list that could not be read.
    pub(super) fn unknown() -> Self {
        Self { items: Vec::new(), whole: false }
    }
}

impl<T> Given<T> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Given::Absent)
    }

    pub(super) fn is_bad(&self) -> bool {
        matches!(self, Given::Bad)
    }

    /// What was written, or the default. A wrong value is reported already, so the
    /// default may stand for it while the rest is checked.
    pub(super) fn or(self, default: T) -> T {
        self.good().unwrap_or(default)
    }

    /// As [`Given::or`], with the type's own default.
    pub(super) fn or_default(self) -> T
    where
        T: Default,
    {
        self.good().unwrap_or_default()
    }

    pub(super) fn good(self) -> Option<T> {
        match self {
            Given::Good(value) => Some(value),
            Given::Absent | Given::Bad => None,
        }
    }

    pub(super) fn as_ref(&self) -> Given<&T> {
        match self {
            Given::Absent => Given::Absent,
            Given::Bad => Given::Bad,
            Given::Good(value) => Given::Good(value),
        }
    }

    /// The value, or the default of a key that is not there; `None` if the value is wrong.
    pub(super) fn known_or(self, default: T) -> Option<T> {
        match self {
            Given::Absent => Some(default),
            Given::Bad => None,
            Given::Good(value) => Some(value),
        }
    }
}

/// The keys of one mapping.
pub(super) struct Fields<'a, 't> {
    path: &'a Path<'a>,
    node: &'a Node<'t>,
    entries: &'a [Entry<'t>],
    /// Known keys that an unknown one was probably meant to be.
    misspelt: Vec<String>,
    /// Whether an alias was to bring more keys: then none is missing for certain.
    merged: bool,
}

impl<'a, 't> Fields<'a, 't> {
    /// Reports unknown and duplicate keys; `None` if this is no mapping. A null under a key
    /// is an empty mapping: a section whose keys are all commented out.
    pub(super) fn open(
        node: &'a Node<'t>,
        path: &'a Path<'a>,
        section: &Section,
        findings: &mut Findings<'_>,
    ) -> Option<Self> {
        let entries: &[Entry<'t>] = match &node.value {
            Value::Map(entries) => entries,
            Value::Unknown => return None,
            _ if node.is_null() && !matches!(path, Path::Item(..)) => &[],
            _ => {
                wrong_kind(node, path, "keys and values", findings);
                return None;
            }
        };
        let mut seen = vec![None; section.keys.len()];
        let mut misspelt = Vec::new();
        let mut merged = false;
        for entry in entries {
            if entry.key == "<<" && matches!(entry.node.value, Value::Unknown) {
                merged = true;
                continue;
            }
            match section.keys.iter().position(|key| key.name == entry.key) {
                None => misspelt.extend(unknown_key(entry, path, section, findings)),
                Some(index) => match seen.get_mut(index) {
                    Some(Some(line)) => {
                        let what = format!("the key {} is here twice", shown(&entry.key));
                        let hint = format!("it is on line {line}, too");
                        findings.at(entry.place, Code::DuplicateKey, path, what, &hint);
                    }
                    Some(first) => *first = Some(entry.place.line),
                    None => {}
                },
            }
        }
        Some(Self { path, node, entries, misspelt, merged })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Whether the key is there, or a misspelling of it.
    pub(super) fn means(&self, key: &str) -> bool {
        !self.find(key).is_absent()
    }

    /// The node under a key, whatever it is. A key that is there under a wrong name has a
    /// value, but nobody knows which.
    pub(super) fn find(&self, key: &str) -> Given<&'a Node<'t>> {
        match self.entries.iter().find(|entry| entry.key == key) {
            Some(entry) => Given::Good(&entry.node),
            None if self.merged || self.misspelt.iter().any(|meant| meant == key) => Given::Bad,
            None => Given::Absent,
        }
    }

    /// A value read from its text.
    pub(super) fn read<T>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        parse: impl FnOnce(&str) -> Result<T, Reject>,
    ) -> Given<T> {
        match self.find(key) {
            Given::Absent => Given::Absent,
            Given::Bad => Given::Bad,
            Given::Good(node) => scalar(node, &self.path.key(key), findings, parse),
        }
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        findings: &mut Findings<'_>,
        words: &[(&str, T)],
    ) -> Given<T> {
        match self.find(key) {
            Given::Absent => Given::Absent,
            Given::Bad => Given::Bad,
            Given::Good(node) => word(node, &self.path.key(key), findings, words),
        }
    }

    /// The items of a list; a null is an empty one.
    pub(super) fn list(&self, key: &str, findings: &mut Findings<'_>) -> Given<&'a [Node<'t>]> {
        let node = match self.find(key) {
            Given::Absent => return Given::Absent,
            Given::Bad => return Given::Bad,
            Given::Good(node) => node,
        };
        match &node.value {
            Value::List(items) => Given::Good(items),
            _ if node.is_null() => Given::Good(&[]),
            _ => {
                wrong_kind(node, &self.path.key(key), "a list", findings);
                Given::Bad
            }
        }
    }

    /// Reports a compulsory key that is not there, unless its misspelling has been.
    pub(super) fn require(&self, key: &str, hint: &str, findings: &mut Findings<'_>) {
        if !self.means(key) {
            let what = format!("the key `{key}` is missing");
            findings.at(self.node.place, Code::MissingKey, self.path, what, hint);
        }
    }

    /// Reports a key that says nothing beside the others.
    pub(super) fn pointless(&self, key: &str, why: &str, hint: &str, findings: &mut Findings<'_>) {
        if self.has(key) {
            let path = self.path.key(key);
            findings.key(Code::Pointless, &path, format!("`{key}` {why}"), hint);
        }
    }
}

/// Reads a scalar that is a value of its own or an item of a list.
pub(super) fn scalar<T>(
    node: &Node<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
    parse: impl FnOnce(&str) -> Result<T, Reject>,
) -> Given<T> {
    let Some(text) = text(node, path, findings) else { return Given::Bad };
    match parse(text) {
        Ok(value) => Given::Good(value),
        Err(Reject { code, what, hint }) => {
            findings.at(node.place, code, path, what, &hint);
            Given::Bad
        }
    }
}

/// Reads one of several words.
pub(super) fn word<T: Copy>(
    node: &Node<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
    words: &[(&str, T)],
) -> Given<T> {
    let Some(text) = text(node, path, findings) else { return Given::Bad };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Given::Good(*value);
    }
    if !findings.full() {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = match closest(text, &names) {
            Some(word) => format!("did you mean `{word}`? Possible: {}", listed(&names)),
            None => format!("possible: {}", listed(&names)),
        };
        let what = format!("{} is not possible here", shown(text));
        findings.at(node.place, Code::UnknownWord, path, what, &hint);
    }
    Given::Bad
}

/// The text of a scalar; reports anything else.
pub(super) fn text<'n>(
    node: &'n Node<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<&'n str> {
    if node.is_null() {
        let what = "there is no value here".to_owned();
        findings.at(node.place, Code::MissingValue, path, what, "write one or remove the key");
        return None;
    }
    match &node.value {
        Value::Plain(text) | Value::Quoted(text) => Some(text),
        Value::List(_) | Value::Map(_) | Value::Unknown => {
            wrong_kind(node, path, "a single value", findings);
            None
        }
    }
}

/// Reports that something of another shape belongs here, unless it is known to be wrong.
pub(super) fn wrong_kind(
    node: &Node<'_>,
    path: &Path<'_>,
    wanted: &str,
    findings: &mut Findings<'_>,
) {
    let is = match &node.value {
        _ if node.is_null() => "nothing",
        Value::Plain(_) | Value::Quoted(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
        Value::Unknown => return,
    };
    let what = if is == "nothing" {
        format!("{wanted} must stand here")
    } else {
        format!("{wanted} must stand here, not {is}")
    };
    let hint = match (wanted, &node.value) {
        ("a list", Value::Plain(_) | Value::Quoted(_)) => "write `[...]` around it",
        ("a list", Value::Map(_)) => "put `- ` before the first key of each item",
        ("keys and values", Value::List(_)) => "remove the `- ` or the brackets",
        ("keys and values", _) => "write `key: value`, with a space after the colon",
        _ => "",
    };
    findings.at(node.place, Code::WrongKind, path, what, hint);
}

/// Gives back the key that was probably meant.
fn unknown_key(
    entry: &Entry<'_>,
    path: &Path<'_>,
    section: &Section,
    findings: &mut Findings<'_>,
) -> Option<String> {
    if findings.full() {
        return None;
    }
    let known: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    let what = format!("there is no key {} here", shown(&entry.key));
    let meant = closest(&entry.key, &known);
    let hint = match meant {
        Some(key) => format!("did you mean `{key}`?"),
        None => format!("possible: {}", listed(&known)),
    };
    findings.at(entry.place, Code::UnknownKey, path, what, &hint);
    meant.map(str::to_owned)
}
