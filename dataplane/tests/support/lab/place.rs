//! Who is where: addresses, MAC addresses, ports and routes of the laboratory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dataplane::catalog::spec::{PortSpec, Site};
use dataplane::ids::PortIndex;
use dataplane::route::Route;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Vlan};

use crate::support::packet::{DIRECTOR_MAC, transport_of};

/// The port that faces the kernel, in [`Layout::KernelFacing`].
pub const KERNEL_PORT: PortIndex = PortIndex(1);

/// The ports of the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One port: clients' router and real servers on one segment.
    OneArm,
    /// Two ports: the router on the first, the real servers on the second.
    TwoArms,
    /// One port on VLAN 10.
    Vlan,
    /// Two ports: VLAN 10 towards the router, VLAN 20 towards the real servers.
    TwoVlans,
    /// One port and a kernel-facing one behind it.
    KernelFacing,
    /// Like `OneArm`, with an MTU of 1000.
    Narrow,
}

impl Layout {
    /// The ports' MAC addresses.
    pub fn macs(self) -> Vec<Mac> {
        let other = Mac([0x02, 0, 0, 0, 0xD1, 0x02]);
        match self {
            Self::OneArm | Self::Vlan | Self::Narrow => vec![Mac(DIRECTOR_MAC)],
            Self::TwoArms | Self::TwoVlans => vec![Mac(DIRECTOR_MAC), other],
            Self::KernelFacing => vec![Mac(DIRECTOR_MAC), Mac(DIRECTOR_MAC)],
        }
    }

    /// The ports, own addresses and routes.
    pub fn site(self) -> Site {
        let addresses = vec![addr("198.18.0.254"), addr("2001:db8::fe")];
        let port = |name: &str, vlan, peer, kernel_facing| PortSpec {
            name: name.into(),
            vlan,
            mtu: if self == Self::Narrow { 1000 } else { 1500 },
            addresses: if name == "wan" { addresses.clone() } else { Vec::new() },
            peer,
            kernel_facing,
        };
        let none = Vlan::UNTAGGED;
        let ports = match self {
            Self::OneArm | Self::Narrow => vec![port("wan", none, None, false)],
            Self::TwoArms => vec![port("wan", none, None, false), port("lan", none, None, false)],
            Self::Vlan => vec![port("wan", Vlan::tagged(10), None, false)],
            Self::TwoVlans => vec![
                port("wan", Vlan::tagged(10), None, false),
                port("lan", Vlan::tagged(20), None, false),
            ],
            Self::KernelFacing => vec![
                port("wan", none, Some(KERNEL_PORT), false),
                port("tap", none, Some(PortIndex(0)), true),
            ],
        };
        let inner = match self {
            Self::TwoArms | Self::TwoVlans => PortIndex(1),
            _ => PortIndex(0),
        };
        let route =
            |network: &str, length, port| Route { network: addr(network), length, port, via: None };
        let routes = vec![
            route("198.18.0.0", 24, PortIndex(0)),
            route("198.18.10.0", 24, inner),
            route("2001:db8::", 64, PortIndex(0)),
            route("2001:db8:0:10::", 64, inner),
        ];
        Site { ports, routes }
    }
}

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// A client's address: 198.18.0.n, 198.18.1.n, ... or 2001:db8::n.
pub fn client_address(number: u16, v6: bool) -> IpAddr {
    match v6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number).into(),
        false => {
            let [high, low] = number.to_be_bytes();
            Ipv4Addr::new(198, 18, 32 + high, low).into()
        }
    }
}

/// A real server's address: 198.18.10.n or 2001:db8:0:10::n. IPv4 has 250 of them.
pub fn real_address(number: u16, v6: bool) -> Option<Addr> {
    match v6 {
        true => Some(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x10, 0, 0, 0, number)).into()),
        false => {
            let low = u8::try_from(number).ok()?;
            Some(IpAddr::V4(Ipv4Addr::new(198, 18, 10, low)).into())
        }
    }
}

/// The number of the real server with this address.
pub fn number_at(address: Addr) -> Option<u16> {
    (1..=999).find(|number| real_address(*number, !address.is_v4()) == Some(address))
}

/// A real server's MAC address.
pub fn real_mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([0x02, 0, 0, 0x10, high, low])
}

/// The number of the real server with this MAC address.
pub fn number_of(mac: &[u8]) -> Option<u16> {
    let [0x02, 0, 0, 0x10, high, low] = *mac else { return None };
    Some(u16::from_be_bytes([high, low]))
}

/// An address and port in the laboratory's words: `V:80`, `V2:443`, `[V]:80`, or as it is.
pub fn socket(words: &str) -> SocketAddr {
    let full = match words.strip_prefix("[V") {
        Some(rest) => {
            let (number, port) = rest.split_once("]:").unwrap();
            let number = if number.is_empty() { "1" } else { number };
            format!("[2001:db8:0:ffff::{number}]:{port}")
        }
        None => match words.strip_prefix('V') {
            Some(rest) => {
                let (number, port) = rest.split_once(':').unwrap();
                let number = if number.is_empty() { "1" } else { number };
                format!("198.18.255.{number}:{port}")
            }
            None => words.to_owned(),
        },
    };
    full.parse().unwrap_or_else(|_| panic!("no address and port: {words}"))
}

/// The core that RSS chooses: by addresses and ports, the same for all packets of a flow.
pub fn core_of(frame: &[u8], cores: usize) -> usize {
    if cores < 2 || !matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xDD])) {
        return 0;
    }
    let (src, dst, _, transport) = transport_of(frame);
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() as u64,
    };
    let ports = transport.first_chunk::<4>().map_or(0, |ports| u32::from_be_bytes(*ports));
    let mixed = (number(src).wrapping_mul(31) ^ number(dst) ^ u64::from(ports) << 7)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize % cores
}
