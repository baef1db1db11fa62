//! NIC ports: what is unique, what is connected, what leads where.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::Given;
use crate::config::findings::Findings;
use crate::config::model::{Cidr, CoreId, Device, Family, Port, Route};
use crate::config::path::Path;
use crate::config::raw;

use super::{Lan, Networks, not_on_the_wire};

const PORTS: Path<'static> = Path::Key(&Path::Root, "ports");

/// The ports with their defaults; `None` if one lacks something that has no default.
pub(super) fn ports(
    written: &[Option<raw::Port>],
    findings: &mut Findings<'_>,
) -> Option<Vec<Port>> {
    unique(written, findings);
    addresses(written, findings);
    next_hops(written, findings);
    let port = |(index, port): (usize, &Option<raw::Port>)| {
        let path = PORTS.item(index);
        port.as_ref().and_then(|port| meant(port, &path, findings))
    };
    let ports: Vec<Option<Port>> = written.iter().enumerate().map(port).collect();
    ports.into_iter().collect::<Option<Vec<Port>>>().filter(|ports| !ports.is_empty())
}

/// The networks around the director, from what could be read.
pub(super) fn lan(written: &[Option<raw::Port>]) -> Lan {
    let mut lan = Lan {
        own: own(written).map(|(_, _, cidr)| cidr.address()).collect(),
        connected: Networks::default(),
        routed: Networks::default(),
        kernel_port: false,
        complete: !written.is_empty(),
    };
    for port in written {
        let Some(port) = port else {
            lan.complete = false;
            continue;
        };
        lan.kernel_port |= !port.kernel_port.is_absent();
        lan.complete &= port.addresses.iter().all(Option::is_some) && !port.addresses.is_empty();
        lan.complete &= port.routes.iter().all(Option::is_some);
        lan.complete &= !port.gateway.is_bad() && !port.gateway6.is_bad();
        port.addresses.iter().flatten().for_each(|cidr| lan.connected.insert(*cidr));
        port.routes.iter().flatten().for_each(|route| lan.routed.insert(route.to));
        let defaults = [
            (port.gateway.good().map(IpAddr::V4), IpAddr::from([0u8; 4])),
            (port.gateway6.good().map(IpAddr::V6), IpAddr::from([0u8; 16])),
        ];
        for (gateway, everything) in defaults {
            let network = gateway.and_then(|_| Cidr::new(everything, 0));
            network.into_iter().for_each(|network| lan.routed.insert(network));
        }
    }
    lan
}

/// The director's own addresses: (port, item, address).
fn own(written: &[Option<raw::Port>]) -> impl Iterator<Item = (usize, usize, Cidr)> {
    written.iter().enumerate().flat_map(|(index, port)| {
        let addresses = port.iter().flat_map(|port| port.addresses.iter().enumerate());
        addresses.filter_map(move |(item, cidr)| cidr.map(|cidr| (index, item, cidr)))
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
        let useless = not_on_the_wire(address).or_else(|| {
            let is_network = cidr.broadcast().is_some() && address == cidr.network();
            let is_broadcast = cidr.broadcast().map(IpAddr::V4) == Some(address);
            match (is_network, is_broadcast) {
                (true, _) => Some("is the address of the network itself"),
                (_, true) => Some("is the broadcast address of its network"),
                _ => None,
            }
        });
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
            ("gateway", port.gateway.good().map(IpAddr::V4), IpAddr::from([0u8; 4])),
            ("gateway6", port.gateway6.good().map(IpAddr::V6), IpAddr::from([0u8; 16])),
        ];
        for (key, gateway, everything) in gateways {
            let (path, Some(gateway)) = (path.key(key), gateway) else { continue };
            next_hop(written, port, gateway, &path, findings);
            if let Some(to) = Cidr::new(everything, 0) {
                let line = findings.line_of(&path);
                if let Some(line) = destinations.insert(to, line) {
                    let what = format!("there is a gateway for {} already", Family::of(gateway));
                    let hint = format!("it is on line {line}; use `routes` for other networks");
                    findings.value(Code::DuplicateRoute, &path, what, &hint);
                }
            }
        }
        let list = path.key("routes");
        for (item, route) in port.routes.iter().enumerate() {
            let (path, Some(route)) = (list.item(item), route) else { continue };
            if route.to.network() != route.to.address() {
                let what = format!("{} has bits behind its prefix length", route.to);
                let hint = format!("write {}/{}", route.to.network(), route.to.prefix());
                findings.value(Code::HostBits, &path.key("to"), what, &hint);
            }
            next_hop(written, port, route.via, &path.key("via"), findings);
            if Family::of(route.via) != Family::of(route.to.address()) {
                let what = format!("{} is not in the family of {}", route.via, route.to);
                let hint = "a route and its next hop are both IPv4 or both IPv6";
                findings.value(Code::MixedFamilies, &path.key("via"), what, hint);
            }
            let line = findings.line_of(&path);
            if let Some(line) = destinations.insert(route.to, line) {
                let what = format!("there is a route to {} already", route.to);
                let hint = format!("it is on line {line}");
                findings.value(Code::DuplicateRoute, &path.key("to"), what, &hint);
            }
        }
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
    let known = port.addresses.iter().all(Option::is_some);
    let connected = port.addresses.iter().flatten().any(|cidr| cidr.contains(via));
    if known && !link_local && !connected {
        let what = format!("{via} is in no network of this port");
        let hint = "give the port an address in the next hop's network";
        findings.value(Code::NextHopNotConnected, path, what, hint);
    }
}

/// A port with its defaults.
fn meant(port: &raw::Port, path: &Path<'_>, findings: &mut Findings<'_>) -> Option<Port> {
    let cores = match &port.cores {
        Given::Good(cores) => cores.clone(),
        Given::Absent | Given::Bad => vec![CoreId(1)],
    };
    let repeated =
        cores.iter().enumerate().find(|(at, core)| cores.iter().take(*at).any(|c| c == *core));
    if let Some((_, core)) = repeated {
        let what = format!("core {core} is here twice");
        let hint = "a core has one queue of a port";
        findings.value(Code::DuplicateCore, &path.key("cores"), what, hint);
    }
    if cores.len() > 64 {
        let what = format!("{} cores are more than 64", cores.len());
        findings.value(Code::OutOfRange, &path.key("cores"), what, "allowed: 1 to 64 cores");
    }
    let mtu = port.mtu.or(1_500);
    let has_v6 = port.addresses.iter().flatten().any(|cidr| cidr.address().is_ipv6());
    if mtu < 1_280 && has_v6 {
        let what = format!("an MTU of {mtu} is too small for IPv6");
        findings.value(Code::OutOfRange, &path.key("mtu"), what, "allowed: 1280 to 9000");
    }
    Some(Port {
        name: port.name.clone().good()?,
        device: port.device.clone().good()?,
        kernel_port: port.kernel_port.clone().good(),
        cores,
        addresses: port.addresses.iter().copied().collect::<Option<Vec<Cidr>>>()?,
        gateway: port.gateway.good(),
        gateway6: port.gateway6.good(),
        routes: port
            .routes
            .iter()
            .map(|route| route.map(|raw::Route { to, via }| Route { to, via }))
            .collect::<Option<Vec<Route>>>()?,
        vlan: port.vlan.good(),
        mtu,
        rx_descriptors: port.rx_descriptors.or(1_024),
        tx_descriptors: port.tx_descriptors.or(1_024),
        promiscuous: port.promiscuous.or(false),
    })
}
