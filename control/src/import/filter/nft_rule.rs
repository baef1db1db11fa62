//! One rule of nft as rules of the common form.

use crate::config::model::{Family, Protocol};
use crate::ipvsadm::Names;

use super::super::draft::Origin;
use super::super::note::Notes;
use super::nft::Sets;
use super::nft_text::{Cursor, Token};
use super::{MOST_ELEMENTS, Match, Net, Ports, Rule, Verdict, port, protocols};

/// A field of a packet that an expression looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Destination,
    Port,
    Protocol,
}

/// One way in which a rule may fit, and what comes of it where a map says so.
struct Way {
    matches: Vec<Match>,
    verdict: Option<Verdict>,
}

/// A rule as far as it is read.
pub(super) struct Reading<'a> {
    origin: Origin,
    sets: &'a Sets<'a>,
    names: &'a Names,
    pub(super) matches: Vec<Match>,
    ways: Vec<Way>,
    pub(super) verdicts: Vec<Verdict>,
    foreign: Option<String>,
    pub(super) passed_over: Option<String>,
    /// Why what it does besides is left out, and what to do about it.
    pub(super) idle: Option<(&'static str, &'static str)>,
}

/// Reads one rule. A map becomes a rule for each of its elements.
pub(super) fn read(
    origin: Origin,
    statement: Cursor<'_>,
    sets: &Sets<'_>,
    names: &Names,
    notes: &mut Notes,
) -> Vec<Rule> {
    let shown = statement.shown();
    let mut reading = Reading {
        origin,
        sets,
        names,
        matches: Vec::new(),
        ways: Vec::new(),
        verdicts: Vec::new(),
        foreign: None,
        passed_over: None,
        idle: None,
    };
    let mut statement = statement;
    while statement.peek().is_some() && reading.foreign.is_none() {
        reading.expression(&mut statement);
        if reading.verdicts.len() > MOST_VERDICTS || reading.matches.len() > MOST_MATCHES {
            reading.refuse("it says too much for one rule");
        }
    }
    let decides = !reading.verdicts.is_empty()
        || reading.ways.iter().any(|way| way.verdict.is_some())
        || (reading.foreign.is_some() && mentions_verdict(&shown));
    if let Some((why, hint)) = reading.idle {
        notes.add(origin, &shown, why, hint);
    }
    if !decides {
        return Vec::new();
    }
    if reading.size() > MOST_ELEMENTS {
        reading.refuse("its maps and sets are too large together");
    }
    if let Some(why) = reading.foreign {
        let hint =
            "see whether the service is right without it; if not, write its selectors by hand";
        notes.add(origin, shown, why, hint);
        return Vec::new();
    }
    if let Some(what) = &reading.passed_over {
        let why = "selectors count on every port of the director";
        notes.add(origin, what, why, "nothing, if no packet for the VIP may lack it");
    }
    reading.rules()
}

/// Whether a rule that was not understood might matter.
fn mentions_verdict(shown: &str) -> bool {
    let mut words = shown.split(' ').peekable();
    while let Some(word) = words.next() {
        let marks = word == "mark" && words.peek() == Some(&"set");
        if marks || DECIDING.contains(&word) {
            return true;
        }
    }
    false
}

/// What may keep packets from IPVS, or bring others there.
const DECIDING: &[&str] = &[
    "jump", "goto", "return", "accept", "drop", "reject", "vmap", "dnat", "redirect", "tproxy",
    "queue",
];

/// Elements of a rule's map.
const MOST_WAYS: usize = 80_000;

/// Verdicts of one rule, of which none but marks may come before another, and what it may ask
/// for: nft itself takes a few.
const MOST_VERDICTS: usize = 64;
const MOST_MATCHES: usize = 1_000;

impl<'a> Reading<'a> {
    /// How many addresses and ports its rules are going to have.
    fn size(&self) -> usize {
        let each: usize = self.matches.iter().map(Match::size).sum();
        (each + 1).saturating_mul(self.ways.len().max(1)).saturating_mul(self.verdicts.len() + 1)
    }

    /// Every way with every verdict, in the rule's order.
    fn rules(self) -> Vec<Rule> {
        let Self { origin, matches, ways, verdicts, .. } = self;
        let ways =
            if ways.is_empty() { vec![Way { matches: Vec::new(), verdict: None }] } else { ways };
        let mut rules = Vec::new();
        for way in ways {
            let mut all = matches.clone();
            all.extend(way.matches);
            for verdict in way.verdict.into_iter().chain(verdicts.iter().cloned()) {
                rules.push(Rule { origin, matches: all.clone(), verdict });
            }
        }
        rules
    }

    pub(super) fn refuse(&mut self, why: impl Into<String>) {
        self.foreign.get_or_insert(why.into());
    }

    fn expression(&mut self, cursor: &mut Cursor<'a>) {
        if let Some(fields) = self.fields(cursor) {
            return self.lookup(&fields, cursor);
        }
        let Some(word) = cursor.word() else {
            cursor.next();
            return self.refuse("it is not understood");
        };
        match word {
            "counter" => {
                while cursor.take("packets") || cursor.take("bytes") {
                    cursor.word();
                }
            }
            "comment" => drop(cursor.word()),
            "log" => {
                while cursor.take("prefix") || cursor.take("level") || cursor.take("flags") {
                    cursor.word();
                }
            }
            "continue" => {}
            "accept" => self.verdicts.push(Verdict::Accept),
            "drop" => self.verdicts.push(Verdict::Drop),
            "reject" => {
                while cursor.word().is_some() {}
                self.verdicts.push(Verdict::Drop);
            }
            "return" => self.verdicts.push(Verdict::Return),
            "jump" | "goto" => {
                let to = cursor.word().unwrap_or_default().to_owned();
                let jump = word == "jump";
                self.verdicts.push(if jump { Verdict::Jump(to) } else { Verdict::Goto(to) });
            }
            "meta" => self.meta(cursor),
            "mark" => self.mark(cursor),
            "ct" => self.connection(cursor),
            "fib" => {
                if !(cursor.take("daddr") && cursor.take("type") && cursor.take("local")) {
                    self.refuse("a selector has nothing like fib");
                }
            }
            "iif" | "iifname" => self.interface(cursor),
            "ip" | "ip6" if cursor.take("saddr") => {
                self.refuse("a selector cannot ask for the source");
            }
            "tcp" | "udp" | "sctp" | "th" if cursor.take("sport") => {
                self.refuse("a selector cannot ask for the source port");
            }
            other => self.refuse(format!("a selector has nothing like `{other}`")),
        }
    }

    /// `ip daddr . tcp dport`: what is looked at, with the protocol that goes without saying.
    pub(super) fn fields(&mut self, cursor: &mut Cursor<'a>) -> Option<Vec<Field>> {
        let mut fields = Vec::new();
        let mut implied = Vec::new();
        loop {
            let mut ahead = cursor.clone();
            let field = match (ahead.word()?, ahead.word()?) {
                ("ip", "daddr") => {
                    implied.push(Match::Family(Family::V4));
                    Field::Destination
                }
                ("ip6", "daddr") => {
                    implied.push(Match::Family(Family::V6));
                    Field::Destination
                }
                (name @ ("tcp" | "udp" | "sctp"), "dport") => {
                    implied.push(Match::Protocols { protocols: protocols(name), not: false });
                    Field::Port
                }
                ("th", "dport") => Field::Port,
                ("ip", "protocol") | ("ip6", "nexthdr") | ("meta", "l4proto") => Field::Protocol,
                _ => return None,
            };
            *cursor = ahead;
            fields.push(field);
            if !cursor.take(".") {
                self.matches.extend(implied);
                return Some(fields);
            }
        }
    }

    /// What is behind the fields: a value, a set, or a map of verdicts.
    fn lookup(&mut self, fields: &[Field], cursor: &mut Cursor<'a>) {
        if cursor.take("vmap") {
            return self.map(fields, cursor, |words| verdict(words).map(Some));
        }
        let not = cursor.take("!=");
        if !not {
            cursor.take("==");
        }
        if let [field] = fields
            && let Some(values) = self.values(cursor)
        {
            return match self.matching(*field, &values, not) {
                Some(matched) => self.matches.push(matched),
                None => self.refuse(format!("{} is not understood", values.join(" "))),
            };
        }
        if not || matches!(fields, [_]) {
            return self.refuse("this lookup is not understood, or its set is too large");
        }
        self.map(fields, cursor, |words| words.is_empty().then_some(None));
    }

    /// `{ A, B }`, `@NAME` or a single value.
    pub(super) fn values(&self, cursor: &mut Cursor<'a>) -> Option<Vec<&'a str>> {
        let mut elements = self.elements(cursor)?;
        let mut values = Vec::new();
        while let Some(token) = elements.next() {
            if let Token::Word(word) = token {
                values.push(word);
            }
        }
        Some(values)
    }

    /// The elements of a set or map.
    fn elements(&self, cursor: &mut Cursor<'a>) -> Option<Cursor<'a>> {
        if cursor.take_token(Token::Open) {
            return Some(cursor.block());
        }
        let mut single = cursor.clone();
        let word = cursor.word()?;
        match word.strip_prefix('@') {
            Some(name) => self.sets.get(name),
            None => Some(single.one()),
        }
    }

    fn matching(&self, field: Field, values: &[&str], not: bool) -> Option<Match> {
        let all = |list: Vec<Option<Ports>>| list.into_iter().collect::<Option<Vec<Ports>>>();
        Some(match field {
            Field::Destination => Match::Destination {
                nets: values.iter().map(|text| Net::parse(text)).collect::<Option<_>>()?,
                not,
            },
            Field::Port => {
                let one = |text: &&str| -> Option<Ports> {
                    if let Some(found) = port(text, self.names) {
                        return Some((found, found));
                    }
                    let (first, last) = text.split_once('-')?;
                    let (first, last) = (port(first, self.names)?, port(last, self.names)?);
                    (first <= last).then_some((first, last))
                };
                Match::Ports { ports: all(values.iter().map(one).collect())?, not }
            }
            Field::Protocol => {
                let found: Vec<Protocol> = values.iter().flat_map(|text| protocols(text)).collect();
                Match::Protocols { protocols: found, not }
            }
        })
    }

    /// Reads elements `A . B : RESULT`; `result` makes something of the words behind the colon.
    pub(super) fn map(
        &mut self,
        fields: &[Field],
        cursor: &mut Cursor<'a>,
        result: impl Fn(&[&str]) -> Option<Option<Verdict>>,
    ) {
        if !self.ways.is_empty() {
            return self.refuse("two maps in one rule are too many");
        }
        let Some(mut elements) = self.elements(cursor) else {
            return self.refuse("the set or map is not known, or too large");
        };
        while elements.peek().is_some() {
            let (mut keys, mut behind, mut colon) = (Vec::new(), Vec::new(), false);
            while let Some(token) = elements.next() {
                match token {
                    Token::Comma => break,
                    Token::Word(":") => colon = true,
                    Token::Word(word) if colon => behind.push(word),
                    Token::Word(word) if word != "." => keys.push(word),
                    _ => {}
                }
            }
            if keys.is_empty() {
                continue;
            }
            if self.ways.len() >= MOST_WAYS {
                return self.refuse("its map has more elements than a configuration can hold");
            }
            let matches: Option<Vec<Match>> = fields
                .iter()
                .zip(&keys)
                .map(|(field, key)| self.matching(*field, &[key], false))
                .collect();
            match (matches, result(&behind)) {
                (Some(matches), Some(verdict)) if keys.len() == fields.len() => {
                    self.ways.push(Way { matches, verdict });
                }
                _ => {
                    let (keys, behind) = (keys.join(" . "), behind.join(" "));
                    return self.refuse(format!("the element {keys} : {behind} is not understood"));
                }
            }
        }
    }
}

fn verdict(words: &[&str]) -> Option<Verdict> {
    Some(match words {
        ["accept"] => Verdict::Accept,
        ["drop"] => Verdict::Drop,
        ["return"] => Verdict::Return,
        ["continue"] => Verdict::Go,
        ["jump", to] => Verdict::Jump((*to).to_owned()),
        ["goto", to] => Verdict::Goto((*to).to_owned()),
        _ => return None,
    })
}
