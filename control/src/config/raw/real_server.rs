//! `services[].real_servers[]` as written.

use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::{Fields, Given};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{GueChecksum, Mac, State, Tunnel};
use crate::config::path::Path;
use crate::config::scalar;
use crate::config::tree::Node;

/// Real servers of one service.
const MAX_REAL_SERVERS: usize = 65_536;

/// A real server as written.
pub(in crate::config) struct RealServer {
    pub(in crate::config) name: Given<String>,
    pub(in crate::config) address: Given<IpAddr>,
    pub(in crate::config) real_port: Given<u16>,
    pub(in crate::config) weight: Given<u32>,
    pub(in crate::config) state: Given<State>,
    pub(in crate::config) forwarding: Given<Method>,
    pub(in crate::config) tunnel: Given<Tunnel>,
    pub(in crate::config) mac: Given<Mac>,
    pub(in crate::config) upper_threshold: Given<u32>,
    pub(in crate::config) lower_threshold: Given<u32>,
}

/// The word under `forwarding`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Method {
    Route,
    Masq,
    Tunnel,
    Local,
}

const STATES: &[(&str, State)] =
    &[("up", State::Up), ("drain", State::Drain), ("down", State::Down)];

const METHODS: &[(&str, Method)] = &[
    ("route", Method::Route),
    ("masq", Method::Masq),
    ("tunnel", Method::Tunnel),
    ("local", Method::Local),
];

impl RealServer {
    pub(super) fn read_all(
        fields: &Fields<'_, '_>,
        service: &Path<'_>,
        findings: &mut Findings<'_>,
    ) -> Vec<Option<Self>> {
        let path = service.key("real_servers");
        let items = fields.list("real_servers", findings).good().unwrap_or_default();
        if findings.full() {
            return Vec::new();
        }
        if items.len() > MAX_REAL_SERVERS {
            let what =
                format!("there are {} real servers, {MAX_REAL_SERVERS} are possible", items.len());
            let hint = "split them over several services";
            findings.value(Code::OutOfRange, &path.item(MAX_REAL_SERVERS), what, hint);
        }
        // Doubling would take as much again for real servers that never come.
        let mut all = Vec::with_capacity(items.len().min(MAX_REAL_SERVERS));
        for (index, node) in items.iter().enumerate().take(MAX_REAL_SERVERS) {
            if findings.full() {
                break;
            }
            all.push(RealServer::read(node, &path.item(index), findings));
        }
        all
    }

    fn read(node: &Node<'_>, path: &Path<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::open(node, path, &keys::REAL_SERVER, findings)?;
        fields.require("address", "such as `address: 198.18.10.11`", findings);
        let threshold = |text: &str| scalar::fitting(text, 0..=i32::MAX as u64);
        Some(Self {
            name: fields.read("name", findings, |text| scalar::name(text, "", 32)),
            address: fields.read("address", findings, |text| scalar::address(text, "real_port")),
            real_port: fields.read("real_port", findings, |text| scalar::fitting(text, 0..=65_535)),
            weight: fields.read("weight", findings, |text| scalar::fitting(text, 0..=65_535)),
            state: fields.word("state", findings, STATES),
            forwarding: fields.word("forwarding", findings, METHODS),
            tunnel: tunnel(&fields, path, findings),
            mac: fields.read("mac", findings, scalar::mac),
            upper_threshold: fields.read("upper_threshold", findings, threshold),
            lower_threshold: fields.read("lower_threshold", findings, threshold),
        })
    }
}

/// The kind of tunnel decides which other keys there are.
#[derive(Clone, Copy)]
enum Kind {
    Ipip,
    Gre,
    Gue,
}

fn tunnel(
    fields: &Fields<'_, '_>,
    real_server: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Tunnel> {
    let node = match fields.find("tunnel") {
        Given::Absent => return Given::Absent,
        Given::Bad => return Given::Bad,
        Given::Good(node) => node,
    };
    let path = real_server.key("tunnel");
    let Some(fields) = Fields::open(node, &path, &keys::TUNNEL, findings) else {
        return Given::Bad;
    };
    let kinds = &[("ipip", Kind::Ipip), ("gre", Kind::Gre), ("gue", Kind::Gue)];
    let kind = fields.word("type", findings, kinds).known_or(Kind::Ipip);
    if let Some(Kind::Ipip | Kind::Gre) = kind {
        fields.pointless("port", "has no meaning here", "only `type: gue` has a port", findings);
    }
    // The number can be told whatever the kind is.
    let port = fields.read("port", findings, scalar::port);
    match kind {
        None => Given::Bad,
        Some(Kind::Ipip) => {
            let hint = "only `gre` and `gue` have one";
            fields.pointless("checksum", "has no meaning here", hint, findings);
            Given::Good(Tunnel::Ipip)
        }
        Some(Kind::Gre) => Given::Good(Tunnel::Gre {
            checksum: fields.read("checksum", findings, scalar::boolean).or(false),
        }),
        Some(Kind::Gue) => {
            fields.require("port", "such as `port: 6080`", findings);
            let checksums = &[
                ("none", GueChecksum::None),
                ("full", GueChecksum::Full),
                ("remote", GueChecksum::Remote),
            ];
            let checksum = fields.word("checksum", findings, checksums).or(GueChecksum::None);
            match port.good() {
                Some(port) => Given::Good(Tunnel::Gue { port, checksum }),
                None => Given::Bad,
            }
        }
    }
}
