//! What a key may be.

use std::fmt;

use documented::DocumentedFields;

use super::form::Form;
use super::{Section, doc_of, prose};

const SWITCH: (&str, &str) =
    ("switch", "`true` or `false`; `yes`, `on` and `1` are refused with a hint");
const COUNT: (&str, &str) =
    ("count", "a number, or with `k` (1,000) or `M` (1,000,000): `500k`, `2M`");
const TIME: (&str, &str) =
    ("time", "a number of seconds, or with a unit: `500ms`, `30s`, `15m`, `2h`, `31d`");

/// What a key may be.
#[derive(Debug)]
pub enum Value {
    /// `true` or `false`.
    Switch,
    /// A whole number, both bounds included.
    Number {
        /// The least.
        from: u64,
        /// The greatest.
        to: u64,
        /// What is counted, empty for a plain number.
        unit: &'static str,
    },
    /// A power of two, both bounds included and powers of two themselves.
    PowerOfTwo {
        /// The least.
        from: u64,
        /// The greatest.
        to: u64,
    },
    /// A number that may be written with `k` or `M`.
    Count {
        /// The least.
        from: u64,
        /// The greatest.
        to: u64,
    },
    /// A time: seconds, or with a unit.
    Time {
        /// The shortest, in milliseconds.
        from_ms: u64,
        /// The longest, in milliseconds.
        to_ms: u64,
    },
    /// One of some words.
    Word(Words),
    /// Text of a certain form.
    Text(&'static Form),
    /// Keys and values.
    Mapping(&'static Section),
    /// Several of one kind.
    List {
        /// What each item is.
        of: &'static Value,
        /// The fewest items.
        least: u64,
        /// The most items, if that is limited.
        most: Option<u64>,
    },
    /// Any of several, the fullest first.
    Either(&'static [Value]),
}

/// The words of an enum of the model.
#[derive(Debug)]
pub struct Words {
    names: &'static [&'static str],
    doc: fn(&str) -> Option<&'static str>,
}

impl Words {
    /// The words in the order in which they are listed.
    #[must_use]
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    /// What a word means.
    #[must_use]
    pub fn meaning(&self, word: &str) -> String {
        prose((self.doc)(word).unwrap_or_default())
    }
}

impl Value {
    pub(super) const fn number(from: u64, to: u64) -> Self {
        Value::Number { from, to, unit: "" }
    }

    pub(super) const fn counted(from: u64, to: u64, unit: &'static str) -> Self {
        Value::Number { from, to, unit }
    }

    pub(super) const fn seconds(from: u64, to: u64) -> Self {
        Value::Time { from_ms: from * 1_000, to_ms: to * 1_000 }
    }

    /// The words are the variants' names as the file has them.
    pub(super) const fn words<T: DocumentedFields>() -> Self {
        Value::Word(Words { names: T::FIELD_NAMES, doc: doc_of::<T> })
    }

    pub(super) const fn list(of: &'static Value, least: u64, most: u64) -> Self {
        Value::List { of, least, most: Some(most) }
    }

    /// A list as long as one likes.
    pub(super) const fn any_list(of: &'static Value, least: u64) -> Self {
        Value::List { of, least, most: None }
    }

    /// The section behind this value, directly or as the item of a list, and whether a
    /// list is between.
    #[must_use]
    pub fn section(&self) -> Option<(&'static Section, bool)> {
        match self {
            Value::Mapping(section) => Some((section, false)),
            Value::List { of, .. } => of.section().map(|(section, _)| (section, true)),
            Value::Either(values) => values.iter().find_map(Value::section),
            _ => None,
        }
    }

    /// Its words, if it can be one.
    #[must_use]
    pub fn words_of(&self) -> Option<&Words> {
        match self {
            Value::Word(words) => Some(words),
            Value::Either(values) => values.iter().find_map(Value::words_of),
            _ => None,
        }
    }

    /// How it is written: the names of its parts that need an explanation, each with one.
    #[must_use]
    pub fn written(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Value::Switch => vec![SWITCH],
            Value::Count { .. } => vec![COUNT],
            Value::Time { .. } => vec![TIME],
            Value::Text(form) => vec![(form.name, form.about)],
            Value::List { of, .. } => of.written(),
            Value::Either(values) => {
                let mut all: Vec<_> = values.iter().flat_map(Value::written).collect();
                all.dedup();
                all
            }
            Value::Number { .. }
            | Value::PowerOfTwo { .. }
            | Value::Word(_)
            | Value::Mapping(_) => Vec::new(),
        }
    }

    /// What the items of a list are, by the form of their text.
    fn plural(&self) -> Option<&'static str> {
        match self {
            Value::Text(form) => Some(form.plural),
            Value::Either(values) => values.iter().find_map(Value::plural),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    /// What it is and its range, as the reference's column has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch => f.write_str("switch"),
            Value::Number { from, to, unit: "" } => write!(f, "{from} to {to}"),
            Value::Number { from, to, unit } => write!(f, "{from} to {to} {unit}"),
            Value::PowerOfTwo { from, to } => write!(f, "{from} to {to}, a power of two"),
            Value::Count { from, to } => write!(f, "count, {} to {}", Short(*from), Short(*to)),
            Value::Time { from_ms, to_ms } => {
                write!(f, "time, {} to {}", Period(*from_ms), Period(*to_ms))
            }
            Value::Word(words) => {
                let quoted: Vec<String> =
                    words.names.iter().map(|word| format!("`{word}`")).collect();
                f.write_str(&quoted.join(", "))
            }
            Value::Text(form) => f.write_str(form.name),
            Value::Mapping(_) => f.write_str("mapping"),
            Value::List { of, least, most } => {
                write!(f, "list of {}", Plural(of))?;
                match (least, most) {
                    (0, None) => Ok(()),
                    (least, None) => write!(f, ", at least {least}"),
                    (0, Some(most)) => write!(f, ", at most {most}"),
                    (least, Some(most)) => write!(f, ", {least} to {most}"),
                }
            }
            Value::Either(values) => {
                let all: Vec<String> = values.iter().map(Value::to_string).collect();
                f.write_str(&all.join(", or "))
            }
        }
    }
}

/// What the items of a list are.
struct Plural<'a>(&'a Value);

impl fmt::Display for Plural<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.0.plural()) {
            (Value::Mapping(_), _) => f.write_str("mappings"),
            (_, Some(several)) => f.write_str(several),
            (other, None) => other.fmt(f),
        }
    }
}

/// A count as it is written shortest.
struct Short(u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number @ 1_000_000.. if number.is_multiple_of(1_000_000) => {
                write!(f, "{}M", number / 1_000_000)
            }
            number => number.fmt(f),
        }
    }
}

/// A time in its largest unit.
struct Period(u64);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
        let unit = UNITS.iter().find(|(ms, _)| self.0 >= *ms && self.0.is_multiple_of(*ms));
        match unit {
            Some((ms, name)) => write!(f, "{} {name}", self.0 / ms),
            None => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_say_what_they_are_and_their_range() {
        static SECOND: Value = Value::seconds(1, 31 * 86_400);
        static EITHER: [Value; 2] = [Value::Switch, Value::number(1, 2)];
        let pairs = [
            (Value::counted(64, 1 << 20, "MiB"), "64 to 1048576 MiB"),
            (Value::Count { from: 1_024, to: 1_000_000_000 }, "count, 1024 to 1000M"),
            (Value::Time { from_ms: 10, to_ms: 60_000 }, "time, 10 ms to 1 min"),
            (Value::list(&SECOND, 0, 9), "list of time, 1 s to 31 d, at most 9"),
            (Value::Either(&EITHER), "switch, or 1 to 2"),
        ];
        for (value, text) in pairs {
            assert_eq!(value.to_string(), text);
        }
    }
}
