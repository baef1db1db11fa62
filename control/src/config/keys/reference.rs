//! The reference of keys in `conf/README.md`.

use std::fmt::Write as _;

use super::explain::{default, sentence};
use super::lookup::{Found, every, find};
use super::{Default, Key, Section};

/// Begins the made part of `conf/README.md`.
pub const BEGIN: &str =
    "<!-- From here on made from the model: BLESS=1 cargo test -p control --test keys -->";
/// Ends it.
pub const END: &str = "<!-- To here. -->";

/// A heading and a table for every section, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("### How values are written\n\n");
    for (name, about) in values() {
        let _ = writeln!(text, "- **{name}**: {about}.");
    }
    text.push('\n');
    for (found, section) in sections() {
        let name = if found.path.is_empty() {
            "Top level".to_owned()
        } else {
            format!("`{}`", found.path)
        };
        let _ = write!(text, "### {name}\n\n{}\n\n", section.about());
        for rule in section.rules {
            let _ = write!(text, "{}\n\n", sentence(rule));
        }
        text += "| key | value | default | meaning |\n| --- | --- | --- | --- |\n";
        for child in found.children() {
            let Some((section, key)) = child.key else { continue };
            let restart = if key.restart { " (restart)" } else { "" };
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {}{restart} |",
                child.path.strip_prefix(&found.path).unwrap_or(&child.path).trim_start_matches('.'),
                cell(&key.value.to_string()),
                cell(&shown_default(key)),
                cell(&meaning(section, key)),
            );
        }
        text.push('\n');
    }
    text
}

/// How values are written, as a list.
#[must_use]
pub fn values() -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (_, key) in every().iter().filter_map(|found| found.key) {
        for written in key.value.written() {
            if !all.contains(&written) {
                all.push(written);
            }
        }
    }
    all.sort_by_key(|(name, _)| name.trim_start_matches('`').to_lowercase());
    all
}

/// The file and every mapping in it, with the keys that stand in it.
pub(crate) fn sections() -> Vec<(Found, &'static Section)> {
    let root = find("").into_iter();
    root.chain(every())
        .filter_map(|found| found.section().map(|section| (found, section)))
        .collect()
}

fn shown_default(key: &Key) -> String {
    match key.default {
        Default::Is("{}" | "[]") => String::new(),
        Default::Is(value) => format!("`{value}`"),
        Default::Compulsory => "compulsory".to_owned(),
        Default::From(_) => default(key.default),
    }
}

/// What the key means, and its words if it has some.
fn meaning(section: &Section, key: &Key) -> String {
    let mut text = section.meaning(key);
    if let Some(words) = key.value.words_of() {
        for word in words.names() {
            let meaning = words.meaning(word);
            let _ = write!(text, " `{word}`: {}", lower(&meaning));
        }
    }
    text
}

/// A sentence as it goes on after a colon; abbreviations and names keep their letters.
fn lower(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let (first, second) = (letters.next(), letters.clone().next());
    match (first, second) {
        (Some(first), Some(second)) if !second.is_uppercase() && !second.is_ascii_punctuation() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => sentence.to_owned(),
    }
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_in_the_reference_once() {
        let text = markdown();
        let rows = text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, every().len());
        assert!(text.contains("### `services[].persistence`\n"), "{text}");
    }
}
