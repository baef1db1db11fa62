//! `ports[]` as written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::code::Code;
use crate::config::fields::{Fields, Given, Listed, scalar as read_scalar, text};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{Cidr, CoreId, Device, VlanId};
use crate::config::path::Path;
use crate::config::scalar::{self, Reject};
use crate::config::tree::{Node, Value};

/// A NIC port as written.
pub(in crate::config) struct Port {
    pub(in crate::config) name: Given<String>,
    pub(in crate::config) device: Given<Device>,
    pub(in crate::config) kernel_port: Given<Device>,
    /// Those that can be read; empty and whole where the key is not there.
    pub(in crate::config) cores: Listed<CoreId>,
    pub(in crate::config) addresses: Listed<Given<Cidr>>,
    pub(in crate::config) gateway: Given<Ipv4Addr>,
    pub(in crate::config) gateway6: Given<Ipv6Addr>,
    pub(in crate::config) routes: Listed<Route>,
    pub(in crate::config) vlan: Given<VlanId>,
    pub(in crate::config) mtu: Given<u16>,
    pub(in crate::config) rx_descriptors: Given<u16>,
    pub(in crate::config) tx_descriptors: Given<u16>,
    pub(in crate::config) promiscuous: Given<bool>,
    pub(in crate::config) require_link: Given<bool>,
}

/// A route as written.
#[derive(Clone, Copy)]
pub(in crate::config) struct Route {
    pub(in crate::config) to: Given<Cidr>,
    pub(in crate::config) via: Given<IpAddr>,
}

/// Ports are numbered in a byte and polled one after the other.
const MAX_PORTS: usize = 16;
/// Every address is held against every other one.
const MAX_ADDRESSES: usize = 64;
const MAX_ROUTES: usize = 1_024;

impl Port {
    /// The ports that fit; an item that is no mapping is `None`.
    pub(super) fn read_all(
        file: &Fields<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> Listed<Option<Self>> {
        let path = Path::Root.key("ports");
        let Some(items) = file.list("ports", findings).good() else { return Listed::unknown() };
        if items.is_empty() {
            let hint = "a director needs at least one NIC port";
            findings.value(Code::OutOfRange, &path, "the list of ports is empty".to_owned(), hint);
            return Listed::unknown();
        }
        read_most(MAX_PORTS, items, &path, findings, Port::read)
    }

    fn read(node: &Node<'_>, path: &Path<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::open(node, path, &keys::PORT, findings)?;
        fields.require("name", "such as `name: lan0`", findings);
        fields.require("device", "such as `device: 0000:3b:00.0`", findings);
        fields.require("addresses", "such as `addresses: [198.18.10.1/24]`", findings);
        Some(Self {
            name: fields.read("name", findings, |text| scalar::name(text, "", 32)),
            device: fields.read("device", findings, scalar::device),
            kernel_port: fields.read("kernel_port", findings, scalar::vdev),
            cores: cores(&fields, path, findings),
            addresses: addresses(&fields, path, findings),
            gateway: fields.read("gateway", findings, scalar::v4),
            gateway6: fields.read("gateway6", findings, scalar::v6),
            routes: routes(&fields, path, findings),
            vlan: fields.read("vlan", findings, |text| {
                let id = scalar::fitting(text, 1..=4_094)?;
                VlanId::new(id).ok_or_else(|| {
                    Reject::new(Code::OutOfRange, format!("{id} is reserved"), "1 to 4094")
                })
            }),
            mtu: fields.read("mtu", findings, |text| scalar::fitting(text, 576..=9_000)),
            rx_descriptors: fields.read("rx_descriptors", findings, descriptors),
            tx_descriptors: fields.read("tx_descriptors", findings, descriptors),
            promiscuous: fields.read("promiscuous", findings, scalar::boolean),
            require_link: fields.read("require_link", findings, scalar::boolean),
        })
    }
}

/// The smallest ring.
pub(in crate::config) const LEAST_DESCRIPTORS: u16 = 64;

/// Rings are powers of two on every NIC that DPDK drives.
fn descriptors(text: &str) -> Result<u16, Reject> {
    let number: u16 = scalar::fitting(text, u64::from(LEAST_DESCRIPTORS)..=16_384)?;
    if number.is_power_of_two() {
        return Ok(number);
    }
    let what = format!("{number} is not a power of two");
    let hint = format!("write {}", u32::from(number).next_power_of_two());
    Err(Reject::new(Code::BadValue, what, hint))
}

/// One scalar (`1`, `1-3,7`) or a list of such.
fn cores(fields: &Fields<'_, '_>, port: &Path<'_>, findings: &mut Findings<'_>) -> Listed<CoreId> {
    let node = match fields.find("cores") {
        Given::Absent => return Listed { items: Vec::new(), whole: true },
        Given::Bad => return Listed::unknown(),
        Given::Good(node) => node,
    };
    let path = port.key("cores");
    let mut cores = Listed { items: Vec::new(), whole: true };
    let mut take = |node: &Node<'_>, path: &Path<'_>| {
        let read = text(node, path, findings).map(scalar::cores);
        cores.whole &= read.as_ref().is_some_and(|(_, rejects)| rejects.is_empty());
        let (known, rejects) = read.unwrap_or_default();
        cores.items.extend(known);
        for Reject { code, what, hint } in rejects {
            findings.at(node.place, code, path, what, &hint);
        }
    };
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate().take(scalar::MAX_CORE as usize + 1) {
                take(item, &path.item(index));
            }
            if items.is_empty() {
                let what = "the list of cores is empty".to_owned();
                let hint = "a port is polled by at least one core";
                findings.value(Code::OutOfRange, &path, what, hint);
                cores.whole = false;
            }
        }
        _ => take(node, &path),
    }
    cores
}

fn addresses(
    fields: &Fields<'_, '_>,
    port: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Listed<Given<Cidr>> {
    let path = port.key("addresses");
    let Some(items) = fields.list("addresses", findings).good() else { return Listed::unknown() };
    if items.is_empty() {
        let what = "the list of addresses is empty".to_owned();
        let hint = "the director needs an address to ask for its neighbours' MAC addresses";
        findings.value(Code::OutOfRange, &path, what, hint);
        return Listed::unknown();
    }
    read_most(MAX_ADDRESSES, items, &path, findings, |node, path, findings| {
        read_scalar(node, path, findings, scalar::cidr)
    })
}

fn routes(fields: &Fields<'_, '_>, port: &Path<'_>, findings: &mut Findings<'_>) -> Listed<Route> {
    let path = port.key("routes");
    match fields.list("routes", findings) {
        Given::Absent => Listed { items: Vec::new(), whole: true },
        Given::Bad => Listed::unknown(),
        Given::Good(items) => read_most(MAX_ROUTES, items, &path, findings, route),
    }
}

fn route(node: &Node<'_>, path: &Path<'_>, findings: &mut Findings<'_>) -> Route {
    let Some(fields) = Fields::open(node, path, &keys::ROUTE, findings) else {
        return Route { to: Given::Bad, via: Given::Bad };
    };
    fields.require("to", "such as `to: 198.18.0.0/16`", findings);
    fields.require("via", "such as `via: 198.18.10.254`", findings);
    Route {
        to: fields.read("to", findings, scalar::cidr),
        via: fields.read("via", findings, |text| scalar::address(text, "vip_port")),
    }
}

/// Reads all items and keeps as many as are possible, so that every value is looked at, and
/// they are held against each other in bounded time. Reports the first one too many.
pub(super) fn read_most<T>(
    most: usize,
    items: &[Node<'_>],
    path: &Path<'_>,
    findings: &mut Findings<'_>,
    mut read: impl FnMut(&Node<'_>, &Path<'_>, &mut Findings<'_>) -> T,
) -> Listed<T> {
    if items.len() > most {
        let what = format!("there are {} items, {most} are possible", items.len());
        findings.value(Code::OutOfRange, &path.item(most), what, "remove some");
    }
    // Doubling would take as much again for items that never come.
    let room = Vec::with_capacity(if findings.full() { 0 } else { items.len().min(most) });
    let mut listed = Listed { items: room, whole: items.len() <= most };
    for (index, node) in items.iter().enumerate() {
        if findings.full() {
            break;
        }
        let item = read(node, &path.item(index), findings);
        if index < most {
            listed.items.push(item);
        }
    }
    listed
}
