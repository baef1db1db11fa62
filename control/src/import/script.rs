//! Command lines of a shell script, as far as tutorials and start scripts go: quotes, remarks,
//! continued lines, several commands on a line, variables with a plain value.

use std::collections::HashMap;

/// A command: its words, and the line that it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) words: Vec<String>,
}

/// A program whose command lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Ipvsadm,
    Iptables,
    Ip6tables,
    Nft,
}

/// Bytes that a variable may stand for.
const LONGEST_VALUE: usize = 256;
/// Variables that a text may set; those behind them stay as they are written and are noticed.
const MOST_VARIABLES: usize = 10_000;
/// Characters that are read of a line.
const LONGEST_LINE: usize = 65_536;
/// Bytes that variables may add to a text.
const MOST_GROWTH: usize = 16 << 20;

/// Calls `run` with every command of a text.
pub(super) fn each(text: &str, mut run: impl FnMut(Line)) {
    let mut variables = Variables { values: HashMap::new(), growth: 0 };
    let mut pending: Option<(usize, String)> = None;
    for (index, raw) in text.lines().enumerate() {
        if raw.is_empty() && pending.is_none() {
            continue;
        }
        let (number, mut whole) = pending.take().unwrap_or((index + 1, String::new()));
        match raw.trim_end().strip_suffix('\\') {
            Some(begun) if whole.len() < LONGEST_LINE => {
                whole.push_str(begun);
                whole.push(' ');
                pending = Some((number, whole));
            }
            _ => {
                whole.push_str(raw);
                split(number, &whole, &mut variables, &mut run);
            }
        }
    }
    if let Some((number, whole)) = pending {
        split(number, &whole, &mut variables, &mut run);
    }
}

/// What was set so far.
struct Variables {
    values: HashMap<String, String>,
    growth: usize,
}

/// The program that a command calls, and the words behind it.
pub(super) fn program(words: &[String]) -> Option<(Program, &[String])> {
    let mut rest = words;
    loop {
        let (first, behind) = rest.split_first()?;
        let name = first.rsplit('/').next().unwrap_or_default();
        let program = match name {
            "ipvsadm" => Program::Ipvsadm,
            "iptables" | "iptables-nft" | "iptables-legacy" => Program::Iptables,
            "ip6tables" | "ip6tables-nft" | "ip6tables-legacy" => Program::Ip6tables,
            "nft" => Program::Nft,
            // What may stand before a command.
            "sudo" | "exec" | "command" | "env" | "nohup" | "then" | "do" | "else" | "if" | "!"
            | "{" | "(" | "$" => {
                rest = behind;
                continue;
            }
            "ip" => match behind {
                [netns, exec, _, behind @ ..] if netns == "netns" && exec == "exec" => {
                    rest = behind;
                    continue;
                }
                _ => return None,
            },
            _ => return None,
        };
        return Some((program, behind));
    }
}

/// Cuts one line into commands.
fn split(number: usize, line: &str, variables: &mut Variables, run: &mut impl FnMut(Line)) {
    let mut cutter = Cutter::default();
    let mut chars = line.chars().take(LONGEST_LINE).peekable();
    while let Some(c) = chars.next() {
        match (cutter.quote, c) {
            (Some(quote), c) if c == quote => cutter.quote = None,
            (Some('\''), c) => cutter.push(c),
            (_, '\\') => match chars.next() {
                Some(next) => cutter.push(next),
                None => cutter.push(c),
            },
            (_, '$') => cutter.variable(&mut chars, variables),
            (Some(_), c) => cutter.push(c),
            (None, '\'' | '"') => {
                cutter.quote = Some(c);
                cutter.begun = true;
            }
            (None, '#') if !cutter.begun => break,
            // What goes where is of no interest: `2>&1`, `> FILE`.
            (None, '&') if cutter.redirected && !cutter.begun => {}
            (None, '>' | '<') => cutter.redirect(),
            (None, ';' | '&' | '|') => cutter.end_command(number, variables, run),
            (None, c) if c.is_whitespace() => cutter.end_word(),
            (None, c) => cutter.push(c),
        }
    }
    cutter.end_command(number, variables, run);
}

#[derive(Default)]
struct Cutter {
    quote: Option<char>,
    word: String,
    begun: bool,
    words: Vec<String>,
    redirected: bool,
}

impl Cutter {
    fn push(&mut self, c: char) {
        self.word.push(c);
        self.begun = true;
    }

    fn end_word(&mut self) {
        if std::mem::take(&mut self.begun) {
            let word = std::mem::take(&mut self.word);
            if !self.redirected {
                self.words.push(word);
            }
        }
    }

    fn redirect(&mut self) {
        if self.word.chars().all(|c| c.is_ascii_digit()) {
            self.word.clear();
            self.begun = false;
        }
        self.end_word();
        self.redirected = true;
    }

    fn end_command(
        &mut self,
        number: usize,
        variables: &mut Variables,
        run: &mut impl FnMut(Line),
    ) {
        self.end_word();
        self.redirected = false;
        let words = std::mem::take(&mut self.words);
        let assignments = match words.split_first() {
            Some((first, rest)) if matches!(&**first, "export" | "local" | "readonly") => rest,
            _ => &*words,
        };
        let mut all = !assignments.is_empty();
        for word in assignments {
            match word.split_once('=') {
                Some((name, value)) if is_name(name) => {
                    if value.len() <= LONGEST_VALUE && variables.values.len() < MOST_VARIABLES {
                        variables.values.insert(name.to_owned(), value.to_owned());
                    }
                }
                _ => {
                    all = false;
                    break;
                }
            }
        }
        if !all && !words.is_empty() {
            run(Line { number, words });
        }
    }

    /// `$NAME` or `${NAME}`; one that nobody set stays as it is and will be noticed.
    fn variable(
        &mut self,
        chars: &mut std::iter::Peekable<impl Iterator<Item = char>>,
        variables: &mut Variables,
    ) {
        let braces = chars.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        let closed = !braces || chars.next_if_eq(&'}').is_some();
        self.begun = true;
        match variables.values.get(&name) {
            Some(value) if closed && variables.growth < MOST_GROWTH => {
                variables.growth += value.len();
                self.word.push_str(value);
            }
            _ => {
                self.word.push_str(if braces { "${" } else { "$" });
                self.word.push_str(&name);
                if braces && closed {
                    self.word.push('}');
                }
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(usize, Vec<String>)> {
        let mut words = Vec::new();
        each(text, |line| words.push((line.number, line.words)));
        words
    }

    #[test]
    fn quotes_remarks_and_continued_lines_are_the_shells() {
        assert_eq!(
            words("# no\nipvsadm -A \\\n  -t 'a b':80 # yes\n\nx \"y # z\" 2>&1; u && v\n"),
            [
                (2, vec!["ipvsadm".into(), "-A".into(), "-t".into(), "a b:80".into()]),
                (5, vec!["x".into(), "y # z".into()]),
                (5, vec!["u".into()]),
                (5, vec!["v".into()]),
            ]
        );
    }

    #[test]
    fn variables_with_a_plain_value_are_filled_in() {
        assert_eq!(
            words("VIP=198.18.255.1\nexport P=80\nipvsadm -A -t $VIP:${P} -s $S '$VIP'\n"),
            [(
                3,
                ["ipvsadm", "-A", "-t", "198.18.255.1:80", "-s", "$S", "$VIP"]
                    .map(String::from)
                    .to_vec()
            )]
        );
    }

    #[test]
    fn a_program_is_found_behind_what_may_stand_before_it() {
        let called = |text: &str| {
            let (_, words) = words(text).remove(0);
            program(&words).map(|(program, args)| (program, args.len()))
        };
        assert_eq!(called("/sbin/ipvsadm -C"), Some((Program::Ipvsadm, 1)));
        assert_eq!(called("sudo ip6tables -L -n"), Some((Program::Ip6tables, 2)));
        assert_eq!(called("ip netns exec lb ipvsadm -l"), Some((Program::Ipvsadm, 1)));
        assert_eq!(called("ip addr add 198.18.255.1/32 dev lo"), None);
        assert_eq!(called("echo ipvsadm"), None);
    }
}
