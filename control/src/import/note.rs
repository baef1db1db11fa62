//! What could not be carried over.

use std::fmt;

use super::draft::Origin;

/// Something that was not carried over, or not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file's name as it was given.
    pub file: String,
    /// The line in it, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What it is.
    pub what: String,
    /// Why it is not in the configuration.
    pub why: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Note {
    /// One line, for a terminal or a comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, what, why, hint } = self;
        write!(f, "{file}")?;
        if *line > 0 {
            write!(f, ":{line}")?;
        }
        // What is a whole file's, or stands on no line, has no name.
        if !what.is_empty() {
            write!(f, ": {what}")?;
        }
        write!(f, ": {why}; {hint}")
    }
}

/// Notes kept at most; what comes after them is counted.
const MOST: usize = 4_000;
/// Bytes of text kept at most: the notes are repeated in the configuration, which has a limit.
const MOST_BYTES: usize = 2 << 20;
/// Characters kept of one part of a note.
const LONGEST: usize = 2_000;

/// The notes as they come in.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What matters more than all else, and is few.
    first: Vec<(Origin, [String; 3])>,
    all: Vec<(Origin, [String; 3])>,
    bytes: usize,
    more: usize,
}

impl Notes {
    pub(super) fn add(
        &mut self,
        origin: Origin,
        what: impl AsRef<str>,
        why: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        if self.all.len() >= MOST || self.bytes >= MOST_BYTES {
            self.more += 1;
            return;
        }
        let parts = [plain(what.as_ref()), plain(why.as_ref()), plain(hint.as_ref())];
        self.bytes += parts.iter().map(String::len).sum::<usize>();
        self.all.push((origin, parts));
    }

    /// Adds one that comes before all others and is kept however many there are.
    pub(super) fn add_first(&mut self, origin: Origin, what: &str, why: &str, hint: &str) {
        self.first.push((origin, [plain(what), plain(why), plain(hint)]));
    }

    /// How many are not kept.
    pub(super) fn more(&self) -> usize {
        self.more
    }

    /// All notes by file and line, with the files' names.
    pub(super) fn finish(mut self, files: &[String]) -> Vec<Note> {
        self.all.sort_by_key(|(origin, _)| *origin);
        let name = |file: usize| files.get(file).cloned().unwrap_or_default();
        let mut notes: Vec<Note> = self
            .first
            .into_iter()
            .chain(self.all)
            .map(|(origin, [what, why, hint])| Note {
                file: name(origin.file()),
                line: origin.line(),
                what,
                why,
                hint,
            })
            .collect();
        notes.dedup();
        if self.more > 0 {
            notes.push(Note {
                file: name(0),
                line: 0,
                what: format!("{} more notes", self.more),
                why: "there are too many to keep".into(),
                hint: "import the file in parts".into(),
            });
        }
        notes
    }
}

/// Text on one line, without control characters and not endless: it goes to terminals and into
/// comments.
pub(super) fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() || !printable(c) { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        plain.push_str("...");
    }
    plain
}

/// What YAML allows in a comment, less the line separators and marks of direction.
fn printable(c: char) -> bool {
    !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_out_by_line_and_say_everything_on_one_line() {
        let mut notes = Notes::default();
        notes.add(Origin::new(0, 7), "b\nb", "why", "do");
        notes.add(Origin::new(0, 2), "a", "why", "do");
        notes.add(Origin::new(0, 2), "a", "why", "do");
        let text: Vec<String> =
            notes.finish(&["f".into()]).iter().map(ToString::to_string).collect();
        assert_eq!(text, ["f:2: a: why; do", "f:7: b b: why; do"]);
    }

    #[test]
    fn endless_notes_are_cut_and_counted_and_what_matters_most_is_kept_before_them() {
        let mut notes = Notes::default();
        for line in 0..MOST + 5 {
            notes.add(Origin::new(0, line), "x", "y", "z");
        }
        notes.add_first(Origin::new(0, 9), "all behind it", "y", "z");
        assert_eq!(notes.more(), 5);
        let notes = notes.finish(&["f".into()]);
        assert_eq!(notes.len(), MOST + 2);
        assert_eq!(notes.first().unwrap().what, "all behind it");
        assert_eq!(notes.last().unwrap().what, "5 more notes");
        assert_eq!(plain(&"x".repeat(LONGEST + 1)).len(), LONGEST + 3);
    }
}
