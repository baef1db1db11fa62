//! Tunnels need room for the outer header.

use std::collections::BTreeMap;

use super::{Examination, Finding, Severity};
use crate::config::model::{Forwarding, GueChecksum, Port, RealServer, Tunnel};

/// What clients send at the most, on Ethernet.
const USUAL: u16 = 1500;

pub(super) fn examine(patient: &mut Examination<'_>) {
    // The longest outer header of the real servers behind each port.
    let mut room: BTreeMap<usize, (u16, String)> = BTreeMap::new();
    for service in &patient.model.services {
        for real in &service.real_servers {
            let Forwarding::Tunnel(tunnel) = &real.forwarding else { continue };
            let header = outer(real, tunnel);
            let port = way(&patient.model.ports, real);
            let (longest, name) = room.entry(port).or_default();
            if header > *longest {
                (*longest, *name) = (header, service.name.clone());
            }
        }
    }
    for (index, (header, service)) in room {
        let Some(port) = patient.model.ports.get(index) else { continue };
        if port.mtu >= USUAL + header {
            continue;
        }
        let enough = USUAL + header;
        patient.find(Finding::new(
            Severity::Warning,
            format!("port {}", port.name),
            format!(
                "its MTU of {} leaves {} bytes for packets in the tunnels of service {service}",
                port.mtu,
                port.mtu.saturating_sub(header)
            ),
            "longer packets of clients are answered with \"packet too big\", or split, and \
             networks that lose those answers stall",
            format!(
                "let port, switch and real servers take {enough} bytes (ports[].mtu: {enough}; \
                 on real servers `ip link set IFACE mtu {enough}`)"
            ),
        ));
    }
}

/// Bytes that the tunnel puts before the client's packet.
fn outer(real: &RealServer, tunnel: &Tunnel) -> u16 {
    let ip = if real.address.is_ipv4() { 20 } else { 40 };
    ip + match tunnel {
        Tunnel::Ipip => 0,
        Tunnel::Gre { checksum: false } => 4,
        Tunnel::Gre { checksum: true } => 8,
        Tunnel::Gue { checksum: GueChecksum::Remote, .. } => 8 + 4 + 8,
        Tunnel::Gue { .. } => 8 + 4,
    }
}

/// The port that leads to a real server: the one in whose network it is, else the one with a
/// route or gateway for it.
fn way(ports: &[Port], real: &RealServer) -> usize {
    let connected = |port: &Port| port.addresses.iter().any(|own| own.contains(real.address));
    let routed = |port: &Port| {
        let gateway = match real.address.is_ipv4() {
            true => port.gateway.is_some(),
            false => port.gateway6.is_some(),
        };
        gateway || port.routes.iter().any(|route| route.to.contains(real.address))
    };
    let position = ports.iter().position(connected).or_else(|| ports.iter().position(routed));
    position.unwrap_or(0)
}
