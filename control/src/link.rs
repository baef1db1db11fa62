//! Whether the wires are there when the director starts.

use std::fmt;
use std::time::{Duration, Instant};

use nic::{NicHandle, NicStats, PortInfo};
use tracing::warn;

use crate::config::Model;

/// How long a port that must have a link is given to get one: what a switch takes to agree.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A port without a link: which one it is, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoLink {
    port: String,
    device: String,
}

impl fmt::Display for NoLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, device } = self;
        write!(f, "port {port} ({device}) has no link: ")?;
        match interface(device) {
            Some(interface) => {
                write!(f, "set it up (ip link set {interface} up) and connect its other end")
            }
            None => f.write_str("connect its cable and enable the switch's port"),
        }
    }
}

impl std::error::Error for NoLink {}

/// The interface of a device that sits on one of the kernel's, as `net_af_packet` does.
fn kernel_interface(device: &str) -> Option<String> {
    nic::PortConfig::new("", device, &[]).interface()
}

/// The kernel's interface under a device.
fn interface(device: &str) -> Option<&str> {
    device.split(',').find_map(|argument| argument.strip_prefix("iface="))
}

/// Warns of the ports that have no link.
///
/// # Errors
/// A port that must have one and has none in time.
pub fn check(model: &Model, ports: &[PortInfo], nic: &NicHandle) -> Result<(), NoLink> {
    let required = |name: &str| model.ports.iter().any(|p| p.name == name && p.require_link);
    let asked = Instant::now();
    let mut down = without(ports, &nic.stats());
    while down.iter().any(|port| required(&port.port)) && asked.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        down = without(ports, &nic.stats());
    }
    if let Some(port) = down.iter().find(|port| required(&port.port)) {
        return Err(port.clone());
    }
    // Interfaces of the kernel are among what `director doctor` finds, which is logged at
    // every start.
    for port in down.into_iter().filter(|port| kernel_interface(&port.device).is_none()) {
        warn!("{port}; Director goes on and uses the link when it comes up");
    }
    Ok(())
}

/// The NIC ports whose link is down. Kernel-facing ones are up when the operator sets them up.
fn without(ports: &[PortInfo], now: &NicStats) -> Vec<NoLink> {
    let is_down = |port: &&PortInfo| {
        let stats = now.ports.iter().find(|stats| stats.name == port.name);
        !port.kernel_facing && !stats.map_or(port.link_up, |stats| stats.link_up)
    };
    let told = |port: &PortInfo| NoLink { port: port.name.clone(), device: port.device.clone() };
    ports.iter().filter(is_down).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_depends_on_the_device() {
        let told = |device: &str| NoLink { port: "lan0".into(), device: device.into() }.to_string();
        assert_eq!(
            told("net_af_packet0,qpairs=2,iface=eth0"),
            "port lan0 (net_af_packet0,qpairs=2,iface=eth0) has no link: set it up \
             (ip link set eth0 up) and connect its other end"
        );
        assert_eq!(
            told("0000:3b:00.0"),
            "port lan0 (0000:3b:00.0) has no link: connect its cable and enable the switch's port"
        );
    }
}
