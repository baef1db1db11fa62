//! Listings against texts that ipvsadm 1.31 printed on Linux 6.12: each is read into rows by a
//! little parser of its own and printed again, and must be the same text, byte for byte.
//!
//! `fixtures/listing/KIND.SCENARIO.txt` holds what the option KIND printed.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a recording that cannot be read fails its test"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use control::listing::{
    ConnectionRow, Endpoint, Listing, RealRow, ServiceRow, Stats, Style, Traffic, Tunnel,
    TunnelChecksum, connections, save, service, services,
};
use dataplane::conn::State;
use dataplane::ids::Mark;
use dataplane::sched::SchedulerFlags;
use dataplane::snapshot::{Identity, Persistence, RealState, Tracking};
use dataplane::wire::{Addr, Family, Protocol};

fn recordings() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/listing");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn of_kind(kind: &str) -> Vec<(String, String)> {
    let found: Vec<_> =
        recordings().into_iter().filter(|(name, _)| name.split('.').next() == Some(kind)).collect();
    assert!(!found.is_empty(), "no recording of kind {kind}");
    found
}

fn known(words: &[&'static str], word: &str) -> &'static str {
    words.iter().find(|known| **known == word).unwrap_or_else(|| panic!("unknown word {word}"))
}

fn scheduler(word: &str) -> Option<&'static str> {
    const NAMES: [&str; 14] = [
        "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf",
        "twos",
    ];
    (word != "none").then(|| known(&NAMES, word))
}

fn flags(words: &str) -> SchedulerFlags {
    words.split(',').fold(SchedulerFlags::default(), |flags, word| {
        flags
            | match word {
                "flag-1" | "sh-fallback" | "mh-fallback" => SchedulerFlags::FALLBACK,
                "flag-2" | "sh-port" | "mh-port" => SchedulerFlags::PORT,
                "flag-3" => SchedulerFlags::FLAG_3,
                other => panic!("unknown flag {other}"),
            }
    })
}

fn protocol(word: &str) -> Option<Protocol> {
    match word {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        "IP" => None,
        other => panic!("unknown protocol {other}"),
    }
}

fn endpoint(text: &str) -> Endpoint {
    let (address, port) = text.rsplit_once(':').unwrap();
    let address: IpAddr = address.trim_matches(['[', ']']).parse().unwrap();
    Endpoint { address: address.into(), port: port.parse().unwrap() }
}

fn address_service(protocol: Option<Protocol>, text: &str) -> Identity {
    let Endpoint { address, port } = endpoint(text);
    Identity::Address { protocol: protocol.unwrap(), vip: address, vip_port: port }
}

fn mark_service(text: &str, family: Family) -> Identity {
    Identity::Mark { family, mark: Mark(text.parse().unwrap()) }
}

fn mask(text: Option<&str>, family: Family) -> u128 {
    match (text, family) {
        (None, Family::V4) => u128::from(u32::MAX),
        (None, Family::V6) => u128::MAX,
        (Some(dotted), Family::V4) => {
            u128::from(dotted.parse::<std::net::Ipv4Addr>().unwrap().to_bits())
        }
        (Some(bits), Family::V6) => u128::MAX << (128 - bits.parse::<u32>().unwrap()),
    }
}

fn bare(identity: Identity) -> ServiceRow {
    ServiceRow {
        name: Arc::from("web"),
        identity,
        scheduler: None,
        flags: SchedulerFlags::default(),
        persistence: None,
        engine: None,
        one_packet: false,
        tracking: Tracking::Full,
        stats: Stats::default(),
        reals: Vec::new(),
    }
}

fn bare_real(Endpoint { address, port }: Endpoint) -> RealRow {
    RealRow {
        address,
        port,
        forwarding: "Route",
        tunnel: None,
        weight: 1,
        active: 0,
        inactive: 0,
        persistent: 0,
        clients: 0,
        upper_threshold: 0,
        lower_threshold: 0,
        state: RealState::Up,
        stats: Stats::default(),
    }
}

fn numbers<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u64> {
    words.map(|word| word.parse().unwrap()).collect()
}

fn stats(total: Traffic, style: Style) -> Stats {
    match style {
        Style::Rate { .. } => Stats { total: Traffic::default(), per_second: total },
        _ => Stats { total, per_second: Traffic::default() },
    }
}

fn read_service(line: &str, style: Style) -> ServiceRow {
    let mut words = line.split_whitespace().peekable();
    let kind = words.next().unwrap();
    let name = words.next().unwrap();
    let identity = if kind == "FWM" {
        let family = match words.next_if_eq(&"IPv6") {
            Some(_) => Family::V6,
            None => Family::V4,
        };
        mark_service(name, family)
    } else {
        address_service(protocol(kind), name)
    };
    let mut row = bare(identity);
    if matches!(style, Style::Stats { .. } | Style::Rate { .. }) {
        let columns: [u64; 5] = numbers(words).try_into().unwrap();
        row.stats = stats(Traffic::from_columns(columns), style);
        return row;
    }
    row.scheduler = scheduler(words.next().unwrap());
    while let Some(word) = words.next() {
        match word {
            "persistent" => {
                let timeout_s = words.next().unwrap().parse().unwrap();
                let given = words.next_if_eq(&"mask").map(|_| words.next().unwrap());
                let mask = mask(given, identity.family());
                row.persistence = Some(Persistence { timeout_s, mask });
            }
            "pe" => row.engine = Some(Arc::from(words.next().unwrap())),
            "ops" => row.one_packet = true,
            _ => row.flags = flags(word.trim_matches(['(', ')'])),
        }
    }
    row
}

fn read_real(line: &str, style: Style) -> RealRow {
    let mut words = line.split_whitespace().skip(1);
    let mut row = bare_real(endpoint(words.next().unwrap()));
    match style {
        Style::Default | Style::TunnelInfo => {
            let forwarding = words.next().unwrap();
            row.forwarding = known(&["Route", "Masq", "Tunnel", "Local"], forwarding);
        }
        _ => {}
    }
    let columns = numbers(words);
    match (style, columns.as_slice()) {
        (Style::Default, [weight, active, inactive]) => {
            row.weight = *weight as u32;
            (row.active, row.inactive) = (*active, *inactive);
        }
        (Style::Thresholds, [upper, lower, active, inactive]) => {
            (row.upper_threshold, row.lower_threshold) = (*upper as u32, *lower as u32);
            (row.active, row.inactive) = (*active, *inactive);
        }
        (Style::PersistentConnections, [weight, persistent, active, inactive]) => {
            row.weight = *weight as u32;
            (row.persistent, row.active, row.inactive) = (*persistent, *active, *inactive);
        }
        (Style::Stats { .. } | Style::Rate { .. }, columns) => {
            let columns: [u64; 5] = columns.try_into().unwrap();
            row.stats = stats(Traffic::from_columns(columns), style);
        }
        _ => panic!("{columns:?} in {line}"),
    }
    row
}

fn read_listing(text: &str, style: Style) -> Listing {
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    let size = first.split_once("(size=").unwrap().1.trim_end_matches(')');
    let mut listing = Listing { table_size: size.parse().unwrap(), services: Vec::new() };
    for line in lines.skip(2) {
        if line.starts_with("  -> ") {
            listing.services.last_mut().unwrap().reals.push(read_real(line, style));
        } else {
            listing.services.push(read_service(line, style));
        }
    }
    listing
}

fn check_listings(kind: &str, style: Style) {
    for (name, text) in of_kind(kind) {
        let listing = read_listing(&text, style);
        assert_eq!(services(&listing, style), text, "{name}");
    }
}

#[test]
fn plain_listings_are_printed_as_recorded() {
    check_listings("ln", Style::Default);
    check_listings("nosort", Style::Default);
}

#[test]
fn threshold_listings_are_printed_as_recorded() {
    check_listings("thresholds", Style::Thresholds);
}

#[test]
fn persistent_connection_listings_are_printed_as_recorded() {
    check_listings("persistent", Style::PersistentConnections);
}

#[test]
fn statistics_and_rates_are_printed_as_recorded() {
    check_listings("stats", Style::Stats { exact: false });
    check_listings("stats-exact", Style::Stats { exact: true });
    check_listings("rate", Style::Rate { exact: false });
}

#[test]
fn one_service_is_listed_without_the_line_of_the_version() {
    for (name, text) in of_kind("one") {
        let listing = read_listing(&format!("(size=1)\n{text}"), Style::Default);
        let [row] = listing.services.as_slice() else { panic!("{name}") };
        assert_eq!(service(row, Style::Default), text, "{name}");
    }
}

#[test]
fn services_and_real_servers_are_sorted_as_recorded() {
    // Where no addresses stand in a circle, the order does not depend on where they stood.
    for (name, text) in of_kind("ln") {
        let expected = read_listing(&text, Style::Default);
        let mut listing = expected.clone();
        listing.services.reverse();
        listing.services.iter_mut().for_each(|service| service.reals.reverse());
        listing.sort();
        assert_eq!(listing, expected, "{name}");
    }
    let read = |kind: &str| {
        let (_, text) =
            of_kind(kind).into_iter().find(|(n, _)| n.contains("save-restore")).unwrap();
        read_listing(&text, Style::Default)
    };
    let mut listing = read("nosort");
    listing.sort();
    assert_eq!(listing, read("ln"));
}

fn read_connections(text: &str) -> Vec<ConnectionRow> {
    let states: Vec<&str> =
        State::ALL.iter().map(|state| state.word()).chain(["ASSURED"]).collect();
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [proto, expires, state, client, vip, real] = words[..] else { panic!("{line}") };
        let (minutes, seconds) = expires.split_once(':').unwrap();
        let client = endpoint(client);
        ConnectionRow {
            protocol: protocol(proto),
            expires_s: minutes.parse::<u32>().unwrap() * 60 + seconds.parse::<u32>().unwrap(),
            state: known(&states, state),
            client,
            virtual_side: endpoint(vip),
            real: endpoint(real),
            engine: None,
            template: client.port == 0,
        }
    };
    text.lines().skip(2).map(read).collect()
}

#[test]
fn connections_are_printed_as_recorded() {
    for (name, text) in of_kind("lnc") {
        assert_eq!(connections(&read_connections(&text), false), text, "{name}");
    }
}

fn checksum(word: &str) -> TunnelChecksum {
    match word {
        "--tun-nocsum" => TunnelChecksum::Off,
        "--tun-csum" => TunnelChecksum::On,
        "--tun-remcsum" => TunnelChecksum::Remote,
        other => panic!("unknown checksum {other}"),
    }
}

fn saved_identity<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Identity {
    let option = words.next().unwrap();
    let name = words.next().unwrap();
    match option {
        "-f" => match words.next_if_eq(&"-6") {
            Some(_) => mark_service(name, Family::V6),
            None => mark_service(name, Family::V4),
        },
        "-t" => address_service(Some(Protocol::Tcp), name),
        "-u" => address_service(Some(Protocol::Udp), name),
        "--sctp-service" => address_service(Some(Protocol::Sctp), name),
        other => panic!("unknown option {other}"),
    }
}

fn read_saved_service<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> ServiceRow {
    let mut row = bare(saved_identity(words));
    let family = row.identity.family();
    while let Some(word) = words.next() {
        match word {
            "-s" => row.scheduler = scheduler(words.next().unwrap()),
            "-p" => {
                let timeout_s = words.next().unwrap().parse().unwrap();
                let given = words.next_if_eq(&"-M").map(|_| words.next().unwrap());
                let mask = mask(given, family);
                row.persistence = Some(Persistence { timeout_s, mask });
            }
            "--pe" => row.engine = Some(Arc::from(words.next().unwrap())),
            "-o" => row.one_packet = true,
            "-b" => row.flags = flags(words.next().unwrap()),
            other => panic!("unknown option {other}"),
        }
    }
    row
}

fn read_saved_real<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> RealRow {
    assert_eq!(words.next(), Some("-r"));
    let mut row = bare_real(endpoint(words.next().unwrap()));
    row.forwarding = match words.next().unwrap() {
        "-g" => "Route",
        "-m" => "Masq",
        "-i" => "Tunnel",
        other => panic!("unknown option {other}"),
    };
    assert_eq!(words.next(), Some("-w"));
    row.weight = words.next().unwrap().parse().unwrap();
    if words.next_if_eq(&"--tun-type").is_some() {
        row.tunnel = Some(match words.next().unwrap() {
            "ipip" => Tunnel::Ipip,
            "gue" => {
                assert_eq!(words.next(), Some("--tun-port"));
                let port = words.next().unwrap().parse().unwrap();
                Tunnel::Gue { port, checksum: checksum(words.next().unwrap()) }
            }
            "gre" => Tunnel::Gre { checksum: checksum(words.next().unwrap()) },
            other => panic!("unknown tunnel {other}"),
        });
    }
    row
}

fn read_saved(text: &str) -> Listing {
    let mut listing = Listing { table_size: 4096, services: Vec::new() };
    for line in text.lines() {
        let mut words = line.split_whitespace().peekable();
        if words.next() == Some("-A") {
            listing.services.push(read_saved_service(&mut words));
        } else {
            let service = listing.services.last_mut().unwrap();
            assert_eq!(saved_identity(&mut words), service.identity);
            service.reals.push(read_saved_real(&mut words));
        }
        assert_eq!(words.next(), None, "{line}");
    }
    listing
}

#[test]
fn saved_services_are_printed_as_recorded() {
    for (name, text) in of_kind("save") {
        assert_eq!(save(&read_saved(&text)), text, "{name}");
    }
}

#[test]
fn what_was_saved_is_listed_as_recorded() {
    let text = |kind: &str| {
        of_kind(kind).into_iter().find(|(name, _)| name.contains("save-restore")).unwrap().1
    };
    assert_eq!(services(&read_saved(&text("save")), Style::Default), text("ln"));
}

fn tcp(text: &str) -> Identity {
    address_service(Some(Protocol::Tcp), text)
}

fn tunnelled(server: &str, tunnel: Option<Tunnel>) -> RealRow {
    RealRow { forwarding: "Tunnel", tunnel, ..bare_real(endpoint(server)) }
}

fn sample() -> ServiceRow {
    ServiceRow {
        reals: vec![
            bare_real(endpoint("172.16.0.11:80")),
            tunnelled("172.16.0.12:80", Some(Tunnel::Ipip)),
            tunnelled(
                "172.16.0.13:80",
                Some(Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Remote }),
            ),
            tunnelled("172.16.0.14:80", Some(Tunnel::Gre { checksum: TunnelChecksum::On })),
            tunnelled("[fd00:16::15]:80", None),
        ],
        ..bare(tcp("192.0.2.10:80"))
    }
}

#[test]
fn tunnels_are_described_on_request() {
    assert_eq!(
        service(&sample(), Style::TunnelInfo),
        "Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n\
         TCP  192.0.2.10:80 none\n\
         \x20 -> 172.16.0.11:80               Route   n/a           1      0          0         \n\
         \x20 -> 172.16.0.12:80               Tunnel  ipip          1      0          0         \n\
         \x20 -> 172.16.0.13:80               Tunnel  gue:6080:r+c  1      0          0         \n\
         \x20 -> 172.16.0.14:80               Tunnel  gre:+c        1      0          0         \n\
         \x20 -> [fd00:16::15]:80             Tunnel  ipip          1      0          0         \n"
    );
    let saved = save(&Listing { table_size: 4096, services: vec![sample()] });
    assert_eq!(
        saved.lines().skip(2).collect::<Vec<_>>(),
        [
            "-a -t 192.0.2.10:80 -r 172.16.0.12:80 -i -w 1 --tun-type ipip",
            "-a -t 192.0.2.10:80 -r 172.16.0.13:80 -i -w 1 --tun-type gue --tun-port 6080 \
             --tun-remcsum",
            "-a -t 192.0.2.10:80 -r 172.16.0.14:80 -i -w 1 --tun-type gre --tun-csum",
            "-a -t 192.0.2.10:80 -r [fd00:16::15]:80 -i -w 1 --tun-type ipip",
        ]
    );
}

#[test]
fn numbers_and_names_that_are_too_long_push_the_line_to_the_right() {
    let traffic = Traffic::from_columns([123_456_789, 12_345_678_901, 7, 1 << 50, 0]);
    let both = Stats { total: traffic, per_second: traffic };
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
    let row = ServiceRow {
        scheduler: Some("wlc"),
        stats: both,
        reals: vec![RealRow {
            weight: 2_147_483_647,
            active: 12_345_678_901,
            stats: both,
            ..bare_real(endpoint(long))
        }],
        ..bare(tcp(long))
    };
    let lines = |style| {
        let text = service(&row, style);
        text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let stats = "  123456K   12345M        7    1125T        0";
    assert_eq!(
        lines(Style::Stats { exact: false }),
        [format!("TCP  {long}{stats}"), format!("  -> {long}{stats}")]
    );
    let exact = " 123456789 12345678901        7 1125899906842624        0";
    assert_eq!(
        lines(Style::Stats { exact: true }),
        [format!("TCP  {long}{exact}"), format!("  -> {long}{exact}")]
    );
    let rates = " 123456789 12345678901        7    1125T        0";
    assert_eq!(
        lines(Style::Rate { exact: false }),
        [format!("TCP  {long}{stats}"), format!("  -> {long}{rates}")]
    );
    assert_eq!(
        lines(Style::Default),
        [
            format!("TCP  {long} wlc"),
            format!("  -> {long} Route   2147483647 12345678901 0         "),
        ]
    );
}

#[test]
fn flags_have_the_names_that_their_scheduler_gives_them() {
    let line = |scheduler, flags| {
        let text =
            service(&ServiceRow { scheduler, flags, ..bare(tcp("192.0.2.10:80")) }, Style::Default);
        text.lines().nth(2).unwrap().to_owned()
    };
    let all = SchedulerFlags::all();
    assert_eq!(line(Some("sh"), all), "TCP  192.0.2.10:80 sh (sh-fallback,sh-port)");
    assert_eq!(line(Some("mh"), all), "TCP  192.0.2.10:80 mh (mh-fallback,mh-port)");
    assert_eq!(line(Some("rr"), all), "TCP  192.0.2.10:80 rr (flag-1,flag-2,flag-3)");
    assert_eq!(line(None, SchedulerFlags::PORT), "TCP  192.0.2.10:80 none (flag-2)");
}

#[test]
fn everything_about_a_service_stands_in_ipvsadms_order() {
    let row = ServiceRow {
        scheduler: Some("sh"),
        flags: SchedulerFlags::PORT,
        persistence: Some(Persistence { timeout_s: 600, mask: 0xFFFF_FF00 }),
        engine: Some(Arc::from("sip")),
        one_packet: true,
        ..bare(address_service(Some(Protocol::Udp), "192.0.2.10:5060"))
    };
    assert_eq!(
        service(&row, Style::Default).lines().last(),
        Some("UDP  192.0.2.10:5060 sh (sh-port) persistent 600 mask 255.255.255.0 pe sip ops")
    );
    assert_eq!(
        save(&Listing { table_size: 4096, services: vec![row] }),
        "-A -u 192.0.2.10:5060 -s sh -p 600 -M 255.255.255.0 --pe sip -o -b sh-port\n"
    );
}

#[test]
fn services_that_ipvsadm_cannot_name_are_listed_and_saved_as_comments() {
    let ports = |protocol, first, last| {
        let vip = Addr::v4(0xC000_020A);
        bare(Identity::Ports { protocol, vip, first, last })
    };
    let mut listing = Listing {
        table_size: 4096,
        services: vec![
            ports(None, 0, u16::MAX),
            ports(Some(Protocol::Tcp), 8000, 8099),
            bare(address_service(Some(Protocol::Udp), "192.0.2.10:53")),
        ],
    };
    listing.sort();
    let text = services(&listing, Style::Default);
    assert_eq!(
        text.lines().skip(3).collect::<Vec<_>>(),
        ["TCP  192.0.2.10:8000-8099 none", "UDP  192.0.2.10:53 none", "ANY  192.0.2.10:0 none"]
    );
    assert_eq!(
        save(&listing),
        "-A -u 192.0.2.10:53 -s none\n\
         # ipvsadm has no service like: TCP  192.0.2.10:8000-8099\n\
         # ipvsadm has no service like: ANY  192.0.2.10:0\n"
    );
}

#[test]
fn json_has_the_documented_fields() {
    let traffic = |n| Traffic::from_columns([n; 5]);
    let row = ServiceRow {
        scheduler: Some("wlc"),
        persistence: Some(Persistence { timeout_s: 360, mask: u128::from(u32::MAX) }),
        stats: Stats { total: traffic(2), per_second: traffic(1) },
        reals: vec![tunnelled(
            "172.16.0.13:80",
            Some(Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Off }),
        )],
        ..bare(tcp("192.0.2.10:80"))
    };
    let listing = Listing { table_size: 4096, services: vec![row] };
    let numbers = |n| {
        serde_json::json!({
            "conns": n, "in_packets": n, "out_packets": n, "in_bytes": n, "out_bytes": n
        })
    };
    let expected = serde_json::json!({
        "table_size": 4096,
        "services": [{
            "name": "web", "family": "ipv4", "protocol": "tcp", "vip": "192.0.2.10",
            "vip_port": 80, "scheduler": "wlc", "flags": [],
            "persistence": {"timeout_s": 360, "mask": "255.255.255.255"},
            "engine": null, "one_packet": false, "tracking": "full",
            "stats": {"total": numbers(2), "per_second": numbers(1)},
            "real_servers": [{
                "address": "172.16.0.13", "port": 80, "forwarding": "tunnel",
                "tunnel": {"type": "gue", "port": 6080, "checksum": "off"},
                "weight": 1, "state": "up", "active": 0, "inactive": 0, "persistent": 0,
                "clients": 0, "upper_threshold": 0, "lower_threshold": 0,
                "stats": {"total": numbers(0), "per_second": numbers(0)},
            }],
        }],
    });
    assert_eq!(serde_json::to_value(&listing).unwrap(), expected);
}

#[test]
fn json_tells_marks_ranges_and_connections_apart() {
    let json = |identity| serde_json::to_value(bare(identity)).unwrap();
    let mark = json(mark_service("10", Family::V6));
    assert_eq!((&mark["family"], &mark["mark"]), (&"ipv6".into(), &10.into()));
    assert!(mark.get("vip").is_none() && mark.get("protocol").is_none());
    let vip = Addr::v4(0xC000_020A);
    let range = json(Identity::Ports { protocol: None, vip, first: 1, last: 9 });
    assert_eq!(range["protocol"], "any");
    assert_eq!((&range["first_vip_port"], &range["last_vip_port"]), (&1.into(), &9.into()));
    let rows = read_connections(
        "\n\nIP  01:39  NONE        10.1.0.1:0         0.0.0.10:0         172.16.0.13:0\n",
    );
    assert_eq!(
        serde_json::to_value(&rows).unwrap(),
        serde_json::json!([{
            "protocol": "ip", "expires_s": 99, "state": "NONE", "template": true,
            "client": {"address": "10.1.0.1", "port": 0},
            "virtual": {"address": "0.0.0.10", "port": 0},
            "real": {"address": "172.16.0.13", "port": 0},
            "engine": null,
        }])
    );
}
