//! NIC ports: the device, its cores and queues, and the networks behind it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use documented::{Documented, DocumentedFields};
use serde::Serialize;
use serde::ser::Serializer;

use super::address::Cidr;

/// `ports[]`: one NIC port. A reload takes over `addresses`, `gateway`, `gateway6`, `routes` and
/// `vlan`; other changes need a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Port {
    /// `name`: what the port is called in listings and messages; unique.
    pub name: String,
    /// `device`: which DPDK device this is.
    pub device: Device,
    /// `kernel_port`: a virtual device that takes what no service and no part of the director
    /// wants, such as SSH or BGP; without one such frames are dropped and counted. It is called
    /// after the port, such as `lan0-kernel`. The kernel's end of a tap gets the NIC port's MAC
    /// address; give it the port's addresses (`ip link set dtap0 up; ip addr add ... dev
    /// dtap0`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_port: Option<Device>,
    /// `cores`: the CPUs that poll this port, each with one queue pair: queue `n` belongs to
    /// the `n`-th of them. None twice; the same core may poll several ports.
    pub cores: Vec<CoreId>,
    /// `addresses`: the director's own addresses here (DIP), each with the prefix length of the
    /// network that is connected.
    pub addresses: Vec<Cidr>,
    /// `gateway`: IPv4 next hop for everything that is neither connected nor routed, in a
    /// network of this port. One in the file at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// `gateway6`: the same for IPv6; a link-local address is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<Ipv6Addr>,
    /// `routes`: networks reached through another next hop of this port; the longest prefix
    /// decides.
    pub routes: Vec<Route>,
    /// `vlan`: the 802.1Q tag of every frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// `mtu`: the largest packet; at least 1280 where the port has IPv6 addresses.
    pub mtu: u16,
    /// `rx_descriptors`: receive descriptors per queue.
    pub rx_descriptors: u16,
    /// `tx_descriptors`: transmit descriptors per queue.
    pub tx_descriptors: u16,
    /// `promiscuous`: take frames for other MAC addresses, too.
    pub promiscuous: bool,
    /// `require_link`: do not start unless the link is up, or comes up within five seconds.
    /// Without it the start says which port is down and what to do, goes on, and takes the link
    /// when it comes up.
    pub require_link: bool,
}

/// `ports[].routes[]`: a network behind a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Route {
    /// `to`: the network, without host bits.
    pub to: Cidr,
    /// `via`: the next hop, of the same family, in a network of this port.
    pub via: IpAddr,
}

/// A CPU as Linux numbers it, 0 to 1,023.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct CoreId(pub u16);

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An 802.1Q VLAN id, 1 to 4,094 (0 and 4,095 are reserved by IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct VlanId(u16);

impl VlanId {
    /// `None` outside 1 to 4,094.
    #[must_use]
    pub fn new(id: u16) -> Option<Self> {
        (1..=4094).contains(&id).then_some(Self(id))
    }

    /// The number as it stands in the tag.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0
    }
}

/// A DPDK device by its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A NIC on the PCI bus, such as `0000:3b:00.0`; EAL's `-a`.
    Pci(PciAddress),
    /// A virtual device with its arguments, such as `net_af_packet0,iface=eth0`; EAL's
    /// `--vdev`.
    Vdev(String),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Pci(address) => address.fmt(f),
            Device::Vdev(words) => words.fmt(f),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Device {
    /// The part before the first comma: what EAL calls the device.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Device::Pci(address) => address.to_string(),
            Device::Vdev(words) => words.split(',').next().unwrap_or_default().to_owned(),
        }
    }
}

/// A PCI address: domain, bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciAddress {
    /// 0000 on nearly every machine.
    pub domain: u16,
    /// 00 to ff.
    pub bus: u8,
    /// 00 to 1f.
    pub device: u8,
    /// 0 to 7.
    pub function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}
