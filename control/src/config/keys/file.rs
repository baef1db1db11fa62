//! The top of the file and the sections that stand alone.

use super::form;
use super::port::PORT;
use super::service::SERVICE;
use super::{Key, Section, Value};
use crate::config::model::{
    Allow, Compat, Control, Defaults, Fragments, Kernel, Log, LogFormat, LogLevel, Memory, Metrics,
    Neighbours, RunAs, ServiceCompat, Settings, Tables, Timeouts, Ttl,
};

/// ipvsadm's longest time: 31 days.
pub(super) const LONGEST_S: u64 = 31 * 86_400;

/// The whole file.
pub static FILE: Section = Section::of::<Settings>(&[
    Key::new(
        "ports",
        Value::list(&Value::Mapping(&PORT), 1, 16),
        "[{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]",
    ),
    Key::new("main_core", Value::number(0, 1_023), "0")
        .or_from("the lowest CPU of the machine that no port has; if there is none, the last one that a port has")
        .restart(),
    Key::new("memory", Value::Mapping(&MEMORY), "{ mib: 2048 }").or("{}"),
    Key::new("tables", Value::Mapping(&TABLES), "{ connections: 4M }").or("{}"),
    Key::new("fragments", Value::Mapping(&FRAGMENTS), "{ early: 256 }").or("{}"),
    Key::new("timeouts", Value::Mapping(&TIMEOUTS), "{ udp: 30 }").or("{}"),
    Key::new("ttl", Value::words::<Ttl>(), "keep").or("decrement"),
    Key::new("neighbours", Value::Mapping(&NEIGHBOURS), "{ retries: 5 }").or("{}"),
    Key::new("control", Value::Mapping(&CONTROL), "{ watch: false }").or("{}"),
    Key::new("metrics", Value::Mapping(&METRICS), "{ address: \"127.0.0.1:9690\" }")
        .or_from("none: nothing listens"),
    Key::new(
        "run_as",
        Value::Either(&[Value::Mapping(&RUN_AS), Value::Text(&form::ACCOUNT)]),
        "director",
    )
    .or_from("who started it")
    .restart(),
    Key::new("log", Value::Either(&[Value::Mapping(&LOG), Value::words::<LogLevel>()]), "debug")
        .or("{}"),
    Key::new(
        "compat",
        Value::Either(&[Value::Mapping(&COMPAT), Value::words::<Defaults>()]),
        "{ kernel: classic }",
    )
    .or("{}"),
    Key::new(
        "services",
        Value::list(&Value::Mapping(&SERVICE), 0, 65_536),
        "[{ vip: 198.18.255.1, protocol: tcp, vip_port: 80, persistence: true }]",
    )
    .or("[]"),
]);

pub(in crate::config) static MEMORY: Section = Section::of::<Memory>(&[
    Key::new("no_huge", Value::Switch, "true").or("false").restart(),
    Key::new("mib", Value::counted(64, 1 << 20, "MiB"), "2048").or("1024").restart(),
    Key::new("mbufs", Value::Count { from: 1_024, to: (1 << 24) - 1 }, "131071")
        .or("65535")
        .restart(),
    Key::new("file_prefix", Value::Text(&form::NAME), "director2").or("director").restart(),
]);

const ENTRIES: Value = Value::Count { from: 1_024, to: 1_000_000_000 };

pub(in crate::config) static TABLES: Section = Section::of::<Tables>(&[
    Key::new("connections", ENTRIES, "4M").or("1M"),
    Key::new("connections6", ENTRIES, "500k").or("128k"),
    Key::new("templates", ENTRIES, "4M").or("1M"),
    Key::new("templates6", ENTRIES, "500k").or("128k"),
    Key::new("clients", ENTRIES, "4M").or("1M"),
    Key::new("clients6", ENTRIES, "500k").or("128k"),
    Key::new("fragments", ENTRIES, "16k").or("8k").restart(),
]);

pub(in crate::config) static FRAGMENTS: Section = Section::of::<Fragments>(&[
    Key::new("remembered", Value::seconds(1, 120), "1min").field("remembered_s").or("30s"),
    Key::new("early_wait", Value::Time { from_ms: 0, to_ms: 30_000 }, "200ms")
        .field("early_wait_ms")
        .or_from("`50ms`; under `compat: ipvs` `30s`, over IPv6 `60s`"),
    Key::new("early", Value::number(0, 1_024), "256").or("64"),
    Key::new("whole", Value::Switch, "true").or_from("`false`; under `compat: ipvs` `true`"),
]);

const IDLE: Value = Value::seconds(1, LONGEST_S);

pub(in crate::config) static TIMEOUTS: Section = Section::of::<Timeouts>(&[
    Key::new("tcp", IDLE, "1h").field("tcp_s").or("900"),
    Key::new("tcp_fin", IDLE, "30s").field("tcp_fin_s").or("120"),
    Key::new("udp", IDLE, "30").field("udp_s").or("300"),
]);

pub(in crate::config) static NEIGHBOURS: Section = Section::of::<Neighbours>(&[
    Key::new("reachable", Value::Time { from_ms: 1_000, to_ms: 3_600_000 }, "1min")
        .field("reachable_ms")
        .or("30s"),
    Key::new("retransmit", Value::Time { from_ms: 10, to_ms: 60_000 }, "500ms")
        .field("retransmit_ms")
        .or("1s"),
    Key::new("retries", Value::number(1, 20), "5").or("3"),
    Key::new("held_frames", Value::number(0, 1_024), "64").or("16"),
    Key::new("entries", Value::Count { from: 16, to: 65_536 }, "16k").or("4096"),
]);

pub(in crate::config) static CONTROL: Section = Section::of::<Control>(&[
    Key::new("socket", Value::Text(&form::SOCKET), "/run/director/second.sock")
        .or("/run/director/control.sock")
        .restart(),
    Key::new("watch", Value::Switch, "false").or("true"),
    Key::new("allow", Value::Mapping(&ALLOW), "{ users: [alice] }").or("{}"),
]);

static PEER: Value = Value::Text(&form::PEER);
const PEERS: Value = Value::list(&PEER, 0, 64);

pub(in crate::config) static ALLOW: Section = Section::of::<Allow>(&[
    Key::new("users", PEERS, "[alice, 1000]").or("[]"),
    Key::new("groups", PEERS, "[director-ops]").or("[]"),
]);

pub(in crate::config) static METRICS: Section = Section::of::<Metrics>(&[
    Key::new("address", Value::Text(&form::LISTENER), "\"[::1]:9690\""),
    Key::new("ipvs_names", Value::Switch, "true").or("false"),
    Key::new("series", Value::Count { from: 0, to: 1_000_000 }, "100k").or("20k"),
]);

pub(in crate::config) static RUN_AS: Section = Section::of::<RunAs>(&[
    Key::new("user", Value::Text(&form::ACCOUNT), "director").restart(),
    Key::new("group", Value::Text(&form::ACCOUNT), "director").or_from("the user's own").restart(),
]);

pub(in crate::config) static LOG: Section = Section::of::<Log>(&[
    Key::new("level", Value::words::<LogLevel>(), "debug").or("info"),
    Key::new("format", Value::words::<LogFormat>(), "json").or("text"),
]);

const MODE: Value = Value::number(0, 3);

pub(in crate::config) static COMPAT: Section = Section::of::<Compat>(&[
    Key::new("defaults", Value::words::<Defaults>(), "ipvs").or("safe"),
    Key::new("kernel", Value::words::<Kernel>(), "classic").or("new"),
    Key::new("sloppy_tcp", Value::Switch, "true").or("false"),
    Key::new("sloppy_sctp", Value::Switch, "true").or("false"),
    Key::new("conn_reuse_mode", MODE, "0").or("1"),
    Key::new("expire_nodest_conn", Value::Switch, "true").or("false"),
    Key::new("expire_quiescent_template", Value::Switch, "true").or("false"),
    Key::new("schedule_icmp", Value::Switch, "true").or("false"),
    Key::new("nat_icmp_send", Value::Switch, "true").or("false"),
    Key::new("pmtu_disc", Value::Switch, "false").or("true"),
    Key::new("secure_tcp", MODE, "1").or("0"),
    Key::new("drop_entry", MODE, "1").or("0"),
    Key::new("drop_packet", MODE, "1").or("0"),
    Key::new("am_droprate", Value::number(1, 1_000_000), "100").or("10"),
    Key::new("amemthresh", Value::number(0, 1_000_000_000), "4096").or("1024"),
    Key::new("ip_forward", Value::Switch, "true").or("false"),
    Key::new("ip_vs_ftp", Value::Switch, "false").or("true"),
    Key::new("renew_extended_templates", Value::Switch, "true").or("false"),
]);

const OTHERS: &str = "as the whole director";

pub(in crate::config) static SERVICE_COMPAT: Section = Section::of::<ServiceCompat>(&[
    Key::new("sloppy_tcp", Value::Switch, "true").or_from(OTHERS),
    Key::new("sloppy_sctp", Value::Switch, "true").or_from(OTHERS),
    Key::new("conn_reuse_mode", MODE, "0").or_from(OTHERS),
    Key::new("expire_nodest_conn", Value::Switch, "true").or_from(OTHERS),
    Key::new("expire_quiescent_template", Value::Switch, "true").or_from(OTHERS),
    Key::new("schedule_icmp", Value::Switch, "true").or_from(OTHERS),
    Key::new("pmtu_disc", Value::Switch, "false").or_from(OTHERS),
    Key::new("secure_tcp", MODE, "1").or_from(OTHERS),
    Key::new("drop_packet", MODE, "1").or_from(OTHERS),
    Key::new("ip_vs_ftp", Value::Switch, "false").or_from(OTHERS),
    Key::new("renew_extended_templates", Value::Switch, "true").or_from(OTHERS),
])
.explained_by::<Compat>();
