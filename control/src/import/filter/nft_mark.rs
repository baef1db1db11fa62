//! nft's marks, connections and interfaces.

use crate::config::model::Family;

use super::nft_rule::Reading;
use super::nft_text::{Cursor, Token};
use super::{CONNECTION_MARKED, COPIED, Match, Verdict, number};

impl<'a> Reading<'a> {
    pub(super) fn meta(&mut self, cursor: &mut Cursor<'a>) {
        match cursor.word() {
            Some("mark") => self.mark(cursor),
            Some("iif" | "iifname") => self.interface(cursor),
            Some("nfproto" | "protocol") => match cursor.word() {
                Some("ipv4" | "ip") => self.matches.push(Match::Family(Family::V4)),
                Some("ipv6" | "ip6") => self.matches.push(Match::Family(Family::V6)),
                _ => self.refuse("this protocol is not understood"),
            },
            other => {
                self.refuse(format!("a selector has nothing like meta {}", other.unwrap_or("")))
            }
        }
    }

    /// Behind `mark`: it is set, or looked at.
    pub(super) fn mark(&mut self, cursor: &mut Cursor<'a>) {
        if cursor.take("set") {
            return self.set_mark(cursor);
        }
        let mask = if cursor.take("&") || cursor.take("and") {
            match cursor.word().and_then(number) {
                Some(mask) => mask,
                None => return self.refuse("this mask is not understood"),
            }
        } else {
            u32::MAX
        };
        let not = cursor.take("!=");
        if !not {
            cursor.take("==");
        }
        match cursor.word().and_then(number) {
            Some(value) => self.matches.push(Match::Mark { value, mask, not }),
            None => self.refuse("this comparison of marks is not understood"),
        }
    }

    /// `mark set N`, `mark set mark and N or M`, `mark set FIELDS map { ... }`.
    fn set_mark(&mut self, cursor: &mut Cursor<'a>) {
        if let Some(fields) = self.fields(cursor) {
            if !cursor.take("map") {
                return self.refuse("this way of setting a mark is not understood");
            }
            return self.map(&fields, cursor, |words| match words {
                [one] => number(one).map(|flip| Some(Verdict::Mark { keep: 0, flip })),
                _ => None,
            });
        }
        cursor.take("(");
        if cursor.take("ct") {
            // `mark set ct mark`, whatever is made of it.
            self.idle = Some(COPIED);
            return self.rest_of(cursor);
        }
        cursor.take("meta");
        let (mut keep, mut flip) = (0, 0);
        if cursor.take("mark") {
            keep = u32::MAX;
        } else {
            match cursor.word().and_then(number) {
                Some(mark) => flip = mark,
                None => return self.refuse("this way of setting a mark is not understood"),
            }
        }
        loop {
            cursor.take(")");
            let Some(Token::Word(word)) = cursor.peek() else { break };
            if !matches!(word, "&" | "and" | "|" | "or" | "^" | "xor") {
                break;
            }
            cursor.next();
            let Some(value) = cursor.word().and_then(number) else {
                return self.refuse("this way of setting a mark is not understood");
            };
            match word {
                "&" | "and" => (keep, flip) = (keep & value, flip & value),
                "|" | "or" => (keep, flip) = (keep & !value, (flip & !value) | value),
                _ => flip ^= value,
            }
        }
        self.verdicts.push(Verdict::Mark { keep, flip });
    }

    pub(super) fn connection(&mut self, cursor: &mut Cursor<'a>) {
        match cursor.word() {
            Some("state") => {
                let not = cursor.take("!=");
                let states = self.values(cursor).unwrap_or_default();
                // Without braces a list goes on behind a comma.
                let mut new = states.contains(&"new");
                while cursor.take_token(Token::Comma) {
                    new |= cursor.word() == Some("new");
                }
                if new == not {
                    // No packet that opens a connection, and the others follow theirs.
                    self.matches.push(Match::Never);
                }
            }
            Some("mark") if cursor.take("set") => {
                cursor.take("(");
                cursor.take("meta");
                self.idle = Some(if cursor.take("mark") { COPIED } else { CONNECTION_MARKED });
                self.rest_of(cursor);
            }
            Some("mark") => self.refuse("a selector cannot ask for a connection's mark"),
            other => self.refuse(format!("a selector has nothing like ct {}", other.unwrap_or(""))),
        }
    }

    /// Passes over an expression up to what may be a statement of its own.
    fn rest_of(&mut self, cursor: &mut Cursor<'a>) {
        const STATEMENTS: &[&str] = &[
            "accept", "drop", "return", "jump", "goto", "counter", "meta", "ct", "log", "comment",
        ];
        // What is joined to the mark may be a field itself: `ct mark and meta mark`.
        let mut joined = true;
        while let Some(Token::Word(word)) = cursor.peek() {
            if !joined && STATEMENTS.contains(&word) {
                break;
            }
            joined = matches!(word, "&" | "and" | "|" | "or" | "^" | "xor" | "(" | "mark");
            joined &= word != "mark";
            cursor.next();
        }
    }

    pub(super) fn interface(&mut self, cursor: &mut Cursor<'a>) {
        let not = cursor.take("!=");
        let names = self.values(cursor).unwrap_or_default();
        if names == ["lo"] {
            if !not {
                self.matches.push(Match::Never);
            }
            return;
        }
        let not = if not { "!= " } else { "" };
        self.passed_over = Some(format!("iifname {not}{}", names.join(", ")));
    }
}
