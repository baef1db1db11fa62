//! The lines of a configuration after remarks, conditions and parameters.

use std::collections::{HashMap, VecDeque};

use super::super::draft::Origin;
use super::super::note::Notes;

/// Bytes that parameters may grow a file to.
const MOST_BYTES: usize = 16 << 20;
/// Lines that it may grow to.
const MOST_LINES: usize = 500_000;
/// Parameters that a file may have.
const MOST_PARAMETERS: usize = 10_000;
/// Bytes of a line from which on its parameters are not filled in.
const LONGEST_FILLED: usize = 1 << 20;
/// Parameters within parameters.
const DEEPEST: usize = 16;

/// A line that is waiting: its number, how deep it is in parameters, and its text.
struct Waiting {
    number: usize,
    depth: usize,
    text: String,
}

/// Calls `run` with the lines that count and their numbers in the file.
pub(super) fn each(
    file: usize,
    text: &str,
    config_id: Option<&str>,
    notes: &mut Notes,
    mut run: impl FnMut(usize, &str, &mut Notes),
) {
    let mut parameters: HashMap<String, String> = HashMap::new();
    let (mut bytes, mut count) = (0, 0);
    let raw = text.lines().enumerate();
    let mut raw =
        raw.map(|(index, text)| Waiting { number: index + 1, depth: 0, text: text.into() });
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    while let Some(line) = waiting.pop_front().or_else(|| raw.next()) {
        bytes += line.text.len();
        count += 1;
        if bytes > MOST_BYTES || count > MOST_LINES {
            let why = "the file is too large, or its parameters make it so";
            let what = "everything from here on";
            notes.add(Origin::new(file, line.number), what, why, "import it in parts");
            break;
        }
        let plain = without_remark(&line.text);
        let Some(plain) = condition(file, &line, plain, config_id, notes) else { continue };
        if let Some((name, value)) = definition(plain) {
            let next = || waiting.pop_front().or_else(|| raw.next());
            let value = continued(value, next);
            if parameters.len() < MOST_PARAMETERS || parameters.contains_key(name) {
                parameters.insert(name.to_owned(), value);
            } else {
                let why = "there are too many parameters";
                let at = Origin::new(file, line.number);
                notes.add(at, format!("${name}"), why, "write out what it stands for");
            }
            continue;
        }
        if plain.trim_start().starts_with("~SEQ") || plain.trim_start().starts_with("~LST") {
            let why = "lines that are repeated are not read";
            let hint = "write the lines out that it stands for";
            notes.add(Origin::new(file, line.number), plain.trim(), why, hint);
            continue;
        }
        match filled(plain, &parameters) {
            Some(text) if line.depth < DEEPEST => {
                let (number, depth) = (line.number, line.depth + 1);
                let parts: Vec<&str> = text.lines().take(MOST_LINES).collect();
                for part in parts.into_iter().rev() {
                    waiting.push_front(Waiting { number, depth, text: part.to_owned() });
                }
            }
            _ => {
                if !plain.trim().is_empty() {
                    run(line.number, plain, notes);
                }
            }
        }
    }
}

/// The line up to a `#` or `!` that is not in quotes.
fn without_remark(line: &str) -> &str {
    let mut quoted = false;
    let end = line.find(|c| {
        quoted ^= c == '"';
        !quoted && matches!(c, '#' | '!')
    });
    line.get(..end.unwrap_or(line.len())).unwrap_or_default()
}

/// What is left of a line behind `@ID`, if it holds.
fn condition<'a>(
    file: usize,
    line: &Waiting,
    text: &'a str,
    config_id: Option<&str>,
    notes: &mut Notes,
) -> Option<&'a str> {
    let Some(rest) = text.trim_start().strip_prefix('@') else { return Some(text) };
    let (id, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (not, id) = match id.strip_prefix('^') {
        Some(id) => (true, id),
        None => (false, id),
    };
    let holds = (config_id == Some(id)) != not;
    if config_id.is_none() && !rest.trim().is_empty() {
        let (what, why) = if holds {
            (text.trim(), "it holds unless keepalived runs with this id, and was taken over")
        } else {
            (
                text.trim(),
                "it holds only where keepalived runs with this id (-i, or the host's name)",
            )
        };
        let hint = "import with the id that is meant if this is not right";
        notes.add(Origin::new(file, line.number), what, why, hint);
    }
    holds.then_some(rest)
}

/// `$NAME=VALUE`.
fn definition(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.trim().strip_prefix('$')?.split_once('=')?;
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named.then_some((name, value))
}

/// A value with the lines that follow it where it ends in a backslash.
fn continued(value: &str, mut next: impl FnMut() -> Option<Waiting>) -> String {
    let mut whole = String::new();
    let mut part = value.to_owned();
    while let Some(begun) = part.strip_suffix('\\') {
        whole.push_str(begun);
        whole.push('\n');
        let Some(line) = next().filter(|_| whole.len() <= MOST_BYTES) else { return whole };
        part = without_remark(&line.text).trim_end().to_owned();
    }
    whole + &part
}

/// The line with its parameters filled in once; `None` if there are none.
fn filled(line: &str, parameters: &HashMap<String, String>) -> Option<String> {
    let mut text = String::new();
    let mut found = false;
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once('$') {
        text.push_str(before);
        let (braces, name_on) = match behind.strip_prefix('{') {
            Some(inner) => (true, inner),
            None => (false, behind),
        };
        let end = name_on.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = name_on.split_at(end.unwrap_or(name_on.len()));
        let after = match (braces, after.strip_prefix('}')) {
            (true, Some(after)) => Some(after),
            (false, _) if after.is_empty() || after.starts_with(char::is_whitespace) => Some(after),
            _ => None,
        };
        match (parameters.get(name), after) {
            (Some(value), Some(after)) if text.len() < LONGEST_FILLED => {
                text.push_str(value);
                found = true;
                rest = after;
            }
            _ => {
                text.push('$');
                rest = behind;
            }
        }
    }
    text.push_str(rest);
    found.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, id: Option<&str>) -> (Vec<String>, usize) {
        let mut notes = Notes::default();
        let mut lines = Vec::new();
        each(0, text, id, &mut notes, |_, line, _| lines.push(line.trim().to_owned()));
        (lines, notes.finish(&["f".into()]).len())
    }

    #[test]
    fn remarks_begin_anywhere_but_in_quotes() {
        let (lines, _) = read("a # b\nc ! d\ne \"f # ! g\" h\n# i\n", None);
        assert_eq!(lines, ["a", "c", "e \"f # ! g\" h"]);
    }

    #[test]
    fn a_condition_holds_for_its_id_alone_and_a_negative_one_for_the_others() {
        let text = "@main a\n@^main b\n@^other c\n";
        assert_eq!(read(text, Some("main")), (vec!["a".into(), "c".into()], 0));
        assert_eq!(read(text, None), (vec!["b".into(), "c".into()], 3));
    }

    #[test]
    fn parameters_are_filled_in_when_they_are_used() {
        let text = "$BASE=10.2.${SUB}\n$SUB=0\n${BASE}.100/32\n$SUB=10\n${BASE}.100/32\n$NONE x\n";
        assert_eq!(read(text, None).0, ["10.2.0.100/32", "10.2.10.100/32", "$NONE x"]);
    }

    #[test]
    fn a_parameter_may_have_many_lines_and_others_in_them() {
        let text = "$RS= \\\nreal_server 192.0.2.${N} 80 { \\\nweight 1 \\\n}\n\
                    $VS= \\\n$N=1 \\\n$RS \\\n$N=2 \\\n$RS\n$VS\n";
        let one =
            |n: &str| [format!("real_server 192.0.2.{n} 80 {{"), "weight 1".into(), "}".into()];
        assert_eq!(read(text, None).0, [one("1"), one("2")].concat());
    }

    #[test]
    fn parameters_that_call_each_other_end() {
        let (lines, _) = read("$A=$B $B\n$B=$A $A\n$A\n", None);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() <= 2 * MOST_BYTES);
    }
}
