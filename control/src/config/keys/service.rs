//! `services[]`.

use super::file::{LONGEST_S, SERVICE_COMPAT};
use super::form;
use super::real_server::REAL_SERVER;
use super::{Key, Rule, Section, Value};
use crate::config::model::{
    Engine, Family, HashFlags, OnDown, OnDrain, Persistence, Pin, Protocol, Scheduler, Selector,
    Service, Tracking,
};

const VIP: Key = Key::new("vip", Value::Text(&form::ADDRESS), "198.18.255.1");
const PROTOCOL: Key = Key::new("protocol", Value::words::<Protocol>(), "tcp");
const VIP_PORT: Key = Key::new("vip_port", PORTS, "443");
/// In the service itself the three stand for a selector.
const SHORT: &str = "`selectors`";

const PORTS: Value = Value::Either(&[Value::number(0, 65_535), Value::Text(&form::PORT_RANGE)]);

pub(in crate::config) static SERVICE: Section = Section::of::<Service>(&[
    Key::new("name", Value::Text(&form::SERVICE_NAME), "shop").or_from("from mark or selector"),
    Key::new("mark", Value::number(1, u32::MAX as u64), "10").or_from("none"),
    Key::new("family", Value::words::<Family>(), "ipv6")
        .or_from("that of the selectors, or `ipv4`"),
    Key::new(
        "selectors",
        Value::any_list(&Value::Mapping(&SELECTOR), 0),
        "[{ vip: 198.18.255.1, protocol: tcp, vip_port: 443 }]",
    ),
    VIP.or_from(SHORT).about("The virtual address, short for `selectors` with one selector."),
    PROTOCOL.or_from(SHORT).about("The protocol, beside `vip`."),
    VIP_PORT.or_from(SHORT).about("The port, range of ports, or 0 for every port, beside `vip`."),
    Key::new(
        "scheduler",
        Value::Either(&[Value::words::<Scheduler>(), Value::Mapping(&SCHEDULER)]),
        "{ name: sh, fallback: true }",
    )
    .or("wlc"),
    Key::new(
        "persistence",
        Value::Either(&[Value::Mapping(&PERSISTENCE), TIMEOUT, Value::Switch]),
        "{ timeout: 15m, prefix: 24 }",
    )
    .or("false"),
    Key::new("tracking", Value::words::<Tracking>(), "client").or("full"),
    Key::new("one_packet", Value::Switch, "true").or("false"),
    Key::new("seed", Value::number(0, u64::MAX), "1")
        .or_from("the kernel's keys for mh, fresh draws for twos"),
    Key::new("on_drain", Value::words::<OnDrain>(), "new_elsewhere").or("keep"),
    Key::new("on_down", Value::words::<OnDown>(), "keep")
        .or_from("`rebind`; under `compat: ipvs` `keep`"),
    Key::new("drain_deadline", TIMEOUT, "10m").field("drain_deadline_s").or_from("for ever"),
    Key::new("compat", Value::Mapping(&SERVICE_COMPAT), "{ sloppy_tcp: true }").or("{}"),
    Key::new(
        "pins",
        Value::any_list(&Value::Mapping(&PIN), 0),
        "[{ client: 198.18.0.7, real_server: 198.18.10.11 }]",
    )
    .or("[]"),
    Key::new(
        "real_servers",
        Value::list(&Value::Mapping(&REAL_SERVER), 0, 65_536),
        "[{ address: 198.18.10.11 }, { address: 198.18.10.12, weight: 2 }]",
    )
    .or("[]"),
])
.rules(&[
    Rule::OneOf { groups: &[&["selectors"], &["vip", "protocol", "vip_port"]], unless: "mark" },
    Rule::NotBoth("family", "selectors"),
    Rule::NotBoth("family", "vip"),
]);

pub(in crate::config) static PIN: Section = Section::of::<Pin>(&[
    Key::new(
        "client",
        Value::Either(&[Value::Text(&form::ADDRESS), Value::Text(&form::NETWORK)]),
        "198.18.0.7",
    ),
    Key::new("real_server", Value::Text(&form::ADDRESS), "198.18.10.11"),
]);

pub(in crate::config) static SELECTOR: Section =
    Section::of::<Selector>(&[VIP, PROTOCOL, VIP_PORT.field("vip_ports")]);

pub(in crate::config) static SCHEDULER: Section = Section::of::<HashFlags>(&[
    Key::new("name", Value::words::<Scheduler>(), "sh").about("The scheduler."),
    Key::new("fallback", Value::Switch, "true").or("false"),
    Key::new("port", Value::Switch, "true").or("false"),
])
.rules(&[with_hashing("fallback"), with_hashing("port")]);

/// Only the schedulers that hash have flags.
const fn with_hashing(key: &'static str) -> Rule {
    Rule::With { key, when: "name", is: &["sh", "mh"], compulsory: false }
}

const TIMEOUT: Value = Value::seconds(1, LONGEST_S);

pub(in crate::config) static PERSISTENCE: Section = Section::of::<Persistence>(&[
    Key::new("timeout", TIMEOUT, "15m").field("timeout_s").or("360"),
    Key::new("netmask", Value::Text(&form::NETMASK), "255.255.255.0")
        .or_from("255.255.255.255")
        .about(
            "IPv4: what `prefix` says, written as ipvsadm's `-M` is. As there its ones may stand \
             apart: with `255.0.255.0` all clients are one that agree in the first and the third \
             byte, with `0.0.0.0` all clients are one.",
        ),
    Key::new("prefix", Value::number(1, 128), "24").field("mask").or_from("32; IPv6: 128"),
    Key::new("engine", Value::words::<Engine>(), "sip").or_from("none"),
])
.rules(&[Rule::NotBoth("netmask", "prefix")]);
