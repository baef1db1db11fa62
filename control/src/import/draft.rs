//! What was read so far, before it is held against what Director can be told.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::model::{
    Family, Forwarding, HashFlags, Mark, Persistence, Protocol, Scheduler, Selector, Thresholds,
    VipPorts,
};

use super::filter::Ruleset;
use super::note::Notes;

/// Where something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Origin {
    file: u32,
    line: u32,
}

impl Origin {
    pub(super) fn new(file: usize, line: usize) -> Self {
        let fit = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { file: fit(file), line: fit(line) }
    }

    pub(super) fn file(self) -> usize {
        self.file as usize
    }

    /// From 1; 0 for the whole file.
    pub(super) fn line(self) -> usize {
        self.line as usize
    }
}

/// What a service is known by in IPVS: there is one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Address {
        protocol: Protocol,
        vip: IpAddr,
        /// 0 for every port.
        vip_port: u16,
    },
    Mark {
        mark: Mark,
        family: Family,
    },
}

impl Key {
    pub(super) fn family(&self) -> Family {
        match self {
            Key::Address { vip, .. } => Family::of(*vip),
            Key::Mark { family, .. } => *family,
        }
    }

    /// For notes.
    pub(super) fn shown(&self) -> String {
        match self {
            Key::Address { protocol, vip: IpAddr::V6(vip), vip_port } => {
                format!("{protocol} [{vip}]:{vip_port}")
            }
            Key::Address { protocol, vip, vip_port } => format!("{protocol} {vip}:{vip_port}"),
            Key::Mark { mark, family: Family::V4 } => format!("mark {mark}"),
            Key::Mark { mark, family: Family::V6 } => format!("mark {mark} (IPv6)"),
        }
    }
}

/// A virtual service as it was written.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) origin: Origin,
    pub(super) key: Key,
    /// A name of its own, already fit for a configuration.
    pub(super) name: Option<Box<str>>,
    /// Of a mark whose selectors are known without a firewall's rules.
    pub(super) selectors: Vec<(Selector, Origin)>,
    pub(super) scheduler: Scheduler,
    pub(super) persistence: Option<Persistence>,
    pub(super) one_packet: bool,
    pub(super) real_servers: Servers,
}

/// Real servers in their order, found by address and port.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers {
    all: Vec<Option<RealServer>>,
    /// Of the first with an address and port; empty while there are [`FEW`].
    places: HashMap<(IpAddr, u16), usize>,
}

/// Real servers of a service that are looked through: most services have no more, and a file
/// may have many services.
const FEW: usize = 8;

impl Servers {
    /// Adds one; of several with one address and port the first one is found.
    pub(super) fn push(&mut self, server: RealServer) {
        match self.all.len() {
            0 => self.all.reserve_exact(1),
            FEW => {
                for (place, one) in self.all.iter().enumerate() {
                    if let Some(one) = one {
                        self.places.entry((one.address, one.real_port)).or_insert(place);
                    }
                }
            }
            _ => {}
        }
        if self.all.len() >= FEW {
            self.places.entry((server.address, server.real_port)).or_insert(self.all.len());
        }
        self.all.push(Some(server));
    }

    /// Where the first with this address and port is.
    fn place(&self, address: IpAddr, real_port: u16) -> Option<usize> {
        if self.all.len() > FEW {
            return self.places.get(&(address, real_port)).copied();
        }
        let is = |one: &RealServer| (one.address, one.real_port) == (address, real_port);
        self.all.iter().position(|one| one.as_ref().is_some_and(is))
    }

    pub(super) fn find(&mut self, address: IpAddr, real_port: u16) -> Option<&mut RealServer> {
        let at = self.place(address, real_port)?;
        self.all.get_mut(at).and_then(Option::as_mut)
    }

    pub(super) fn remove(&mut self, address: IpAddr, real_port: u16) -> bool {
        let at = self.place(address, real_port);
        self.places.remove(&(address, real_port));
        at.and_then(|at| self.all.get_mut(at)).and_then(Option::take).is_some()
    }

    pub(super) fn into_list(self) -> Vec<RealServer> {
        self.all.into_iter().flatten().collect()
    }
}

/// A real server as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RealServer {
    pub(super) origin: Origin,
    pub(super) address: IpAddr,
    /// 0 keeps the packet's.
    pub(super) real_port: u16,
    pub(super) weight: u16,
    pub(super) forwarding: Forwarding,
    pub(super) thresholds: Thresholds,
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) files: Vec<String>,
    pub(super) notes: Notes,
    pub(super) rules: Ruleset,
    /// TCP, TCP after a FIN, UDP, in seconds; 0 where nothing was said.
    pub(super) timeouts_s: [u32; 3],
    services: Vec<Option<Service>>,
    places: HashMap<Key, usize>,
    /// Real servers in all services.
    servers: usize,
}

/// Services, and real servers of all of them together, that are taken over at most: what a
/// configuration file of the largest size can hold.
const MOST: usize = 80_000;

/// Why a service or a real server was not taken into the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is there already.
    Exists,
    /// There are too many.
    TooMany,
}

impl Refused {
    /// Why, for a note.
    pub(super) fn why(self) -> &'static str {
        match self {
            Refused::Exists => "it is there already, and IPVS keeps the first one",
            Refused::TooMany => "there are more than a configuration can hold",
        }
    }

    /// What to do, for a note.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Refused::Exists => "keep the one that is meant",
            Refused::TooMany => "import the file in parts",
        }
    }
}

impl Draft {
    pub(super) fn new<'a>(files: impl Iterator<Item = &'a str>) -> Self {
        Self {
            files: files.map(super::note::plain).collect(),
            notes: Notes::default(),
            rules: Ruleset::default(),
            timeouts_s: [0; 3],
            services: Vec::new(),
            places: HashMap::new(),
            servers: 0,
        }
    }

    /// Whether a service with so many real servers may be added.
    pub(super) fn may_add(&self, key: &Key, servers: usize) -> Result<(), Refused> {
        if self.places.contains_key(key) {
            return Err(Refused::Exists);
        }
        // What was removed leaves its place.
        if self.services.len() >= 2 * MOST
            || self.places.len() >= MOST
            || self.servers + servers > MOST
        {
            return Err(Refused::TooMany);
        }
        Ok(())
    }

    pub(super) fn add(&mut self, service: Service) -> Result<(), Refused> {
        let servers = service.real_servers.all.len();
        self.may_add(&service.key, servers)?;
        self.servers += servers;
        self.places.insert(service.key, self.services.len());
        self.services.push(Some(service));
        Ok(())
    }

    /// Counts one more real server, if there may be one.
    pub(super) fn may_add_server(&mut self) -> Result<(), Refused> {
        if self.servers >= MOST {
            return Err(Refused::TooMany);
        }
        self.servers += 1;
        Ok(())
    }

    pub(super) fn service(&mut self, key: &Key) -> Option<&mut Service> {
        let at = *self.places.get(key)?;
        self.services.get_mut(at).and_then(Option::as_mut)
    }

    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let at = self.places.remove(key);
        let gone = at.and_then(|at| self.services.get_mut(at)).and_then(Option::take);
        let fewer = gone.as_ref().map_or(0, |service| service.real_servers.all.len());
        self.servers = self.servers.saturating_sub(fewer);
        gone.is_some()
    }

    pub(super) fn clear(&mut self) {
        self.services.clear();
        self.places.clear();
        self.servers = 0;
    }

    /// The services in the order in which they were written.
    pub(super) fn take_services(&mut self) -> Vec<Service> {
        std::mem::take(&mut self.services).into_iter().flatten().collect()
    }
}

/// The scheduler of that name, with flags where it is one that has them.
pub(super) fn scheduler(name: &str, flags: HashFlags) -> Option<Scheduler> {
    Some(match name {
        "rr" => Scheduler::Rr,
        "wrr" => Scheduler::Wrr,
        "lc" => Scheduler::Lc,
        "wlc" => Scheduler::Wlc,
        "lblc" => Scheduler::Lblc,
        "lblcr" => Scheduler::Lblcr,
        "dh" => Scheduler::Dh,
        "sh" => Scheduler::Sh(flags),
        "mh" => Scheduler::Mh(flags),
        "sed" => Scheduler::Sed,
        "nq" => Scheduler::Nq,
        "fo" => Scheduler::Fo,
        "ovf" => Scheduler::Ovf,
        "twos" => Scheduler::Twos,
        "none" => Scheduler::None,
        _ => return None,
    })
}

/// One port, or all of them for 0.
pub(super) fn one_or_all(port: u16) -> VipPorts {
    std::num::NonZeroU16::new(port).map_or(VipPorts::All, VipPorts::One)
}

/// Bits of an address of this family.
pub(super) fn width(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// An address of the family that it is used as: IPv4 inside IPv6 is IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}
