//! What is wrong with a configuration file, in words and with the place.

use std::fmt;

use super::code::Code;

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of mistake; stable.
    pub code: Code,
    /// Where in the YAML, such as `services[1].mark`; empty for the file as a whole.
    pub path: String,
    /// Line, from 1; 0 if the mistake has no place in the text.
    pub line: u32,
    /// Column in characters, from 1; 0 if the mistake has no place in the text.
    pub column: u32,
    /// A sentence that says what is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line itself, or the part of it around the column.
    pub(super) excerpt: Excerpt,
}

/// The part of a source line that a problem shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Excerpt {
    text: String,
    /// Characters of `text` before the marked ones.
    before: u8,
    /// Characters marked, at least one.
    marked: u8,
}

impl Excerpt {
    /// Longer lines are cut on both sides of the column.
    const WIDTH: usize = 100;

    /// `column` counts characters from 1; the word that begins there is marked.
    pub(super) fn of_line(line: &str, column: u32) -> Self {
        let before = (column as usize).saturating_sub(1);
        let cut = before.saturating_sub(Self::WIDTH / 2);
        let text: String = line.trim_end().chars().skip(cut).take(Self::WIDTH).collect();
        let before = before - cut;
        let marked = word_length(text.chars().skip(before));
        // Both are at most `WIDTH`.
        let narrow = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        Self { text, before: narrow(before), marked: narrow(marked) }
    }
}

/// How many characters the value that begins here has on its line.
fn word_length(rest: impl Iterator<Item = char>) -> usize {
    let rest: Vec<char> = rest.collect();
    match rest.as_slice() {
        [] | ['[' | '{', ..] => 1,
        [quote @ ('"' | '\''), inside @ ..] => {
            inside.iter().position(|c| c == quote).map_or(rest.len(), |closing| closing + 2)
        }
        _ => {
            let end = rest.iter().position(|c| c.is_whitespace() || ",[]{}".contains(*c));
            let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            // The colon after a key is no part of it.
            let colon = usize::from(word.last() == Some(&':'));
            (word.len() - colon).max(1)
        }
    }
}

impl fmt::Display for Problem {
    /// Only the sentence and the hint, for logs; [`Problems`] prints whole frames.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with one configuration, sorted by line.
///
/// `Display` prints a frame for each problem:
///
/// ```text
/// director.yaml:4:5: D0101: services[0]: unknown key `schedular`
///     4 |     schedular: wlc
///       |     ^^^^^^^^^ did you mean `scheduler`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    name: String,
    list: Vec<Problem>,
    more: bool,
}

impl std::error::Error for Problems {}

impl Problems {
    /// A file with thousands of mistakes has one cause; reading stops here.
    pub(super) const SHOWN: usize = 1_000;

    pub(super) fn new(name: &str, mut list: Vec<Problem>, more: bool) -> Self {
        list.sort_by_key(|problem| (problem.line, problem.column, problem.code));
        Self { name: name.to_owned(), list, more }
    }

    /// Shows each problem its line, in one pass over the text.
    pub(super) fn in_text(name: &str, text: &str, mut list: Vec<Problem>, more: bool) -> Self {
        let more = more || list.len() > Self::SHOWN;
        list.truncate(Self::SHOWN);
        list.sort_by_key(|problem| problem.line);
        let mut lines = text.lines();
        let (mut number, mut line) = (0, "");
        for problem in &mut list {
            while number < problem.line {
                line = lines.next().unwrap_or_default();
                number += 1;
            }
            problem.excerpt = Excerpt::of_line(line, problem.column);
        }
        Self::new(name, list, more)
    }

    pub(super) fn single(name: &str, problem: Problem) -> Self {
        Self::new(name, vec![problem], false)
    }

    /// The name that stands for the file in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The problems in the order of the file; at most 1,000.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are, 1,000 at most.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            frame(f, &self.name, problem)?;
        }
        if self.more {
            writeln!(f, "{}: the first {} problems; there are more", self.name, self.len())?;
        }
        Ok(())
    }
}

/// Prints one problem; every line is ended.
fn frame(f: &mut fmt::Formatter<'_>, name: &str, problem: &Problem) -> fmt::Result {
    let Problem { code, path, line, column, what, hint, excerpt } = problem;
    let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
    if *line == 0 {
        writeln!(f, "{name}: {code}: {place}{what}")?;
        return match hint {
            Some(hint) => writeln!(f, "        {hint}"),
            None => Ok(()),
        };
    }
    writeln!(f, "{name}:{line}:{column}: {code}: {place}{what}")?;
    writeln!(f, "{line:>5} | {}", excerpt.text)?;
    // Tabs are kept so that the marker stands under its word on every terminal.
    let indent: String = excerpt
        .text
        .chars()
        .chain(std::iter::repeat(' '))
        .take(excerpt.before.into())
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let marker = "^".repeat(excerpt.marked.into());
    match hint {
        Some(hint) => writeln!(f, "      | {indent}{marker} {hint}"),
        None => writeln!(f, "      | {indent}{marker}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str, column: u32) -> Problem {
        Problem {
            code: Code::UnknownKey,
            path: "services[0]".to_owned(),
            line: 4,
            column,
            what: "unknown key `schedular`".to_owned(),
            hint: Some("did you mean `scheduler`?".to_owned()),
            excerpt: Excerpt::of_line(line, column),
        }
    }

    #[test]
    fn a_frame_shows_the_line_and_marks_the_word() {
        let problems = Problems::single("director.yaml", problem("    schedular: wlc\r\n", 5));
        assert_eq!(
            problems.to_string(),
            "director.yaml:4:5: D0101: services[0]: unknown key `schedular`\n    \
             4 |     schedular: wlc\n      |     ^^^^^^^^^ did you mean `scheduler`?\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let line = format!("{}here{}", "x, ".repeat(1000), ", y".repeat(1000));
        let excerpt = Excerpt::of_line(&line, 3001);
        assert_eq!(excerpt.text.chars().count(), Excerpt::WIDTH);
        assert_eq!(excerpt.marked, 4);
        assert_eq!(
            excerpt.text.chars().skip(excerpt.before.into()).take(4).collect::<String>(),
            "here"
        );
    }

    #[test]
    fn a_mark_covers_a_quoted_value_and_never_vanishes() {
        assert_eq!(word_length("\"a, b\" # c".chars()), 6);
        assert_eq!(word_length("".chars()), 1);
        assert_eq!(word_length("{ a: 1 }".chars()), 1);
        assert_eq!(word_length("2001:db8::1, x".chars()), 11);
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let mut late = problem("b: 1", 1);
        late.line = 9;
        let problems = Problems::new("f", vec![late, problem("a: 1", 1)], true);
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [4, 9]);
        assert_eq!(problems.len(), 2);
        assert!(problems.to_string().ends_with("f: the first 2 problems; there are more\n"));
    }
}
