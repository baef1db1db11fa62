//! Whether two listings say the same, by the rules that a kernel's randomness asks for.

/// Seconds by which an expiry may differ: listings are not made in no time.
const ALLOWANCE_S: u64 = 1;

/// Whether services stand in an order that means something. IPVS keeps them in a hash table
/// with a number of each boot mixed in; only listings that are sorted have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Services {
    Sorted,
    AnyOrder,
}

impl Services {
    /// The order that the output of a command has.
    pub(super) fn of(command: &str) -> Self {
        let unsorted = command.contains("--nosort") || command.contains("/proc/net/ip_vs");
        if unsorted { Self::AnyOrder } else { Self::Sorted }
    }
}

/// The first line that differs, as (expected, got). Lines of connections are compared in any
/// order and their expiry to a second; everything else to the byte.
pub(super) fn difference(
    expected: &str,
    got: &str,
    services: Services,
) -> Option<(String, String)> {
    if expected == got {
        return None;
    }
    let (expected, got) = match services {
        Services::Sorted => (expected.to_owned(), got.to_owned()),
        Services::AnyOrder => (in_one_order(expected), in_one_order(got)),
    };
    let (expected, got) = (lines(&expected), lines(&got));
    let longest = expected.len().max(got.len());
    for place in 0..longest {
        match (expected.get(place), got.get(place)) {
            (Some(expected), Some(got)) if expected.is_like(got) => {}
            (expected, got) => return Some((said(expected), said(got))),
        }
    }
    None
}

/// The services of a listing, each with its real servers, in the order of their lines.
fn in_one_order(text: &str) -> String {
    let is_service = |line: &str| {
        let known = ["TCP ", "UDP ", "SCTP ", "FWM "].iter().any(|word| line.starts_with(word));
        known && entry(line).is_none()
    };
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut text_in_order = String::new();
    for line in text.split_inclusive('\n') {
        match blocks.last_mut() {
            _ if is_service(line) => blocks.push(vec![line]),
            Some(block) if line.starts_with("  ->") => block.push(line),
            _ => {
                flush(&mut blocks, &mut text_in_order);
                text_in_order.push_str(line);
            }
        }
    }
    flush(&mut blocks, &mut text_in_order);
    text_in_order
}

fn flush(blocks: &mut Vec<Vec<&str>>, text: &mut String) {
    blocks.sort();
    blocks.drain(..).flatten().for_each(|line| text.push_str(line));
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
    if let Some(seconds) = rest.first().and_then(|word| minutes(word))
        && rest.len() >= 5
    {
        return Some((blanked(line, rest.first()?), seconds));
    }
    let expires = rest.get(7)?;
    Some((blanked(line, expires), expires.parse().ok()?))
}

/// Seconds of a word like `14:59`.
fn minutes(word: &str) -> Option<u64> {
    let (minutes, seconds) = word.split_once(':')?;
    Some(minutes.parse::<u64>().ok()? * 60 + seconds.parse::<u64>().ok()?)
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
        assert_eq!(difference(&expected, &got, Services::Sorted), None);
        let got = format!("IPVS connection entries\n{}\n{ONE}\n", TWO.replace("00:59", "01:01"));
        assert!(difference(&expected, &got, Services::Sorted).is_some());
        let got = format!("IPVS connection entries\n{ONE}\n");
        assert!(difference(&expected, &got, Services::Sorted).is_some());
    }

    #[test]
    fn columns_of_proc_are_compared_the_same_way() {
        let line = |expires| {
            format!("TCP 0A010002 115B C000020A 01BB AC10000B 01BB SYN_RECV    {expires:>7}\n")
        };
        assert_eq!(difference(&line(59), &line(60), Services::Sorted), None);
        assert!(difference(&line(59), &line(57), Services::Sorted).is_some());
    }

    #[test]
    fn everything_else_is_compared_to_the_byte() {
        assert!(difference("a \n", "a\n", Services::Sorted).is_some());
        assert_eq!(difference("a\nb\n", "a\nb\n", Services::Sorted), None);
        assert!(difference("a\nb\n", "b\na\n", Services::Sorted).is_some());
    }

    #[test]
    fn services_of_an_unsorted_listing_may_stand_in_any_order_with_their_servers() {
        let first = "TCP  192.0.2.10:80 rr\n  -> 172.16.0.12:80\n  -> 172.16.0.11:80\n";
        let second = "FWM  10 wlc\n  -> 172.16.0.11:0\n";
        let expected = format!("Prot\n{first}{second}");
        let got = format!("Prot\n{second}{first}");
        assert_eq!(difference(&expected, &got, Services::AnyOrder), None);
        assert!(difference(&expected, &got, Services::Sorted).is_some());
        let got = got.replace("12:80\n  -> 172.16.0.11:80", "11:80\n  -> 172.16.0.12:80");
        assert!(difference(&expected, &got, Services::AnyOrder).is_some());
    }
}
