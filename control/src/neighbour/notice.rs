//! What the operator is told about neighbours.

use std::fmt;
use std::sync::Arc;

use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;

/// Something about a neighbour that an operator wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A configured next hop answered for the first time, or again after it was lost.
    Learned {
        /// The port's name.
        port: Arc<str>,
        /// The next hop.
        address: Addr,
        /// Its MAC address.
        mac: Mac,
    },
    /// A neighbour's address is at another MAC address now.
    Changed {
        /// The port's name.
        port: Arc<str>,
        /// The neighbour.
        address: Addr,
        /// Where it was.
        old: Mac,
        /// Where it is.
        new: Mac,
        /// Notices of this kind left out since the last one.
        unsaid: u64,
    },
    /// Somebody says unasked that a neighbour is at another MAC address; it is not believed.
    Disputed {
        /// The port's name.
        port: Arc<str>,
        /// The neighbour.
        address: Addr,
        /// The MAC address that stays in use.
        known: Mac,
        /// The MAC address that was said.
        claimed: Mac,
        /// Whether the configuration pins the known one.
        pinned: bool,
        /// Notices of this kind left out since the last one.
        unsaid: u64,
    },
    /// A configured next hop does not answer.
    Lost {
        /// The port's name.
        port: Arc<str>,
        /// The next hop.
        address: Addr,
        /// Where it was; `None` if it never answered.
        last: Option<Mac>,
    },
    /// A station that is not this director says that it has a VIP.
    VipClaimed {
        /// The port's name.
        port: Arc<str>,
        /// The VIP.
        vip: Addr,
        /// The station.
        mac: Mac,
        /// The neighbour that has this MAC address, if one is known.
        station: Option<Addr>,
        /// Whether it answered for the VIP (else it asked or announced in its name).
        answered: bool,
        /// Notices of this kind left out since the last one.
        unsaid: u64,
    },
    /// A station uses one of the director's own addresses.
    Duplicate {
        /// The port's name.
        port: Arc<str>,
        /// The address.
        address: Addr,
        /// The station.
        mac: Mac,
        /// Notices of this kind left out since the last one.
        unsaid: u64,
    },
    /// A next hop cannot be asked for, because the port has no address to ask with.
    NoSource {
        /// The port's name.
        port: Arc<str>,
        /// The next hop.
        address: Addr,
    },
    /// There are too many neighbours; new ones that the configuration does not name are not
    /// looked for.
    Full {
        /// Neighbours known at most.
        entries: u32,
        /// Notices of this kind left out since the last one.
        unsaid: u64,
    },
}

impl Notice {
    /// Writes the notice to the log: as information where all is well, else as a warning.
    pub fn log(&self) {
        match self {
            Self::Learned { .. } => tracing::info!("{self}"),
            Self::Changed { .. }
            | Self::Disputed { .. }
            | Self::Lost { .. }
            | Self::VipClaimed { .. }
            | Self::Duplicate { .. }
            | Self::NoSource { .. }
            | Self::Full { .. } => tracing::warn!("{self}"),
        }
    }

    fn unsaid(&self) -> u64 {
        match self {
            Self::Learned { .. } | Self::Lost { .. } | Self::NoSource { .. } => 0,
            Self::Changed { unsaid, .. }
            | Self::Disputed { unsaid, .. }
            | Self::VipClaimed { unsaid, .. }
            | Self::Duplicate { unsaid, .. }
            | Self::Full { unsaid, .. } => *unsaid,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Learned { port, address, mac } => {
                write!(f, "port {port}: {address} is at {mac}")
            }
            Self::Changed { port, address, old, new, .. } => {
                write!(f, "port {port}: {address} moved from {old} to {new}")
            }
            Self::Disputed { port, address, known, claimed, pinned: true, .. } => write!(
                f,
                "port {port}: {claimed} says that it has {address}, which the configuration \
                 pins to {known}; {known} stays in use. If the machine has another NIC now, \
                 change its `mac:`"
            ),
            Self::Disputed { port, address, known, claimed, pinned: false, .. } => write!(
                f,
                "port {port}: {claimed} says unasked that it has {address}; {known} stays in \
                 use while it answers. If this is no failover, two machines have the address, \
                 or one of them forges ARP or Neighbour Discovery"
            ),
            Self::Lost { port, address, last: Some(mac) } => write!(
                f,
                "port {port}: {address} (last at {mac}) does not answer any more; no packets \
                 can be sent to it until it does"
            ),
            Self::Lost { port, address, last: None } => write!(
                f,
                "port {port}: {address} does not answer; no packets can be sent to it until it \
                 does. Check that it is up, on this segment and in this VLAN"
            ),
            Self::VipClaimed { port, vip, mac, station, answered, .. } => {
                vip_claimed(f, port, *vip, *mac, *station, *answered)
            }
            Self::Duplicate { port, address, mac, .. } => write!(
                f,
                "port {port}: {mac} uses {address}, which is this director's own address; one \
                 of the two machines must get another"
            ),
            Self::NoSource { port, address } => write!(
                f,
                "port {port}: {address} cannot be looked for, because the port has no {} \
                 address; add one of that network to the port's `addresses`",
                if address.is_v4() { "IPv4" } else { "IPv6" }
            ),
            Self::Full { entries, .. } => write!(
                f,
                "{entries} neighbours are known and no more are looked for; if there are \
                 really so many, raise `neighbours.entries`"
            ),
        }?;
        match self.unsaid() {
            0 => Ok(()),
            1 => f.write_str(" (one more notice like this was left out)"),
            more => write!(f, " ({more} more notices like this were left out)"),
        }
    }
}

/// The classic mistake with direct routing: a real server that has the VIP does not hide it.
fn vip_claimed(
    f: &mut fmt::Formatter<'_>,
    port: &str,
    vip: Addr,
    mac: Mac,
    station: Option<Addr>,
    answered: bool,
) -> fmt::Result {
    write!(f, "port {port}: {mac}")?;
    if let Some(station) = station {
        write!(f, " ({station})")?;
    }
    let does = if answered { "answers for" } else { "sends in the name of" };
    write!(f, " {does} VIP {vip}, so clients may reach it past the director. ")?;
    match (vip.is_v4(), answered) {
        (true, true) => f.write_str(
            "If it is a real server, set net.ipv4.conf.all.arp_ignore=1 and \
             net.ipv4.conf.all.arp_announce=2 on it and keep the VIP on lo",
        ),
        (true, false) => f.write_str(
            "If it is a real server, set net.ipv4.conf.all.arp_announce=2 and \
             net.ipv4.conf.all.arp_ignore=1 on it and keep the VIP on lo",
        ),
        (false, _) => f.write_str(
            "If it is a real server, keep the VIP on lo (with /128) and on no other interface",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_claimed_vip_names_the_real_server_and_the_remedy() {
        let notice = Notice::VipClaimed {
            port: "lan".into(),
            vip: "198.18.255.1".parse::<IpAddr>().unwrap().into(),
            mac: Mac([2, 0, 0, 0, 1, 0x11]),
            station: Some("198.18.10.11".parse::<IpAddr>().unwrap().into()),
            answered: true,
            unsaid: 12,
        };
        assert_eq!(
            notice.to_string(),
            "port lan: 02:00:00:00:01:11 (198.18.10.11) answers for VIP 198.18.255.1, so \
             clients may reach it past the director. If it is a real server, set \
             net.ipv4.conf.all.arp_ignore=1 and net.ipv4.conf.all.arp_announce=2 on it and \
             keep the VIP on lo (12 more notices like this were left out)"
        );
    }
}
