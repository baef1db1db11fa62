//! Whatever the files are that `director import` is given, it ends, and what it writes loads.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use control::config;
use control::import::{Imported, Input, Kind, import};
use control::ipvsadm::Names;
use proptest::prelude::*;

const KINDS: [Kind; 3] = [Kind::Ipvsadm, Kind::Iptables, Kind::Keepalived];

/// A port whose networks have every address.
const PORTS: &str = "ports:\n  - { name: lan0, device: 0000:3b:00.0, kernel_port: net_tap0, \
                     addresses: [93.77.1.9/1, 193.77.1.9/1, \"7:7:7::7/1\", \"9000:7:7::7/1\"] }\n";

fn read(texts: &[(Kind, &[u8])]) -> Imported {
    let input = |(kind, text): &(Kind, &'_ [u8])| (*kind, text.to_vec());
    let owned: Vec<(Kind, Vec<u8>)> = texts.iter().map(input).collect();
    let inputs: Vec<Input<'_>> =
        owned.iter().map(|(kind, text)| Input { kind: *kind, name: "f", text }).collect();
    import(&inputs, &Names::offline(), None)
}

/// How many services a configuration has; it must load.
fn services(done: &Imported) -> usize {
    let text = format!("{PORTS}{}", done.yaml);
    let model = config::parse(&text, "imported").unwrap_or_else(|problems| {
        let text: String = text.lines().take(200).map(|line| format!("{line}\n")).collect();
        panic!("{problems}\n{text}")
    });
    assert_eq!(model.services.len(), done.services);
    done.services
}

/// The texts of all imports that are tested.
fn fixtures() -> Vec<(Kind, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    let mut texts = Vec::new();
    for folder in fs::read_dir(root).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let kind = match path.extension().unwrap().to_str().unwrap() {
                "ipvsadm" => Kind::Ipvsadm,
                "iptables" => Kind::Iptables,
                "keepalived" => Kind::Keepalived,
                _ => continue,
            };
            texts.push((kind, fs::read(path).unwrap()));
        }
    }
    assert!(texts.len() > 10);
    texts
}

#[test]
fn files_that_are_cut_off_anywhere_load() {
    for (kind, text) in fixtures() {
        for end in (0..text.len()).step_by(7) {
            services(&read(&[(kind, &text[..end])]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_bytes_load(text in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        for kind in KINDS {
            services(&read(&[(kind, &text)]));
        }
    }

    #[test]
    fn random_words_load(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 0..400)
    ) {
        let text = words.join(" ");
        for kind in KINDS {
            services(&read(&[(kind, text.as_bytes())]));
        }
    }

    #[test]
    fn files_that_are_mutated_load(
        file in any::<proptest::sample::Index>(),
        other in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec(
            (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0..5_u8), 1..12
        ),
    ) {
        let all = fixtures();
        let (kind, text) = &all[file.index(all.len())];
        let mut lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        for (a, b, how) in changes {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            match how {
                0 => lines.swap(a, b),
                1 => {
                    let line = lines[a].clone();
                    lines.insert(b, line);
                }
                2 if lines.len() > 1 => drop(lines.remove(a)),
                3 => {
                    let at = b % (lines[a].len() + 1);
                    let word = WORDS[(a + b) % WORDS.len()];
                    lines[a].splice(at..at, word.bytes());
                }
                _ => {
                    let end = b % (lines[a].len() + 1);
                    lines[a].truncate(end);
                }
            }
        }
        let text = lines.join(&b'\n');
        let (second, third) = &all[other.index(all.len())];
        services(&read(&[(*kind, &text), (*second, third)]));
        for kind in KINDS {
            services(&read(&[(kind, &text)]));
        }
    }
}

const WORDS: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "{",
    "}",
    "\"",
    "'",
    ";",
    ",",
    ":",
    "\\\n",
    "$A",
    "$A=",
    "${A}",
    "@x",
    "#",
    "!",
    "-A",
    "-a",
    "-t",
    "-u",
    "-f",
    "-r",
    "-p",
    "-M",
    "-6",
    "-s",
    "-b",
    "-o",
    "-m",
    "-g",
    "-i",
    "-w",
    "-d",
    "-j",
    "-I",
    "PREROUTING",
    "MARK",
    "--set-mark",
    "--dport",
    "--dports",
    "--mark",
    "tcp",
    "udp",
    "multiport",
    "*mangle",
    "COMMIT",
    "ipvsadm",
    "iptables",
    "198.18.255.1",
    "198.18.255.1:80",
    "198.18.255.1:0",
    "2001:db8::1",
    "[2001:db8::1]:80",
    "127.0.0.1",
    "224.0.0.1",
    "0.0.0.0/0",
    "10",
    "0",
    "65535",
    "4294967295",
    "99999999999999999999",
    "-1",
    "1:65535",
    "80,443",
    "wlc",
    "sh",
    "rr",
    "virtual_server",
    "virtual_server_group",
    "group",
    "fwmark",
    "real_server",
    "protocol",
    "UDP",
    "lb_kind",
    "DR",
    "TUN",
    "persistence_timeout",
    "persistence_granularity",
    "255.0.255.0",
    "weight",
    "table",
    "ip",
    "chain",
    "x",
    "type",
    "filter",
    "hook",
    "prerouting",
    "priority",
    "mangle",
    "daddr",
    "dport",
    "meta",
    "mark",
    "set",
    "map",
    "vmap",
    "jump",
    "elements",
    "=",
    "\u{85}",
    "\u{0}",
    "\u{2028}",
    "\u{feff}",
    "é",
    "=\\",
];

#[test]
fn chains_that_call_each_other_twice_end() {
    let mut text = "*mangle\n".to_owned();
    for chain in 0..60 {
        for _ in 0..2 {
            writeln!(text, "-A c{chain} -p tcp -j c{}", chain + 1).unwrap();
        }
    }
    text.push_str("-A PREROUTING -d 198.18.255.1 -j c0\n-A c60 -j MARK --set-mark 1\n");
    text.push_str("-A PREROUTING -d 198.18.255.1 -j loop\n-A loop -j loop\nCOMMIT\n");
    let done = read(&[(Kind::Iptables, text.as_bytes())]);
    assert!(done.notes.iter().any(|note| note.why.contains("too long")), "{:?}", done.notes);
    services(&done);
}

#[test]
fn a_ruleset_of_many_rules_and_ports_ends() {
    let mut rules = String::new();
    let mut port = 1_u16;
    for _ in 0..3_000 {
        write!(
            rules,
            "iptables -t mangle -A PREROUTING -d 198.18.255.1 -p tcp -m multiport --dports "
        )
        .unwrap();
        for _ in 0..14 {
            write!(rules, "{port},").unwrap();
            port = port.wrapping_add(2) | 1;
        }
        writeln!(rules, "{port} -j MARK --set-mark {port}").unwrap();
    }
    services(&read(&[(Kind::Iptables, rules.as_bytes())]));
}

#[test]
fn groups_of_many_addresses_with_many_real_servers_end() {
    let mut text = "virtual_server_group G {\n".to_owned();
    for net in 0..200 {
        writeln!(text, "198.18.{net}.0/20 80\n198.18.{net}.0/24 {}", net + 81).unwrap();
    }
    text.push_str("}\nvirtual_server group G {\n");
    for server in 0..3_000 {
        writeln!(text, "real_server 198.19.{}.{} 80 {{\n}}", server / 200, server % 200 + 1)
            .unwrap();
    }
    text.push_str("}\n");
    let done = read(&[(Kind::Keepalived, text.as_bytes())]);
    assert!(services(&done) >= 1);
    assert!(done.notes.iter().any(|note| note.why.contains("more than a configuration can hold")));
}

#[test]
fn the_largest_files_load() {
    let mut listing = String::new();
    for service in 0..100_000_u32 {
        let (high, low) = (service / 250, service % 250 + 1);
        let (a, b) = (high / 250, high % 250);
        writeln!(
            listing,
            "-A -t 10.{a}.{b}.{low}:80 -s rr\n-a -t 10.{a}.{b}.{low}:80 -r 172.16.0.1:80 -g"
        )
        .unwrap();
    }
    let done = read(&[(Kind::Ipvsadm, listing.as_bytes())]);
    assert!(services(&done) > 10_000);

    for bytes in
        ["{\n", "}\n", "virtual_server { ", "\"", "$A=\\\n", "-A \\\n", "table ip x { ", "1 "]
    {
        let text = bytes.repeat((config::MAX_BYTES + 100) / bytes.len());
        for kind in KINDS {
            services(&read(&[(kind, text.as_bytes())]));
        }
    }
}

#[test]
fn many_rules_that_look_at_a_large_set_end() {
    let mut text = "table ip t {\nset s { elements = { ".to_owned();
    for element in 0..300_000_u32 {
        write!(text, "{}, ", element % 65_536).unwrap();
    }
    text.push_str("} }\nchain c {\ntype filter hook prerouting priority 0\n");
    text.push_str(&"ip daddr 198.18.255.1 tcp dport @s meta mark set 1\n".repeat(50_000));
    text.push_str("} }\n");
    services(&read(&[(Kind::Iptables, text.as_bytes())]));
    let chains = "table ip t { chain c { type filter hook input priority 1\n}\n}\n".repeat(50_000);
    let text = format!(
        "{chains}table ip u {{ chain c {{ type filter hook input priority 2\n\
                        ip daddr 198.18.255.0/24 meta mark set 1\n}}\n}}\n"
    );
    assert_eq!(services(&read(&[(Kind::Iptables, text.as_bytes())])), 1);
}

#[test]
fn real_servers_that_are_edited_over_and_over_end() {
    let mut text = "-A -f 1\n".to_owned();
    for server in 0..50_000_u32 {
        writeln!(text, "-a -f 1 -r 10.1.{}.{}", server / 250, server % 250 + 1).unwrap();
    }
    for server in 0..50_000_u32 {
        writeln!(text, "-e -f 1 -r 10.1.{}.{} -w 2", server / 250, server % 250 + 1).unwrap();
        writeln!(text, "-d -f 1 -r 10.1.{}.{}", server / 250, server % 250 + 1).unwrap();
    }
    let rules = "iptables -t mangle -I PREROUTING -d 198.18.255.1 -j MARK --set-mark 1\n";
    text.push_str(&rules.repeat(40_000));
    text.push_str(&rules.replace("-I", "-D").repeat(10_000));
    assert_eq!(services(&read(&[(Kind::Ipvsadm, text.as_bytes())])), 1);
}

#[test]
fn parameters_that_grow_end() {
    let mut text = String::new();
    for name in 0..40 {
        writeln!(text, "$A{name}=${{A{0}}}${{A{0}}}", name + 1).unwrap();
    }
    text.push_str("$A40=xxxxxxxx\n");
    text.push_str(&"$A0\n".repeat(1_000));
    services(&read(&[(Kind::Keepalived, text.as_bytes())]));
}
