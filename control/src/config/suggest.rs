//! Guesses what was meant: by spelling, and by the words of other balancers.

/// `(what people write, what it is called here)`; the second may stand more than once,
/// the first with several candidates of which the known one is taken.
const SYNONYMS: &[(&str, &str)] = &[
    ("algorithm", "scheduler"),
    ("algo", "scheduler"),
    ("lb_algo", "scheduler"),
    ("lvs_sched", "scheduler"),
    ("lb_kind", "forwarding"),
    ("lvs_method", "forwarding"),
    ("method", "forwarding"),
    ("mode", "forwarding"),
    ("forward", "forwarding"),
    ("fwmark", "mark"),
    ("firewall_mark", "mark"),
    ("persistence_timeout", "persistence"),
    ("persistent", "persistence"),
    ("sticky", "persistence"),
    ("persistence_granularity", "netmask"),
    ("mask", "netmask"),
    ("granularity", "prefix"),
    ("prefix_length", "prefix"),
    ("virtual_servers", "services"),
    ("virtual_server", "services"),
    ("virtual_services", "services"),
    ("vips", "selectors"),
    ("match", "selectors"),
    ("reals", "real_servers"),
    ("real_server", "real_servers"),
    ("backends", "real_servers"),
    ("servers", "real_servers"),
    ("destinations", "real_servers"),
    ("rip", "address"),
    ("ip", "address"),
    ("ip", "vip"),
    ("address", "vip"),
    ("virtual_address", "vip"),
    ("port", "vip_port"),
    ("vport", "vip_port"),
    ("ports", "vip_port"),
    ("port", "real_port"),
    ("rport", "real_port"),
    ("proto", "protocol"),
    ("ops", "one_packet"),
    ("uthreshold", "upper_threshold"),
    ("max_connections", "upper_threshold"),
    ("lthreshold", "lower_threshold"),
    ("min_connections", "lower_threshold"),
    ("neighbors", "neighbours"),
    ("interfaces", "ports"),
    ("nics", "ports"),
    ("workers", "cores"),
    ("lcores", "cores"),
    ("cpus", "cores"),
    ("pci", "device"),
    ("vdev", "device"),
    ("interface", "device"),
    ("next_hop", "via"),
    ("nexthop", "via"),
    ("destination", "to"),
    ("dst", "to"),
    ("gw", "gateway"),
    ("hugepages", "no_huge"),
    ("mac_address", "mac"),
    ("tcpfin", "tcp_fin"),
    // Values.
    ("dr", "route"),
    ("direct", "route"),
    ("droute", "route"),
    ("gatewaying", "route"),
    ("gateway", "route"),
    ("dsr", "route"),
    ("nat", "masq"),
    ("masquerade", "masq"),
    ("masquerading", "masq"),
    ("snat", "masq"),
    ("tun", "tunnel"),
    ("tunnelling", "tunnel"),
    ("ipip", "tunnel"),
    ("round_robin", "rr"),
    ("roundrobin", "rr"),
    ("weighted_round_robin", "wrr"),
    ("least_conn", "lc"),
    ("leastconn", "lc"),
    ("least_connection", "lc"),
    ("weighted_least_connection", "wlc"),
    ("source", "sh"),
    ("source_hash", "sh"),
    ("maglev", "mh"),
    ("all", "any"),
    ("both", "any"),
    ("ip", "any"),
    ("warning", "warn"),
    ("old", "classic"),
];

/// The possible word that was probably meant, if there is a likely one.
pub(super) fn closest<'a>(word: &str, possible: &[&'a str]) -> Option<&'a str> {
    let word: String = word.to_lowercase().replace('-', "_").chars().take(40).collect();
    let exact = possible.iter().find(|candidate| **candidate == word);
    let synonym = || {
        SYNONYMS
            .iter()
            .filter(|(said, _)| *said == word)
            .find_map(|(_, meant)| possible.iter().find(|candidate| *candidate == meant))
    };
    let spelling = || {
        possible
            .iter()
            .map(|candidate| (distance(&word, candidate), candidate))
            .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, candidate)| *distance < candidate.len())
            .map(|(_, candidate)| candidate)
    };
    exact.or_else(synonym).or_else(spelling).copied()
}

/// The words as a sentence lists them: `a`, `b` or `c`.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Edits from one word to the other; swapping two neighbours is one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX / 2);
            let mut best = (cell(&row, j) + usize::from(from != to))
                .min(cell(&row, j + 1) + 1)
                .min(cell(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from);
            if swapped {
                best = best.min(cell(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let keys = ["scheduler", "services", "selectors", "tracking"];
        assert_eq!(closest("schedular", &keys), Some("scheduler"));
        assert_eq!(closest("shceduler", &keys), Some("scheduler"));
        assert_eq!(closest("Tracking", &keys), Some("tracking"));
        assert_eq!(closest("colour", &keys), None);
        assert_eq!(closest(&"x".repeat(1_000_000), &keys), None);
    }

    #[test]
    fn a_word_of_another_balancer_finds_its_counterpart() {
        assert_eq!(closest("lb_algo", &["name", "scheduler"]), Some("scheduler"));
        assert_eq!(closest("NAT", &["route", "masq"]), Some("masq"));
        assert_eq!(closest("port", &["vip", "vip_port"]), Some("vip_port"));
        assert_eq!(closest("port", &["address", "real_port"]), Some("real_port"));
    }

    #[test]
    fn short_words_are_not_guessed_from_nothing() {
        assert_eq!(closest("x", &["rr", "sh"]), None);
        assert_eq!(closest("wcl", &["rr", "wlc"]), Some("wlc"));
    }

    #[test]
    fn lists_read_as_a_sentence() {
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(listed(&["a"]), "`a`");
    }
}
