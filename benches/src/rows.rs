//! The rows that Director is measured by, with the marks that they must reach.

/// What a row's value is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// The value reaches the first figure; the second is what is aimed at.
    AtLeast(f64, f64),
    /// The value stays below the first figure; the second is what is aimed at.
    AtMost(f64, f64),
    /// Nothing: it is there to be seen.
    Nothing,
}

impl Mark {
    /// Whether a value keeps it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(mark, _) => value >= mark,
            Self::AtMost(mark, _) => value <= mark,
            Self::Nothing => true,
        }
    }

    /// The figure that a value must keep.
    pub const fn figure(self) -> Option<f64> {
        match self {
            Self::AtLeast(mark, _) | Self::AtMost(mark, _) => Some(mark),
            Self::Nothing => None,
        }
    }

    /// What is aimed at.
    pub const fn aim(self) -> Option<f64> {
        match self {
            Self::AtLeast(_, aim) | Self::AtMost(_, aim) => Some(aim),
            Self::Nothing => None,
        }
    }
}

/// Programs to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A forwarding mode of testpmd.
    Testpmd(&'static str),
    /// DPDK's example l3fwd with its exact-match table, a rule for every flow.
    L3fwd,
}

/// How a row's value comes about. Arguments are those of `director bench`.
#[derive(Clone, Copy, Debug)]
pub enum Method {
    /// Speed against testpmd's macswap.
    Ratio(&'static str),
    /// Speed of all cores together against as many times one core alone.
    Cores(&'static str),
    /// By how many percent the second load is slower than the first.
    Slower(&'static str, &'static str),
    /// By how many percent a known client's packet is slower when every second packet is a
    /// new client's: known clients alone, new ones alone, both.
    Flood(&'static str, &'static str, &'static str),
    /// The longest pause of a core in microseconds; nothing may be lost, and it must be over
    /// within so many milliseconds.
    Pause(&'static str, f64),
    /// Speed against testpmd's macswap, both behind memif in a process of their own.
    Memif,
    /// Allocations, moved clients and lost packets, counted by another program.
    Steady,
    /// Another program on the device of this load, against testpmd's macswap.
    Peer(Peer, &'static str),
    /// Nanoseconds for one choice of a scheduler among so many real servers.
    Choice(&'static str, u32),
}

impl Method {
    /// What the value is counted in.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Ratio(_) | Self::Peer(..) => "of testpmd macswap's speed",
            Self::Cores(_) => "of the sum of single cores",
            Self::Slower(..) | Self::Flood(..) => "% slower",
            Self::Choice(..) => "ns",
            Self::Pause(..) => "us",
            Self::Memif => "of testpmd macswap's speed",
            Self::Steady => "allocations, moved clients and lost packets",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name, which stays.
    pub name: &'static str,
    /// How it is measured.
    pub method: Method,
    /// What it must reach.
    pub mark: Mark,
    /// Whether it belongs to the quick run.
    pub quick: bool,
}

const fn row(name: &'static str, method: Method, mark: Mark) -> Row {
    Row { name, method, mark, quick: true }
}

const fn slow(name: &'static str, method: Method, mark: Mark) -> Row {
    Row { name, method, mark, quick: false }
}

use Mark::{AtLeast, AtMost, Nothing};
use Method::{Choice, Cores, Flood, Memif, Pause, Peer as Other, Ratio, Slower, Steady};
use Peer::{L3fwd, Testpmd};

/// All rows, in the order in which they are measured: what is asked for most often first.
pub const ROWS: &[Row] = &[
    row("client 1k, pcap replay", Ratio("--source pcap --clients 1000"), AtLeast(0.60, 0.72)),
    row("client 64k, pcap replay", Ratio("--source pcap --clients 65536"), AtLeast(0.60, 0.72)),
    row("client 1k, net_null with synthesis", Ratio("--clients 1000"), AtLeast(0.50, 0.58)),
    row("client 128k, net_null with synthesis", Ratio("--clients 131072"), AtLeast(0.46, 0.55)),
    row("client 1M, net_null with synthesis", Ratio("--clients 1000000"), AtLeast(0.38, 0.45)),
    row("client 10M, net_null with synthesis", Ratio("--clients 10000000"), AtLeast(0.26, 0.35)),
    row(
        "full 1k connections, net_null with synthesis",
        Ratio("--tracking full --clients 1000"),
        AtLeast(0.42, 0.50),
    ),
    row(
        "full 1M connections, net_null with synthesis",
        Ratio("--tracking full --clients 1000000"),
        AtLeast(0.26, 0.32),
    ),
    row(
        "new clients, wlc over 100 servers (client)",
        Ratio("--clients 1000 --new 1"),
        AtLeast(0.13, 0.18),
    ),
    row(
        "new connections with a template each, wlc (full)",
        Ratio("--tracking full --clients 1000 --new 1"),
        AtLeast(0.09, 0.13),
    ),
    row("IPv6 client 1M", Ratio("--family v6 --clients 1000000"), AtLeast(0.30, 0.36)),
    row(
        "Masq, 1M connections, both directions",
        Ratio("--tracking full --forwarding masq --clients 1000000"),
        AtLeast(0.20, 0.27),
    ),
    row(
        "2 cores against the sum of two single ones, 5-tuple RSS, 1M clients",
        Cores("--clients 1000000"),
        AtLeast(0.88, 0.95),
    ),
    row(
        "10,000 services against 1",
        Slower(
            "--clients 131072 --servers 8",
            "--clients 131072 --servers 8 --services 10000 --in-use 1",
        ),
        AtMost(10.0, 3.0),
    ),
    row(
        "full 10M connections, net_null with synthesis",
        Ratio("--tracking full --clients 10000000"),
        AtLeast(0.18, 0.24),
    ),
    slow(
        "10,000 services, all of them in use, against 1",
        Slower("--clients 131072 --servers 8", "--clients 131072 --servers 8 --services 10000"),
        AtMost(100.0, 50.0),
    ),
    slow("wlc choice at 1,000 servers", Choice("wlc", 1_000), AtMost(40.0, 26.0)),
    slow(
        "half the packets from new sources: slowdown of the others",
        // One new client in a million: the same tables and the same way of making packets.
        Flood(
            "--clients 1000000 --new 0.000001",
            "--clients 1000000 --new 1",
            "--clients 1000000 --new 0.5",
        ),
        AtMost(35.0, 25.0),
    ),
    slow(
        "memif end to end, two processes, 64k clients, against macswap",
        Memif,
        AtLeast(0.75, 0.90),
    ),
    slow(
        "reload of 10,000 services x 8 servers at full load",
        Pause("--clients 131072 --services 10000 --servers 8 --during reload", 2_000.0),
        AtMost(50.0, 20.0),
    ),
    slow(
        "table growth 1M -> 2M at full load",
        Pause("--tracking full --clients 800000 --during growth --rounds 3", 10_000.0),
        AtMost(50.0, 20.0),
    ),
    slow(
        "list of 10M clients at full load",
        Pause("--clients 10000000 --during listing --rounds 3", 10_000.0),
        AtMost(50.0, 20.0),
    ),
    slow(
        "list of 1M connections and their templates at full load",
        Pause("--tracking full --clients 1000000 --during listing --rounds 3", 10_000.0),
        AtMost(50.0, 20.0),
    ),
    slow("10^8 packets", Steady, AtMost(0.0, 0.0)),
    slow("Tunnel, client 1M", Ratio("--forwarding tunnel --clients 1000000"), AtLeast(0.25, 0.33)),
    slow(
        "IPv6, full 1M connections",
        Ratio("--family v6 --tracking full --clients 1000000"),
        AtLeast(0.20, 0.26),
    ),
    slow("client 64k, net_null with synthesis", Ratio("--clients 65536"), Nothing),
    slow(
        "full 64k connections, net_null with synthesis",
        Ratio("--tracking full --clients 65536"),
        Nothing,
    ),
    slow("IPv6 client 1k", Ratio("--family v6 --clients 1000"), Nothing),
    slow("IPv6 client 128k", Ratio("--family v6 --clients 131072"), Nothing),
    slow("IPv6 client 10M", Ratio("--family v6 --clients 10000000"), Nothing),
    slow("IPv6, full 1k connections", Ratio("--family v6 --tracking full"), Nothing),
    slow("Tunnel, client 1k", Ratio("--forwarding tunnel"), Nothing),
    slow(
        "Masq, 1k connections, both directions",
        Ratio("--tracking full --forwarding masq"),
        Nothing,
    ),
    slow(
        "Masq, 1M connections, both directions in every burst",
        Ratio("--tracking full --forwarding masq --clients 1000000 --mixed"),
        Nothing,
    ),
    slow("what measuring costs: no director, 1k, net_null", Ratio("--bare 1"), Nothing),
    slow(
        "what measuring costs: no director, 1k, pcap replay",
        Ratio("--bare 1 --source pcap"),
        Nothing,
    ),
    slow("testpmd io, 1k, net_null", Other(Testpmd("io"), "--clients 1000"), Nothing),
    slow("testpmd io, 1k, pcap replay", Other(Testpmd("io"), "--source pcap"), Nothing),
    slow("testpmd 5tswap, 1k, pcap replay", Other(Testpmd("5tswap"), "--source pcap"), Nothing),
    slow("l3fwd exact match, 1k, pcap replay", Other(L3fwd, "--source pcap"), Nothing),
    slow("client 1k, IMIX", Ratio("--clients 1000 --size imix"), AtLeast(0.46, 0.55)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }

    #[test]
    fn a_mark_is_a_floor_or_a_ceiling() {
        assert!(AtLeast(0.5, 0.6).holds(0.5) && !AtLeast(0.5, 0.6).holds(0.49));
        assert!(Nothing.holds(0.0) && Nothing.figure().is_none());
        assert!(AtMost(35.0, 25.0).holds(-3.0) && !AtMost(35.0, 25.0).holds(35.1));
    }

    #[test]
    fn what_is_aimed_at_is_never_below_the_mark() {
        for row in ROWS {
            assert!(row.mark.aim().is_none_or(|aim| row.mark.holds(aim)), "{}", row.name);
        }
    }
}
