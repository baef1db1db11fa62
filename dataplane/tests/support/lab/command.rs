//! `ipvsadm`'s command line, as far as stories need it.

use std::net::IpAddr;

use dataplane::catalog::spec::{RealSpec, Selector, ServiceSpec};
use dataplane::catalog::{Catalog, Refused};
use dataplane::classify::Rank;
use dataplane::compat::Compat;
use dataplane::forward::Forwarding;
use dataplane::ids::Mark;
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::snapshot::{Identity, Persistence, RealState, Tracking};
use dataplane::wire::{Addr, Family, Protocol};

use super::place::{real_address, socket};

/// One command.
pub struct Command<'a> {
    words: Vec<&'a str>,
}

impl<'a> Command<'a> {
    /// Splits the line into words.
    pub fn parse(line: &'a str) -> Self {
        Self { words: line.split_whitespace().collect() }
    }

    /// The word behind this option.
    fn after(&self, option: &str) -> Option<&'a str> {
        let at = self.words.iter().position(|word| *word == option)?;
        self.words.get(at + 1).copied()
    }

    fn has(&self, option: &str) -> bool {
        self.words.contains(&option)
    }

    fn number(&self, option: &str, otherwise: u32) -> u32 {
        self.after(option).map_or(otherwise, |word| word.parse().unwrap())
    }

    /// Does what it says.
    pub fn carry_out(&self, catalog: &mut Catalog, compat: Compat) -> Result<(), Refused> {
        let identity = || self.identity();
        match self.words[0] {
            "-A" => catalog.add_service(self.service(compat)).map(|_| ()),
            "-E" => catalog.edit_service(self.service(compat)),
            "-D" => catalog.delete_service(&identity()),
            "-C" => {
                catalog.flush();
                Ok(())
            }
            "-a" => catalog.add_real(&identity(), self.real()).map(|_| ()),
            "-e" => catalog.edit_real(&identity(), self.real()),
            "-d" => {
                let real = self.real();
                catalog.delete_real(&identity(), real.address, real.port)
            }
            // What iptables' mangle table would say: mark packets to a VIP and port.
            "mark" => {
                let mut selectors = catalog.selectors().to_vec();
                selectors.push(self.selector());
                catalog.set_selectors(selectors);
                Ok(())
            }
            other => panic!("no command {other}"),
        }
    }

    /// What the service is known by.
    pub fn identity(&self) -> Identity {
        if let Some(mark) = self.after("-f") {
            let family = if self.has("-6") { Family::V6 } else { Family::V4 };
            return Identity::Mark { family, mark: Mark(mark.parse().unwrap()) };
        }
        let (protocol, words) =
            [("-t", Protocol::Tcp), ("-u", Protocol::Udp), ("-s6", Protocol::Sctp)]
                .into_iter()
                .find_map(|(option, protocol)| Some((protocol, self.after(option)?)))
                .expect("a service");
        let address = socket(words);
        Identity::Address { protocol, vip: address.ip().into(), vip_port: address.port() }
    }

    fn service(&self, compat: Compat) -> ServiceSpec {
        let identity = self.identity();
        let name = self.after("-s").unwrap_or("wlc");
        let flags = self.after("-b").unwrap_or("").split(',').fold(
            SchedulerFlags::empty(),
            |flags, word| match word {
                "" => flags,
                "sh-fallback" => flags | SchedulerFlags::FALLBACK,
                "sh-port" => flags | SchedulerFlags::PORT,
                other => panic!("no flag {other}"),
            },
        );
        ServiceSpec {
            name: self.words[1..].join(" ").into(),
            identity,
            scheduler: match name {
                "none" => None,
                name => Some(Scheduler::by_name(name).expect("a scheduler")),
            },
            flags,
            seed: None,
            engine: None,
            persistence: self.has("-p").then(|| self.persistence(identity.family())),
            tracking: if self.has("--client") { Tracking::Client } else { Tracking::Full },
            one_packet: self.has("-o"),
            compat,
            policy: Default::default(),
        }
    }

    fn persistence(&self, family: Family) -> Persistence {
        let seconds = self.after("-p").and_then(|word| word.parse().ok());
        let mask = match (self.after("-M"), family) {
            (None, _) => u128::MAX,
            (Some(mask), Family::V4) => {
                u128::from(mask.parse::<std::net::Ipv4Addr>().unwrap().to_bits())
            }
            (Some(bits), Family::V6) => u128::MAX << (128 - bits.parse::<u32>().unwrap()),
        };
        Persistence { timeout_s: seconds.unwrap_or(Persistence::DEFAULT_TIMEOUT_S), mask }
    }

    fn real(&self) -> RealSpec {
        let identity = self.identity();
        let words = self.after("-r").expect("a real server");
        let (name, port) = match words.split_once(':') {
            Some((name, port)) => (name, port.parse().unwrap()),
            None => (words, identity.vip_port()),
        };
        let number = name.strip_prefix('R').unwrap().parse().unwrap();
        let address = real_address(number, identity.family() == Family::V6).unwrap();
        RealSpec {
            weight: self.number("-w", 1),
            upper_threshold: self.number("-x", 0),
            lower_threshold: self.number("-y", 0),
            forwarding: match (self.has("--local"), self.has("-m")) {
                (true, _) => Forwarding::Local,
                (_, true) => Forwarding::Masq,
                _ => Forwarding::Route,
            },
            state: match self.after("--state") {
                None => RealState::Up,
                Some("drain") => RealState::Drain,
                Some("down") => RealState::Down,
                Some(other) => panic!("no state {other}"),
            },
            ..RealSpec::new(address, port)
        }
    }

    fn selector(&self) -> Selector {
        let (protocol, words) = match (self.after("-t"), self.after("-u"), self.after("-any")) {
            (Some(words), _, _) => (Some(Protocol::Tcp), words),
            (_, Some(words), _) => (Some(Protocol::Udp), words),
            (_, _, Some(words)) => (None, words),
            _ => panic!("what is to be marked?"),
        };
        let address = socket(words);
        let vip = Addr::from(address.ip());
        let ports =
            if address.port() == 0 { 0..=u16::MAX } else { address.port()..=address.port() };
        let mark = Mark(self.after("-f").expect("a mark").parse().unwrap());
        Selector {
            vip,
            length: vip.family().bits(),
            source: None,
            protocol,
            ports,
            mark,
            rank: Rank::FIREWALL,
        }
    }
}

/// The identity that a service's words name: `-t V:80`, `-f 10`.
pub fn identity(words: &str) -> Identity {
    Command::parse(words).identity()
}

/// For listings.
pub fn address(words: &str) -> IpAddr {
    socket(words).ip()
}
