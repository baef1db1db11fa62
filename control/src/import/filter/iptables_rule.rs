//! The options of one iptables rule.

use crate::ipvsadm::Names;

use super::{CONNECTION_MARKED, COPIED, Match, Net, Ports, Verdict, number, port, protocols};

/// A rule as far as it is read.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) matches: Vec<Match>,
    target: Option<String>,
    goto: bool,
    /// keep, flip
    mark: Option<(u32, u32)>,
    /// `!` stood before.
    not: bool,
    /// Why the rule cannot be carried over.
    pub(super) foreign: Option<String>,
    /// What was left out of it: what, why.
    pub(super) passed_over: Vec<(String, &'static str)>,
    /// What the rule does with the marks of connections.
    connmark: Option<Connmark>,
    /// Whether what follows asks for those.
    asks_connmark: bool,
}

/// What `-j CONNMARK` does.
#[derive(Clone, Copy)]
enum Connmark {
    /// Marks the connection.
    Set,
    /// Copies the mark from the connection to the packet, or back.
    Copy,
}

impl Reading {
    /// What the rule's target makes of a packet.
    pub(super) fn verdict(&self) -> Verdict {
        match self.target.as_deref() {
            None => Verdict::Go,
            Some("MARK") => match self.mark {
                Some((keep, flip)) => Verdict::Mark { keep, flip },
                None => Verdict::Go,
            },
            Some("ACCEPT") => Verdict::Accept,
            Some("RETURN") => Verdict::Return,
            Some("DROP") => Verdict::Drop,
            Some(name) if GOING_ON.contains(&name) => Verdict::Go,
            Some(name) if self.goto => Verdict::Goto(name.to_owned()),
            Some(name) => Verdict::Jump(name.to_owned()),
        }
    }

    /// Why a rule that marks no packet is worth a note, and what to do about it.
    pub(super) fn idle(&self) -> Option<(&'static str, &'static str)> {
        let is_connmark = self.target.as_deref() == Some("CONNMARK");
        match self.connmark {
            Some(Connmark::Set) if is_connmark => Some(CONNECTION_MARKED),
            Some(Connmark::Copy) if is_connmark => Some(COPIED),
            _ => None,
        }
    }

    fn refuse(&mut self, why: String) {
        self.foreign.get_or_insert(why);
    }

    /// Reads an option with its argument.
    pub(super) fn option<'a>(
        &mut self,
        word: &str,
        words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
        names: &Names,
    ) {
        if word == "!" {
            self.not = true;
            return;
        }
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value)),
            _ => (word, None),
        };
        if NO_ARGUMENT.contains(&name) {
            // `--syn` and its like: the packet that opens a connection decides.
            self.not = false;
            return;
        }
        let mut value = joined.or_else(|| words.next_if(|word| *word != "!")).unwrap_or_default();
        // As iptables was once written: `-d ! ADDRESS`.
        if joined.is_none() && value.is_empty() && words.next_if_eq(&"!").is_some() {
            self.not = true;
            value = words.next().unwrap_or_default();
        }
        let not = std::mem::take(&mut self.not);
        match name {
            "-m" | "--match" => self.asks_connmark = value == "connmark",
            "-j" | "--jump" => self.target = Some(value.to_owned()),
            "-g" | "--goto" => {
                self.target = Some(value.to_owned());
                self.goto = true;
            }
            "-c" | "--set-counters" | "--tcp-flags" => drop(words.next()),
            "--comment" => {}
            "-d" | "--destination" | "--dst" | "--dst-range" => self.destination(value, not),
            "-p" | "--protocol" | "--proto" => self.protocol(value, not),
            "--dport" | "--destination-port" | "--dports" | "--destination-ports" => {
                self.ports(value, not, names);
            }
            "--mark" if self.asks_connmark => {
                self.refuse(format!("a selector cannot ask for a connection's mark ({value})"));
            }
            "--mark" => self.marked(value, not),
            "--set-mark" | "--set-xmark" | "--and-mark" | "--or-mark" | "--xor-mark" => {
                self.connmark.get_or_insert(Connmark::Set);
                self.set(name, value);
            }
            _ if self.condition(name, value, not) => {}
            _ if name.starts_with('-') => {
                self.refuse(format!("a selector has nothing like {name}"));
                while words.next_if(|word| *word != "!" && !word.starts_with('-')).is_some() {}
            }
            _ => {}
        }
    }

    /// What no selector can ask for; `false` if it is nothing that is known.
    fn condition(&mut self, name: &str, value: &str, not: bool) -> bool {
        match name {
            "--dst-type" if value == "LOCAL" && !not => {}
            "--dst-type" => self.refuse(format!("destinations of type {value} are not known")),
            "--ctstate" | "--state" => {
                let new = value.split(',').any(|state| state.eq_ignore_ascii_case("new"));
                if new == not {
                    // No packet that opens a connection, and the others follow theirs.
                    self.matches.push(Match::Never);
                }
            }
            "-i" | "--in-interface" => self.interface(value, not),
            "--save-mark" | "--restore-mark" | "--nfmask" | "--ctmask" | "--mask" => {
                self.connmark = Some(Connmark::Copy);
            }
            "-s" | "--source" | "--src" | "--src-range" => {
                self.refuse(format!("a selector cannot ask for the source ({value})"));
            }
            "--sport" | "--source-port" | "--sports" | "--source-ports" => {
                self.refuse(format!("a selector cannot ask for the source port ({value})"));
            }
            _ => return false,
        }
        true
    }

    fn destination(&mut self, value: &str, not: bool) {
        match value.split(',').map(Net::parse).collect::<Option<Vec<Net>>>() {
            Some(nets) => self.matches.push(Match::Destination { nets, not }),
            None => self.refuse(format!("{value} is no address; names are not looked up")),
        }
    }

    fn protocol(&mut self, value: &str, not: bool) {
        let (value, not) = match value.strip_prefix('!') {
            Some(value) => (value, !not),
            None => (value, not),
        };
        self.matches.push(Match::Protocols { protocols: protocols(value), not });
    }

    fn ports(&mut self, value: &str, not: bool, names: &Names) {
        let one = |text: &str| -> Option<Ports> {
            let (first, last) = text.split_once(':').unwrap_or((text, text));
            let first = if first.is_empty() { 0 } else { port(first, names)? };
            let last = if last.is_empty() { u16::MAX } else { port(last, names)? };
            (first <= last).then_some((first, last))
        };
        match value.split(',').map(one).collect::<Option<Vec<Ports>>>() {
            Some(ports) => self.matches.push(Match::Ports { ports, not }),
            None => self.refuse(format!("{value} is no list of ports that is understood")),
        }
    }

    fn marked(&mut self, value: &str, not: bool) {
        match with_mask(value) {
            Some((value, mask)) => self.matches.push(Match::Mark { value, mask, not }),
            None => self.refuse(format!("{value} is no mark")),
        }
    }

    fn set(&mut self, name: &str, text: &str) {
        let Some((value, mask)) = with_mask(text) else {
            return self.refuse(format!("{text} is no mark"));
        };
        self.mark = Some(match name {
            "--set-mark" => (!(mask | value), value),
            "--and-mark" => (value, 0),
            "--or-mark" => (!value, value),
            "--xor-mark" => (u32::MAX, value),
            _ => (!mask, value),
        });
    }

    /// Only what never comes from a NIC is told apart.
    fn interface(&mut self, value: &str, not: bool) {
        if value == "lo" {
            if !not {
                self.matches.push(Match::Never);
            }
            return;
        }
        let not = if not { "! " } else { "" };
        let why = "selectors count on every port of the director";
        self.passed_over.push((format!("{not}-i {value}"), why));
    }
}

/// `VALUE` or `VALUE/MASK`.
fn with_mask(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// Options that nothing follows.
const NO_ARGUMENT: &[&str] = &["--syn", "-f", "--fragment", "-4", "-6", "--ipv4", "--ipv6"];

/// Targets behind which a packet goes on as it was, as far as marks are concerned.
const GOING_ON: &[&str] = &[
    "LOG",
    "NFLOG",
    "ULOG",
    "TRACE",
    "NOTRACK",
    "CT",
    "TCPMSS",
    "TOS",
    "DSCP",
    "TTL",
    "HL",
    "TEE",
    "CLASSIFY",
    "CONNMARK",
    "SECMARK",
    "CONNSECMARK",
    "CHECKSUM",
    "RATEEST",
    "LED",
    "AUDIT",
    "SET",
    "TCPOPTSTRIP",
    "ECN",
    "HMARK",
    "SYNPROXY",
    "IDLETIMER",
];
