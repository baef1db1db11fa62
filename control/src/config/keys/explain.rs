//! `director explain-key`: what a key means, on a terminal.

use std::fmt::Write as _;

use super::lookup::{Found, every, find};
use super::{Default, Rule};
use crate::config::suggest::listed;

/// Columns that a text may take.
const WIDTH: usize = 88;

/// What is said about the key at a path; the whole file for an empty one.
///
/// # Errors
///
/// A sentence that names the keys that may have been meant.
pub fn explain(path: &str) -> Result<String, String> {
    Ok(text(&find(path)?))
}

/// Every key below a path, one a line, with what it may be.
///
/// # Errors
///
/// As [`explain`].
pub fn tree(path: &str) -> Result<String, String> {
    let root = find(path)?;
    let below = |found: &Found| {
        root.path.is_empty()
            || found.path == root.path
            || found.path.strip_prefix(&root.path).is_some_and(|rest| rest.starts_with('.'))
    };
    let rows: Vec<(String, String)> = every()
        .iter()
        .filter(|found| below(found))
        .map(|found| (found.path.clone(), kind(found)))
        .collect();
    Ok(columns(&rows, "", usize::MAX))
}

fn kind(found: &Found) -> String {
    match found.key {
        None => "mapping".to_owned(),
        Some((_, key)) => match key.default {
            Default::Compulsory => format!("{} (compulsory)", key.value),
            Default::Is(_) | Default::From(_) => key.value.to_string(),
        },
    }
}

fn text(found: &Found) -> String {
    let mut said = String::new();
    if let Some((_, key)) = found.key {
        let _ = writeln!(said, "{}\n", found.path);
        let mut facts = vec![("value", key.value.to_string())];
        for (name, about) in key.value.written() {
            facts.push(("", format!("{name}: {about}")));
        }
        facts.push(("default", default(key.default)));
        if found.section().is_none() {
            facts.push(("change", change(key.restart).to_owned()));
        }
        facts.push(("example", format!("{}: {}", key.name, key.example)));
        let rows: Vec<(String, String)> =
            facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect();
        said += &columns(&rows, "  ", WIDTH);
        said.push('\n');
    }
    said += &paragraphs(&found.meaning());
    if let Some(section) = found.section() {
        if found.key.is_some() && section.about() != found.meaning() {
            said.push('\n');
            said += &paragraphs(&section.about());
        }
        for rule in section.rules {
            said.push('\n');
            said += &paragraphs(&sentence(rule));
        }
    }
    if let Some(words) = found.key.and_then(|(_, key)| key.value.words_of()) {
        let rows: Vec<(String, String)> =
            words.names().iter().map(|word| ((*word).to_owned(), words.meaning(word))).collect();
        said += "\nwords\n";
        said += &columns(&rows, "  ", WIDTH);
    }
    let children = found.children();
    if !children.is_empty() {
        let rows: Vec<(String, String)> = children
            .iter()
            .filter_map(|child| {
                child.key.map(|(_, key)| (key.name.to_owned(), first_sentence(&child.meaning())))
            })
            .collect();
        said += "\nkeys\n";
        said += &columns(&rows, "  ", WIDTH);
    }
    said
}

/// A default as a person says it.
pub(super) fn default(default: Default) -> String {
    match default {
        Default::Compulsory => "none, it must be written".to_owned(),
        Default::Is(value) => value.to_owned(),
        Default::From(words) => words.to_owned(),
    }
}

fn change(restart: bool) -> &'static str {
    if restart { "needs a restart" } else { "a reload takes it over" }
}

/// A rule as a sentence.
pub(crate) fn sentence(rule: &Rule) -> String {
    match rule {
        Rule::OneOf { groups, unless } => {
            let groups: Vec<String> = groups
                .iter()
                .map(|group| match group {
                    [only] => format!("`{only}`"),
                    keys => {
                        let quoted: Vec<String> =
                            keys.iter().map(|key| format!("`{key}`")).collect();
                        quoted.join(" with ")
                    }
                })
                .collect();
            let groups = groups.join(" or ");
            format!("Either {groups} must be there, not both; beside `{unless}` neither has to.")
        }
        Rule::NotBoth(a, b) => format!("`{a}` and `{b}` exclude each other."),
        Rule::With { key, when, is, compulsory } => {
            let must = if *compulsory { ", and must be there then" } else { "" };
            format!("`{key}` is possible where `{when}` is {}{must}.", listed(is))
        }
    }
}

/// Up to the first full stop that ends a sentence.
pub(super) fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.find(". ") {
        Some(end) => line.get(..=end).unwrap_or(line).to_owned(),
        None => line.to_owned(),
    }
}

fn paragraphs(text: &str) -> String {
    let wrapped: Vec<String> =
        text.split("\n\n").map(|paragraph| wrap(paragraph, "  ", WIDTH)).collect();
    wrapped.join("\n")
}

/// Names and texts beside each other; a text goes on under itself.
fn columns(rows: &[(String, String)], indent: &str, width: usize) -> String {
    let widest = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let hanging = " ".repeat(indent.len() + widest + 2);
    let mut said = String::new();
    for (name, text) in rows {
        let block = wrap(text, &hanging, width);
        let _ = write!(said, "{indent}{name:widest$}  {}", block.trim_start());
    }
    said
}

/// The words of a paragraph in lines that begin with the indent.
fn wrap(text: &str, indent: &str, width: usize) -> String {
    let mut said = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + line.chars().count() + word.chars().count() >= width {
            let _ = writeln!(said, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    let _ = writeln!(said, "{indent}{line}");
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_explained_with_its_facts_and_its_meaning() {
        let said = explain("services.persistence.timeout").unwrap();
        assert!(
            said.starts_with("services[].persistence.timeout\n\n  value    time, 1 s to 31 d\n")
        );
        assert!(said.contains("  default  360\n"), "{said}");
        assert!(said.contains("  change   a reload takes it over\n"), "{said}");
        assert!(said.contains("  example  timeout: 15m\n"), "{said}");
        assert!(said.contains("How long a template lives"), "{said}");
    }

    #[test]
    fn a_section_lists_its_keys_and_a_word_its_meaning() {
        let said = explain("memory").unwrap();
        assert!(said.contains("\nkeys\n  no_huge      "), "{said}");
        let said = explain("log.level").unwrap();
        assert!(said.contains("\nwords\n  error  Only what stops"), "{said}");
        assert!(explain("").unwrap().contains("\n  services    "));
    }

    #[test]
    fn no_line_is_too_long_unless_a_word_is() {
        for found in every() {
            for line in text(&found).lines() {
                let long = line.chars().count() > WIDTH && line.split_whitespace().count() > 3;
                assert!(!long, "{}: {line}", found.path);
                assert!(line == line.trim_end(), "{}: {line:?}", found.path);
            }
        }
    }

    #[test]
    fn the_tree_has_every_key_once() {
        let all = tree("").unwrap();
        assert_eq!(all.lines().count(), every().len());
        let some = tree("services.selectors").unwrap();
        assert_eq!(some.lines().count(), 4, "{some}");
    }
}
