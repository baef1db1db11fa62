//! Whether two listings say the same, by the rules that a kernel's randomness asks for.

/// Seconds by which an expiry may differ: listings are not made in no time.
const ALLOWANCE_S: u64 = 1;

/// The first line that differs, as (expected, got). Lines of connections are compared in any
/// order and their expiry to a second; everything else to the byte.
pub(super) fn difference(expected: &str, got: &str) -> Option<(String, String)> {
    if expected == got {
        return None;
    }
    let (expected, got) = (lines(expected), lines(got));
    let longest = expected.len().max(got.len());
    for place in 0..longest {
        match (expected.get(place), got.get(place)) {
            (Some(expected), Some(got)) if expected.is_like(got) => {}
            (expected, got) => return Some((said(expected), said(got))),
        }
    }
    None
}

fn said(line: Option<&Line<'_>>) -> String {
    line.map_or_else(|| "(nothing more)".into(), |line| line.text.to_owned())
}

struct Line<'a> {
    text: &'a str,
    /// The line without its expiry, and the expiry in seconds.
    entry: Option<(String, u64)>,
}

impl Line<'_> {
    fn is_like(&self, other: &Self) -> bool {
        match (&self.entry, &other.entry) {
            (Some((line, expires)), Some((other_line, other_expires))) => {
                line == other_line && expires.abs_diff(*other_expires) <= ALLOWANCE_S
            }
            _ => self.text == other.text,
        }
    }
}

/// The lines, those of connections in the order of what they say.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> =
        text.split('\n').map(|text| Line { text, entry: entry(text) }).collect();
    for block in lines.chunk_by_mut(|a, b| a.entry.is_some() && b.entry.is_some()) {
        block.sort_by(|a, b| a.entry.cmp(&b.entry));
    }
    lines
}

/// What a line of `ipvsadm -lnc` or `/proc/net/ip_vs_conn` says.
fn entry(line: &str) -> Option<(String, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (protocol, rest) = words.split_first()?;
    if !matches!(*protocol, "TCP" | "UDP" | "SCTP" | "IP") {
        return None;
    }
    if let Some((minutes, seconds)) = rest.first()?.split_once(':')
        && rest.len() >= 5
    {
        let seconds = minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?;
        return Some((blanked(line, rest.first()?), seconds));
    }
    let expires = rest.get(7)?;
    Some((blanked(line, expires), expires.parse().ok()?))
}

/// The line with a word taken out; its place and width stay.
fn blanked(line: &str, word: &str) -> String {
    let padded = format!(" {word}");
    match line.rsplit_once(&padded) {
        Some((before, after)) => format!("{before} {}{after}", "*".repeat(word.len())),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "UDP 04:59  UDP         10.1.0.6:1000      192.0.2.10:53      172.16.0.13:53";
    const TWO: &str = "TCP 00:59  SYN_RECV    10.1.0.1:1000      192.0.2.10:80      172.16.0.13:80";

    #[test]
    fn connections_may_stand_in_any_order_and_expire_a_second_apart() {
        let expected = format!("IPVS connection entries\n{ONE}\n{TWO}\n");
        let got = format!("IPVS connection entries\n{}\n{ONE}\n", TWO.replace("00:59", "01:00"));
        assert_eq!(difference(&expected, &got), None);
        let got = format!("IPVS connection entries\n{}\n{ONE}\n", TWO.replace("00:59", "01:01"));
        assert!(difference(&expected, &got).is_some());
        let got = format!("IPVS connection entries\n{ONE}\n");
        assert!(difference(&expected, &got).is_some());
    }

    #[test]
    fn columns_of_proc_are_compared_the_same_way() {
        let line = |expires| {
            format!("TCP 0A010002 115B C000020A 01BB AC10000B 01BB SYN_RECV    {expires:>7}\n")
        };
        assert_eq!(difference(&line(59), &line(60)), None);
        assert!(difference(&line(59), &line(57)).is_some());
    }

    #[test]
    fn everything_else_is_compared_to_the_byte() {
        assert!(difference("a \n", "a\n").is_some());
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert!(difference("a\nb\n", "b\na\n").is_some());
    }
}
