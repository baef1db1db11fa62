//! `ports[]` as written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::code::Code;
use crate::config::fields::{Fields, Given, scalar as read_scalar};
use crate::config::findings::Findings;
use crate::config::model::{Cidr, CoreId, Device, VlanId};
use crate::config::path::Path;
use crate::config::scalar::{self, Reject};
use crate::config::tree::{Node, Value};

/// A NIC port as written.
pub(in crate::config) struct Port {
    pub(in crate::config) name: Given<String>,
    pub(in crate::config) device: Given<Device>,
    pub(in crate::config) kernel_port: Given<Device>,
    pub(in crate::config) cores: Given<Vec<CoreId>>,
    /// `None` for an address that cannot be read; so the index is the one in the file.
    pub(in crate::config) addresses: Vec<Option<Cidr>>,
    pub(in crate::config) gateway: Given<Ipv4Addr>,
    pub(in crate::config) gateway6: Given<Ipv6Addr>,
    pub(in crate::config) routes: Vec<Option<Route>>,
    pub(in crate::config) vlan: Given<VlanId>,
    pub(in crate::config) mtu: Given<u16>,
    pub(in crate::config) rx_descriptors: Given<u16>,
    pub(in crate::config) tx_descriptors: Given<u16>,
    pub(in crate::config) promiscuous: Given<bool>,
}

/// A route as written.
#[derive(Clone, Copy)]
pub(in crate::config) struct Route {
    pub(in crate::config) to: Cidr,
    pub(in crate::config) via: IpAddr,
}

const KEYS: &[&str] = &[
    "name",
    "device",
    "kernel_port",
    "cores",
    "addresses",
    "gateway",
    "gateway6",
    "routes",
    "vlan",
    "mtu",
    "rx_descriptors",
    "tx_descriptors",
    "promiscuous",
];

/// Ports are numbered in a byte and polled one after the other.
const MAX_PORTS: usize = 16;
/// Every address is held against every other one.
const MAX_ADDRESSES: usize = 64;
const MAX_ROUTES: usize = 1_024;

impl Port {
    pub(super) fn read_all(
        file: &Fields<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> Vec<Option<Self>> {
        let path = Path::Root.key("ports");
        let Some(items) = file.list("ports", findings).good() else { return Vec::new() };
        if items.is_empty() {
            let hint = "a director needs at least one NIC port";
            findings.value(Code::OutOfRange, &path, "the list of ports is empty".to_owned(), hint);
        }
        at_most(MAX_PORTS, items, &path, findings);
        let read = |(index, node)| Port::read(node, &path.item(index), findings);
        items.iter().take(MAX_PORTS).enumerate().map(read).collect()
    }

    fn read(node: &Node<'_>, path: &Path<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::open(node, path, KEYS, findings)?;
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
        })
    }
}

/// Rings are powers of two on every NIC that DPDK drives.
fn descriptors(text: &str) -> Result<u16, Reject> {
    let number: u16 = scalar::fitting(text, 64..=16_384)?;
    if number.is_power_of_two() {
        return Ok(number);
    }
    let what = format!("{number} is not a power of two");
    let hint = format!("write {}", u32::from(number).next_power_of_two());
    Err(Reject::new(Code::BadValue, what, hint))
}

/// One scalar (`1`, `1-3,7`) or a list of such.
fn cores(
    fields: &Fields<'_, '_>,
    port: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Vec<CoreId>> {
    let Some(node) = fields.find("cores") else { return Given::Absent };
    let path = port.key("cores");
    let Value::List(items) = &node.value else {
        return fields.read("cores", findings, scalar::cores);
    };
    if items.is_empty() {
        let what = "the list of cores is empty".to_owned();
        findings.value(Code::OutOfRange, &path, what, "a port is polled by at least one core");
        return Given::Bad;
    }
    let mut all = Vec::new();
    let mut bad = false;
    for (index, item) in items.iter().enumerate().take(scalar::MAX_CORE as usize + 1) {
        match read_scalar(item, &path.item(index), findings, scalar::cores) {
            Given::Good(cores) => all.extend(cores),
            Given::Absent | Given::Bad => bad = true,
        }
    }
    if bad { Given::Bad } else { Given::Good(all) }
}

fn addresses(
    fields: &Fields<'_, '_>,
    port: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Option<Cidr>> {
    let path = port.key("addresses");
    let Some(items) = fields.list("addresses", findings).good() else { return Vec::new() };
    if items.is_empty() {
        let what = "the list of addresses is empty".to_owned();
        let hint = "the director needs an address to ask for its neighbours' MAC addresses";
        findings.value(Code::OutOfRange, &path, what, hint);
    }
    at_most(MAX_ADDRESSES, items, &path, findings);
    let read = |(index, node)| read_scalar(node, &path.item(index), findings, scalar::cidr).good();
    items.iter().take(MAX_ADDRESSES).enumerate().map(read).collect()
}

fn routes(
    fields: &Fields<'_, '_>,
    port: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Option<Route>> {
    let path = port.key("routes");
    let Some(items) = fields.list("routes", findings).good() else { return Vec::new() };
    at_most(MAX_ROUTES, items, &path, findings);
    let mut routes = Vec::new();
    for (index, node) in items.iter().take(MAX_ROUTES).enumerate() {
        let path = path.item(index);
        let Some(fields) = Fields::open(node, &path, &["to", "via"], findings) else {
            routes.push(None);
            continue;
        };
        fields.require("to", "such as `to: 198.18.0.0/16`", findings);
        fields.require("via", "such as `via: 198.18.10.254`", findings);
        let to = fields.read("to", findings, scalar::cidr).good();
        let via = fields.read("via", findings, |text| scalar::address(text, "vip_port")).good();
        routes.push(to.zip(via).map(|(to, via)| Route { to, via }));
    }
    routes
}

/// Reports the first item that is one too many.
fn at_most(most: usize, items: &[Node<'_>], path: &Path<'_>, findings: &mut Findings<'_>) {
    if items.len() > most {
        let what = format!("there are {} items, {most} are possible", items.len());
        findings.value(Code::OutOfRange, &path.item(most), what, "remove some");
    }
}
