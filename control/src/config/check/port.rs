//! NIC ports: what is unique, what is connected, what leads where.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::{Given, Listed};
use crate::config::findings::Findings;
use crate::config::model::{Cidr, CoreId, Device, Family, Port, Route};
use crate::config::path::Path;
use crate::config::raw;

use super::not_on_the_wire;

const PORTS: Path<'static> = Path::Key(&Path::Root, "ports");

/// Descriptors of a ring that is not given a number.
pub(super) const DESCRIPTORS: u16 = 1_024;
/// The core of a port that names none.
const DEFAULT_CORES: &[CoreId] = &[CoreId(1)];
const MAX_CORES: usize = 64;

/// The ports with their defaults; `None` if one lacks something that has no default.
pub(super) fn ports(
    written: &Listed<Option<raw::Port>>,
    findings: &mut Findings<'_>,
) -> Option<Vec<Port>> {
    unique(&written.items, findings);
    addresses(&written.items, findings);
    next_hops(&written.items, findings);
    for (index, port) in written.items.iter().enumerate() {
        if let Some(port) = port {
            alone(port, &PORTS.item(index), findings);
        }
    }
    written.items.iter().map(|port| port.as_ref().and_then(meant)).collect()
}

/// The cores that poll a port, as far as they are known.
pub(super) fn cores(port: &raw::Port) -> &[CoreId] {
    match port.cores.items.as_slice() {
        [] if port.cores.whole => DEFAULT_CORES,
        known => known,
    }
}

/// The director's own addresses: (port, item, address).
pub(super) fn own(written: &[Option<raw::Port>]) -> impl Iterator<Item = (usize, usize, Cidr)> {
    written.iter().enumerate().flat_map(|(index, port)| {
        let addresses = port.iter().flat_map(|port| port.addresses.items.iter().enumerate());
        addresses.filter_map(move |(item, cidr)| cidr.good().map(|cidr| (index, item, cidr)))
    })
}

/// Names and devices.
fn unique(written: &[Option<raw::Port>], findings: &mut Findings<'_>) {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut devices: HashMap<String, u32> = HashMap::new();
    for (index, port) in written.iter().enumerate() {
        let (path, Some(port)) = (PORTS.item(index), port) else { continue };
        if let Given::Good(name) = &port.name
            && let Some(first) = names.insert(name, index)
        {
            let line = findings.line_of(&PORTS.item(first).key("name"));
            let what = format!("the name `{name}` belongs to another port");
            let hint = format!("it is on line {line}, too");
            findings.value(Code::DuplicateName, &path.key("name"), what, &hint);
        }
        for (key, device) in [("device", &port.device), ("kernel_port", &port.kernel_port)] {
            let (path, Given::Good(device)) = (path.key(key), device) else { continue };
            let line = findings.line_of(&path);
            if let Some(line) = devices.insert(device.name(), line) {
                let what = format!("the device `{}` is in use already", device.name());
                let hint = match device {
                    Device::Pci(_) => format!("it is on line {line}, too"),
                    Device::Vdev(_) => {
                        format!(
                            "it is on line {line}, too; number them, such as net_tap0, net_tap1"
                        )
                    }
                };
                findings.value(Code::DuplicateDevice, &path, what, &hint);
            }
        }
    }
}

/// Own addresses: usable, once each, one port per network.
fn addresses(written: &[Option<raw::Port>], findings: &mut Findings<'_>) {
    let mut seen: Vec<(usize, usize, Cidr)> = Vec::new();
    for (index, item, cidr) in own(written) {
        let port = PORTS.item(index);
        let list = port.key("addresses");
        let path = list.item(item);
        let address = cidr.address();
        let useless = not_on_the_wire(address).or_else(|| cidr.no_host(address));
        if let Some(why) = useless {
            let hint = "write the director's own address and the network's prefix length";
            findings.value(Code::NotUnicast, &path, format!("{address} {why}"), hint);
        }
        let clash = seen.iter().find(|(other, _, earlier)| {
            earlier.address() == address || (*other != index && earlier.overlaps(&cidr))
        });
        if let Some((other, earlier_item, earlier)) = clash {
            let line = findings.line_of(&PORTS.item(*other).key("addresses").item(*earlier_item));
            let hint = format!("see line {line}");
            if earlier.address() == address {
                let what = format!("{address} is here twice");
                findings.value(Code::DuplicateAddress, &path, what, &hint);
            } else {
                let what = format!("{cidr} and {earlier} share addresses but not a port");
                findings.value(Code::NetworkOverlap, &path, what, &hint);
            }
        }
        seen.push((index, item, cidr));
    }
}

/// Gateways and routes.
fn next_hops(written: &[Option<raw::Port>], findings: &mut Findings<'_>) {
    let mut destinations: HashMap<Cidr, u32> = HashMap::new();
    for (index, port) in written.iter().enumerate() {
        let (path, Some(port)) = (PORTS.item(index), port) else { continue };
        let gateways = [
            ("gateway", port.gateway.as_ref().good().map(|v4| IpAddr::V4(*v4)), Family::V4),
            ("gateway6", port.gateway6.as_ref().good().map(|v6| IpAddr::V6(*v6)), Family::V6),
        ];
        for (key, gateway, family) in gateways {
            let path = path.key(key);
            if let Some(gateway) = gateway {
                next_hop(written, port, gateway, &path, findings);
            }
            let (there, everything) = match family {
                Family::V4 => (!port.gateway.is_absent(), IpAddr::from([0u8; 4])),
                Family::V6 => (!port.gateway6.is_absent(), IpAddr::from([0u8; 16])),
            };
            // Two of them are one too many, whatever they say.
            if there && let Some(to) = Cidr::new(everything, 0) {
                let line = findings.line_of(&path);
                if let Some(line) = destinations.insert(to, line) {
                    let what = format!("there is a gateway for {family} already");
                    let hint = format!("it is on line {line}; use `routes` for other networks");
                    findings.value(Code::DuplicateRoute, &path, what, &hint);
                }
            }
        }
        let list = path.key("routes");
        for (item, route) in port.routes.items.iter().enumerate() {
            let path = list.item(item);
            if let Given::Good(via) = route.via {
                next_hop(written, port, via, &path.key("via"), findings);
            }
            if let Given::Good(to) = route.to {
                destination(to, route.via, &path, &mut destinations, findings);
            }
        }
    }
}

/// The network behind a route.
fn destination(
    to: Cidr,
    via: Given<IpAddr>,
    path: &Path<'_>,
    destinations: &mut HashMap<Cidr, u32>,
    findings: &mut Findings<'_>,
) {
    if to.network() != to.address() {
        let what = format!("{to} has bits behind its prefix length");
        let hint = format!("write {}/{}", to.network(), to.prefix());
        findings.value(Code::HostBits, &path.key("to"), what, &hint);
    }
    if let Given::Good(via) = via
        && Family::of(via) != Family::of(to.address())
    {
        let what = format!("{via} is not in the family of {to}");
        let hint = "a route and its next hop are both IPv4 or both IPv6";
        findings.value(Code::MixedFamilies, &path.key("via"), what, hint);
    }
    let Some(network) = Cidr::new(to.network(), to.prefix()) else { return };
    let line = findings.line_of(path);
    if let Some(line) = destinations.insert(network, line) {
        let what = format!("there is a route to {network} already");
        let hint = format!("it is on line {line}");
        findings.value(Code::DuplicateRoute, &path.key("to"), what, &hint);
    }
}

/// A next hop answers ARP or Neighbour Discovery on this port and is not ourselves.
fn next_hop(
    written: &[Option<raw::Port>],
    port: &raw::Port,
    via: IpAddr,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    if let Some(why) = not_on_the_wire(via) {
        let hint = "a next hop is one machine's address";
        findings.value(Code::NotUnicast, path, format!("{via} {why}"), hint);
        return;
    }
    if own(written).any(|(_, _, cidr)| cidr.address() == via) {
        let what = format!("{via} is the director's own address");
        findings.value(Code::NextHopIsDirector, path, what, "name the router's address");
        return;
    }
    // A router's link-local address is on every IPv6 link.
    let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let known = port.addresses.whole && port.addresses.items.iter().all(|cidr| !cidr.is_bad());
    let networks = || port.addresses.items.iter().filter_map(|cidr| cidr.good());
    let connected = networks().any(|cidr| cidr.contains(via));
    if let Some(why) = networks().filter(|c| c.contains(via)).find_map(|cidr| cidr.no_host(via)) {
        let hint = "a next hop is one machine's address";
        findings.value(Code::NotUnicast, path, format!("{via} {why}"), hint);
    } else if known && !link_local && !connected {
        let what = format!("{via} is in no network of this port");
        let hint = "give the port an address in the next hop's network";
        findings.value(Code::NextHopNotConnected, path, what, hint);
    }
}

/// What a port's own values say about each other.
fn alone(port: &raw::Port, path: &Path<'_>, findings: &mut Findings<'_>) {
    let cores = cores(port);
    let mut seen: HashSet<CoreId> = HashSet::new();
    let repeated: BTreeSet<&CoreId> = cores.iter().filter(|core| !seen.insert(**core)).collect();
    for core in repeated {
        let what = format!("core {core} is here twice");
        let hint = "a core has one queue of a port";
        findings.value(Code::DuplicateCore, &path.key("cores"), what, hint);
    }
    if cores.len() > MAX_CORES {
        let what = format!("{} cores are more than {MAX_CORES}", cores.len());
        let hint = format!("allowed: 1 to {MAX_CORES} cores");
        findings.value(Code::OutOfRange, &path.key("cores"), what, &hint);
    }
    let has_v6 = port
        .addresses
        .items
        .iter()
        .filter_map(|cidr| cidr.good())
        .any(|cidr| cidr.address().is_ipv6());
    if let Given::Good(mtu @ ..1_280) = port.mtu
        && has_v6
    {
        let what = format!("an MTU of {mtu} is too small for IPv6");
        findings.value(Code::OutOfRange, &path.key("mtu"), what, "allowed: 1280 to 9000");
    }
}

/// A port with its defaults.
fn meant(port: &raw::Port) -> Option<Port> {
    let routes = port.routes.items.iter();
    Some(Port {
        name: port.name.clone().good()?,
        device: port.device.clone().good()?,
        kernel_port: port.kernel_port.clone().good(),
        cores: cores(port).to_vec(),
        addresses: port.addresses.items.iter().map(|cidr| cidr.good()).collect::<Option<_>>()?,
        gateway: port.gateway.good(),
        gateway6: port.gateway6.good(),
        routes: routes
            .map(|route| Some(Route { to: route.to.good()?, via: route.via.good()? }))
            .collect::<Option<_>>()?,
        vlan: port.vlan.good(),
        mtu: port.mtu.or(1_500),
        rx_descriptors: port.rx_descriptors.or(DESCRIPTORS),
        tx_descriptors: port.tx_descriptors.or(DESCRIPTORS),
        promiscuous: port.promiscuous.or(false),
        require_link: port.require_link.or(false),
    })
}
