//! The sections whose keys stand alone: each has its default.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::config::code::Code;
use crate::config::fields::{Fields, Given};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{
    Control, Fragments, Log, LogFormat, LogLevel, Neighbours, Tables, Timeouts,
};
use crate::config::path::Path;
use crate::config::scalar::{self, Reject, shown};
use crate::config::tree::Value;

/// ipvsadm's longest time: 31 days.
pub(super) const MAX_TIMEOUT_S: u64 = 31 * 86_400;

/// `memory:` as written.
#[derive(Default)]
pub(in crate::config) struct Memory {
    pub(in crate::config) no_huge: Given<bool>,
    pub(in crate::config) mib: Given<u32>,
    pub(in crate::config) mbufs: Given<u32>,
    pub(in crate::config) file_prefix: Given<String>,
}

pub(super) fn memory(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Memory {
    let path = Path::Root.key("memory");
    let fields = match file.find("memory") {
        Given::Absent => return Memory::default(),
        Given::Bad => None,
        Given::Good(node) => Fields::open(node, &path, &keys::MEMORY, findings),
    };
    let Some(fields) = fields else { return Memory::unknown() };
    Memory {
        no_huge: fields.read("no_huge", findings, scalar::boolean),
        mib: fields.read("mib", findings, |text| scalar::fitting(text, 64..=1 << 20)),
        mbufs: fields.read("mbufs", findings, |text| scalar::count(text, 1_024..=(1 << 24) - 1)),
        file_prefix: fields.read("file_prefix", findings, |text| scalar::name(text, "", 32)),
    }
}

impl Memory {
    fn unknown() -> Self {
        Self { no_huge: Given::Bad, mib: Given::Bad, mbufs: Given::Bad, file_prefix: Given::Bad }
    }
}

pub(super) fn tables(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Tables {
    let path = Path::Root.key("tables");
    let default = Tables::default();
    let Some(fields) = file
        .find("tables")
        .good()
        .and_then(|node| Fields::open(node, &path, &keys::TABLES, findings))
    else {
        return default;
    };
    let mut entries = |key, default| {
        fields.read(key, findings, |text| scalar::count(text, 1_024..=1_000_000_000)).or(default)
    };
    Tables {
        connections: entries("connections", default.connections),
        connections6: entries("connections6", default.connections6),
        templates: entries("templates", default.templates),
        templates6: entries("templates6", default.templates6),
        clients: entries("clients", default.clients),
        clients6: entries("clients6", default.clients6),
        fragments: entries("fragments", default.fragments),
    }
}

pub(super) fn fragments(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Fragments {
    let path = Path::Root.key("fragments");
    let default = Fragments::default();
    let Some(fields) = file
        .find("fragments")
        .good()
        .and_then(|node| Fields::open(node, &path, &keys::FRAGMENTS, findings))
    else {
        return default;
    };
    Fragments {
        remembered_s: fields
            .read("remembered", findings, |text| scalar::seconds(text, 1..=120))
            .or(default.remembered_s),
        early_wait_ms: fields.read("early_wait", findings, |text| millis(text, 0..=30_000)).good(),
        early: fields
            .read("early", findings, |text| scalar::fitting(text, 0..=1_024))
            .or(default.early),
        whole: fields.read("whole", findings, scalar::boolean).good(),
    }
}

/// Milliseconds of at most an hour, which fit into 32 bits.
fn millis(text: &str, range: RangeInclusive<u64>) -> Result<u32, Reject> {
    scalar::millis(text, range).map(|ms| u32::try_from(ms).unwrap_or(u32::MAX))
}

pub(super) fn timeouts(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Timeouts {
    let path = Path::Root.key("timeouts");
    let default = Timeouts::default();
    let Some(fields) = file
        .find("timeouts")
        .good()
        .and_then(|node| Fields::open(node, &path, &keys::TIMEOUTS, findings))
    else {
        return default;
    };
    let mut timeout = |key, default| {
        fields.read(key, findings, |text| scalar::seconds(text, 1..=MAX_TIMEOUT_S)).or(default)
    };
    Timeouts {
        tcp_s: timeout("tcp", default.tcp_s),
        tcp_fin_s: timeout("tcp_fin", default.tcp_fin_s),
        udp_s: timeout("udp", default.udp_s),
    }
}

pub(super) fn neighbours(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Neighbours {
    let path = Path::Root.key("neighbours");
    let default = Neighbours::default();
    let Some(fields) = file
        .find("neighbours")
        .good()
        .and_then(|node| Fields::open(node, &path, &keys::NEIGHBOURS, findings))
    else {
        return default;
    };
    Neighbours {
        reachable_ms: fields
            .read("reachable", findings, |text| millis(text, 1_000..=3_600_000))
            .or(default.reachable_ms),
        retransmit_ms: fields
            .read("retransmit", findings, |text| millis(text, 10..=60_000))
            .or(default.retransmit_ms),
        retries: fields
            .read("retries", findings, |text| scalar::fitting(text, 1..=20))
            .or(default.retries),
        held_frames: fields
            .read("held_frames", findings, |text| scalar::fitting(text, 0..=1_024))
            .or(default.held_frames),
        entries: fields
            .read("entries", findings, |text| scalar::count(text, 16..=65_536))
            .or(default.entries),
    }
}

pub(super) fn control(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Control {
    let path = Path::Root.key("control");
    let default = Control::default();
    let Some(fields) = file
        .find("control")
        .good()
        .and_then(|node| Fields::open(node, &path, &keys::CONTROL, findings))
    else {
        return default;
    };
    Control {
        socket: fields.read("socket", findings, socket).or(default.socket),
        watch: fields.read("watch", findings, scalar::boolean).or(default.watch),
        allow: super::allow::allow(&fields, findings),
    }
}

/// `sun_path` has 108 bytes, the last one a zero.
fn socket(text: &str) -> Result<PathBuf, Reject> {
    if text.len() > 107 {
        let what = format!("{} has more than 107 bytes", shown(text));
        return Err(Reject::new(Code::OutOfRange, what, "put the socket into a shorter path"));
    }
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        let what = format!("{} is not the absolute path of a socket", shown(text));
        return Err(Reject::new(Code::BadValue, what, "such as /run/director/control.sock"));
    }
    Ok(PathBuf::from(text))
}

pub(super) fn log(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Log {
    const LEVELS: &[(&str, LogLevel)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let path = Path::Root.key("log");
    let default = Log::default();
    let Given::Good(node) = file.find("log") else { return default };
    if let Value::Plain(_) | Value::Quoted(_) = &node.value
        && !node.is_null()
    {
        // The short form: `log: debug`.
        return Log { level: file.word("log", findings, LEVELS).or(default.level), ..default };
    }
    let Some(fields) = Fields::open(node, &path, &keys::LOG, findings) else {
        return default;
    };
    Log {
        level: fields.word("level", findings, LEVELS).or(default.level),
        format: fields
            .word("format", findings, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            .or(default.format),
    }
}
