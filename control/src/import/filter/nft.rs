//! What `nft list ruleset` prints, as far as it concerns marks.

use std::cell::Cell;
use std::collections::HashMap;

use crate::config::model::Family;
use crate::ipvsadm::Names;

use super::super::draft::{Draft, Origin};
use super::nft_rule;
use super::nft_text::{Cursor, MOST_TOKENS, Token, tokens};
use super::{Entry, Hook, IN_PARTS, TOO_MUCH};

/// Whether a text is nft's: its first statement is a table's.
pub(in crate::import) fn is_nft(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.find(|line| !line.starts_with('#') || line.contains("nft"));
    first.is_some_and(|line| {
        line.starts_with("table ")
            || line == "flush ruleset"
            || line.starts_with("#!") && line.contains("nft")
    })
}

/// Sets and maps of a table.
#[derive(Default)]
pub(super) struct Sets<'a> {
    elements: HashMap<&'a str, Cursor<'a>>,
    /// Tokens of sets that rules have looked at.
    used: Cell<usize>,
}

/// Tokens of sets that the rules of a table may look at in all.
const MOST_USED: usize = 4_000_000;

impl<'a> Sets<'a> {
    /// The elements of a set or map, unless rules have looked at too many.
    pub(super) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        let found = self.elements.get(name)?.clone();
        self.used.set(self.used.get() + found.len());
        (self.used.get() <= MOST_USED).then_some(found)
    }
}

/// Reads a whole ruleset.
pub(in crate::import) fn read(file: usize, text: &str, names: &Names, draft: &mut Draft) {
    let tokens = tokens(text);
    if tokens.len() > MOST_TOKENS {
        let line = tokens.last().map_or(0, |(line, _)| *line as usize);
        let (what, why) = ("everything from here on", "the ruleset is too large");
        draft.notes.add(Origin::new(file, line), what, why, "import it in parts");
    }
    let mut cursor = Cursor::new(&tokens);
    while let Some(token) = cursor.peek() {
        match token {
            Token::Word("table") => {
                cursor.next();
                table(file, &mut cursor, names, draft);
            }
            Token::Word(word) => {
                let origin = Origin::new(file, line(&cursor));
                let shown = cursor.statement();
                if word != "flush" {
                    draft.notes.add(
                        origin,
                        shown.shown(),
                        "only tables with their chains, sets and maps are read",
                        "import the output of `nft list ruleset` instead",
                    );
                }
            }
            _ => drop(cursor.next()),
        }
    }
}

/// The line of the next token.
fn line(cursor: &Cursor<'_>) -> usize {
    let mut ahead = cursor.clone();
    ahead.next();
    ahead.line()
}

fn table(file: usize, cursor: &mut Cursor<'_>, names: &Names, draft: &mut Draft) {
    let first = cursor.word().unwrap_or_default();
    let (kind, name) = match cursor.word() {
        Some(name) => (first, name),
        None => ("ip", first),
    };
    if !cursor.take_token(Token::Open) {
        return;
    }
    let body = cursor.block();
    let family = match kind {
        "ip" => Some(Family::V4),
        "ip6" => Some(Family::V6),
        "inet" => None,
        // Bridges and devices see no packet on its way to a service.
        _ => return,
    };
    let table = format!("{file} {kind} {name}");
    let sets = sets(body.clone());
    let mut body = body;
    while let Some(token) = body.next() {
        let Token::Word(word) = token else { continue };
        let name = body.word().unwrap_or_default();
        if word != "chain" || !body.take_token(Token::Open) {
            body.statement();
            continue;
        }
        let mut rules = body.block();
        if draft.rules.chain(&table, family, name).is_none() {
            let what = format!("chain {name}");
            draft.notes.add(Origin::new(file, body.line()), what, TOO_MUCH, IN_PARTS);
            continue;
        }
        while rules.peek().is_some() {
            if matches!(rules.peek(), Some(Token::End | Token::Close | Token::Comma)) {
                rules.next();
                continue;
            }
            let origin = Origin::new(file, line(&rules));
            let statement = rules.statement();
            if let Some((hook, priority)) = base(statement.clone()) {
                let (table, chain) = (table.clone(), name.to_owned());
                draft.rules.enter(Entry { hook, priority, table, chain });
                continue;
            }
            if statement.clone().take("policy") {
                continue;
            }
            let rules = nft_rule::read(origin, statement, &sets, names, &mut draft.notes);
            if !draft.rules.admits(&rules) {
                draft.notes.add(origin, "the rules of this line", TOO_MUCH, IN_PARTS);
            } else if let Some(chain) = draft.rules.chain(&table, family, name) {
                chain.extend(rules);
            }
        }
    }
}

/// The elements of the table's sets and maps.
fn sets(mut body: Cursor<'_>) -> Sets<'_> {
    let mut sets = Sets::default();
    while let Some(token) = body.next() {
        let Token::Word(word) = token else { continue };
        let name = body.word().unwrap_or_default();
        if !body.take_token(Token::Open) {
            body.statement();
            continue;
        }
        let mut inner = body.block();
        if word != "set" && word != "map" {
            continue;
        }
        while inner.peek().is_some() {
            if inner.take("elements") && inner.take("=") && inner.take_token(Token::Open) {
                sets.elements.insert(name, inner.block());
            } else {
                inner.next();
            }
        }
    }
    sets
}

/// `type filter hook prerouting priority mangle`: where packets come into the chain, if it is
/// before IPVS.
fn base(mut statement: Cursor<'_>) -> Option<(Hook, i32)> {
    if !statement.take("type") {
        return None;
    }
    let (mut hook, mut priority) = (None, 0);
    while let Some(word) = statement.word() {
        match word {
            "hook" => {
                hook = match statement.word() {
                    Some("prerouting") => Some(Hook::Prerouting),
                    Some("input") => Some(Hook::Input),
                    _ => None,
                }
            }
            "priority" => {
                let text = statement.word().unwrap_or_default();
                let base = match text {
                    "raw" => -300,
                    "mangle" => -150,
                    "dstnat" => -100,
                    "security" => 50,
                    "srcnat" => 100,
                    _ => text.parse().unwrap_or(0),
                };
                let sign = match statement.word() {
                    Some("+") => 1,
                    Some("-") => -1,
                    _ => 0,
                };
                let offset = statement.word().and_then(|word| word.parse::<i32>().ok());
                let offset = offset.unwrap_or(0).saturating_mul(sign);
                priority = i32::saturating_add(base, offset);
            }
            _ => {}
        }
    }
    hook.map(|hook| (hook, priority))
}
