//! A command line into a command.

use std::net::IpAddr;

use dataplane::ids::Mark;
use dataplane::snapshot::Identity;
use dataplane::wire::{Family, Protocol};

use super::Usage;
use super::address::{self, Typed, full_mask};
use super::command::{Command, Forward};
use super::name::Names;
use super::option::{Meaning, Name, Verb};
use super::scan::{Given, Scanner};
use super::specify;

/// The options of one command line, read as far as they can be without the others.
#[derive(Default)]
pub(super) struct Gathered {
    given: Vec<Name>,
    pub(super) service: Option<Identity>,
    /// The service's port, as far as real servers take it over.
    pub(super) service_port: u16,
    pub(super) scheduler: Option<String>,
    pub(super) flags: Option<String>,
    pub(super) persistent_s: Option<u32>,
    pub(super) mask: Option<u128>,
    pub(super) engine: Option<String>,
    pub(super) server: Option<Typed>,
    pub(super) forward: Option<Forward>,
    pub(super) weight: Option<u32>,
    pub(super) upper: Option<u32>,
    pub(super) lower: Option<u32>,
    pub(super) tunnel_type: Option<String>,
    pub(super) tunnel_port: Option<u16>,
    pub(super) interface: Option<String>,
    pub(super) syncid: Option<u8>,
    pub(super) group: Option<std::net::IpAddr>,
    pub(super) group_port: Option<u16>,
    pub(super) ttl: Option<u8>,
    pub(super) maxlen: Option<u16>,
}

impl Gathered {
    pub(super) fn has(&self, name: Name) -> bool {
        self.given.contains(&name)
    }

    /// Notes that an option was given; twice is too often.
    fn once(&mut self, name: Name) -> Result<(), Usage> {
        if self.has(name) {
            return Err(Usage::new(format!("multiple '{}' options specified", name.word())));
        }
        self.given.push(name);
        Ok(())
    }
}

/// Reads a command line: the words behind `ipvsadm`. Nothing at all lists everything.
pub fn parse(args: &[String], names: &Names) -> Result<Command, Usage> {
    if args.is_empty() {
        return Ok(specify::list(&Gathered::default()));
    }
    let mut scanner = Scanner::new(args);
    let (verb, word) = match scanner.next() {
        Some(Ok(Given { meaning: Meaning::Verb(verb), value, .. })) => (verb, value),
        _ => return Err(Usage::try_help()),
    };
    match verb {
        Verb::Help => return Ok(Command::Help),
        Verb::Version => return Ok(Command::Version),
        Verb::StartDaemon | Verb::StopDaemon => specify::role(verb, word.as_deref()).map(drop)?,
        _ => {}
    }
    let mut gathered = Gathered::default();
    while let Some(given) = scanner.next() {
        take(&mut gathered, given?, names)?;
    }
    let mut left = std::mem::take(&mut scanner.left).into_iter();
    let timeouts = match verb {
        Verb::Set => Some([timeout(left.next())?, timeout(left.next())?, timeout(left.next())?]),
        _ => None,
    };
    if let Some(extra) = left.next() {
        return Err(Usage::new(format!("unexpected argument {extra}")));
    }
    // A flag that does not go with the scheduler is told of before options that do not go with
    // the command.
    specify::flags(gathered.flags.as_deref(), gathered.scheduler.as_deref().unwrap_or_default())?;
    verb.check(|name| gathered.has(name))?;
    match verb {
        Verb::AddService => specify::service(&gathered).map(Command::AddService),
        Verb::EditService => specify::service(&gathered).map(Command::EditService),
        Verb::DeleteService => specify::identity(&gathered).map(Command::DeleteService),
        Verb::AddServer => specify::server(&gathered).map(Command::AddServer),
        Verb::EditServer => specify::server(&gathered).map(Command::EditServer),
        Verb::DeleteServer => specify::removal(&gathered),
        Verb::Flush => Ok(Command::Clear),
        Verb::List => specify::checked_list(&gathered),
        Verb::Zero => Ok(Command::Zero(gathered.service)),
        Verb::Restore => Ok(Command::Restore),
        Verb::Save => Ok(Command::Save { numeric: gathered.has(Name::Numeric) }),
        Verb::Set => {
            let [tcp_s, tcp_fin_s, udp_s] = timeouts.unwrap_or_default();
            Ok(Command::SetTimeouts { tcp_s, tcp_fin_s, udp_s })
        }
        Verb::StartDaemon => specify::daemon(&gathered, word.as_deref()).map(Command::StartDaemon),
        Verb::StopDaemon => specify::role(verb, word.as_deref()).map(Command::StopDaemon),
        Verb::Help => Ok(Command::Help),
        Verb::Version => Ok(Command::Version),
    }
}

/// 31 days: the longest timeout.
const LONGEST_S: u32 = 31 * 86_400;

fn timeout(word: Option<String>) -> Result<u32, Usage> {
    let word = word.ok_or_else(|| Usage::new("--set option requires 3 timeout values"))?;
    seconds(&word, 0)
}

fn seconds(text: &str, least: u32) -> Result<u32, Usage> {
    address::number(text, least, LONGEST_S)
        .ok_or_else(|| Usage::new(format!("invalid timeout value `{text}' specified")))
}

/// Reads one option.
fn take(gathered: &mut Gathered, given: Given, names: &Names) -> Result<(), Usage> {
    let Given { meaning, value, word } = given;
    let text = value.as_deref().unwrap_or_default();
    match meaning {
        Meaning::Verb(_) => return Err(Usage::new(format!("invalid option `{word}'"))),
        Meaning::Tcp => take_service(gathered, Protocol::Tcp, text, names)?,
        Meaning::Udp => take_service(gathered, Protocol::Udp, text, names)?,
        Meaning::Sctp => take_service(gathered, Protocol::Sctp, text, names)?,
        Meaning::Mark => take_mark(gathered, text)?,
        Meaning::Ipv6 => match gathered.service {
            Some(Identity::Mark { mark, .. }) => {
                gathered.service = Some(Identity::Mark { family: Family::V6, mark });
                gathered.mask = None;
            }
            _ => return Err(Usage::new("-6 used before -f\n")),
        },
        Meaning::Gatewaying => take_forward(gathered, Forward::Route)?,
        Meaning::Masquerading => take_forward(gathered, Forward::Masq)?,
        Meaning::Ipip => take_forward(gathered, Forward::Tunnel(crate::listing::Tunnel::Ipip))?,
        Meaning::Sort => {}
        Meaning::Plain(name) => {
            gathered.once(name)?;
            take_plain(gathered, name, value.as_deref(), names)?;
        }
    }
    Ok(())
}

fn take_service(
    gathered: &mut Gathered,
    protocol: Protocol,
    text: &str,
    names: &Names,
) -> Result<(), Usage> {
    gathered.once(Name::Service)?;
    let typed = address::endpoint(text, protocol, names)
        .ok_or_else(|| Usage::new("illegal virtual server address[:port] specified"))?;
    let (vip, vip_port) = (typed.address, typed.port.unwrap_or(0));
    if vip.family() == Family::V6 {
        gathered.mask = None;
    }
    gathered.service = Some(Identity::Address { protocol, vip, vip_port });
    gathered.service_port = vip_port;
    Ok(())
}

fn take_mark(gathered: &mut Gathered, text: &str) -> Result<(), Usage> {
    gathered.once(Name::Service)?;
    let mark = address::number(text, 1, u32::MAX).and_then(std::num::NonZeroU32::new);
    let mark = mark
        .ok_or_else(|| Usage::new(format!("invalid fwmark value `{text}' specified")))
        .map(Mark)?;
    gathered.service = Some(Identity::Mark { family: Family::V4, mark });
    Ok(())
}

fn take_forward(gathered: &mut Gathered, forward: Forward) -> Result<(), Usage> {
    gathered.once(Name::Forward)?;
    gathered.forward = Some(forward);
    Ok(())
}

fn take_plain(
    gathered: &mut Gathered,
    name: Name,
    value: Option<&str>,
    names: &Names,
) -> Result<(), Usage> {
    let text = value.unwrap_or_default();
    let illegal = |what: &str| Usage::new(format!("illegal {what} specified"));
    match name {
        Name::Scheduler => gathered.scheduler = Some(text.to_owned()),
        Name::Flags => gathered.flags = Some(text.to_owned()),
        Name::Engine => gathered.engine = Some(text.to_owned()),
        Name::Persistent => {
            let default_s = dataplane::snapshot::Persistence::DEFAULT_TIMEOUT_S;
            let seconds = value.map_or(Ok(default_s), |value| seconds(value, 1))?;
            gathered.persistent_s = Some(seconds);
        }
        Name::Netmask => {
            let family = gathered.service.map_or(Family::V4, |service| service.family());
            gathered.mask = Some(address::mask(text, family).map_err(Usage::new)?);
        }
        Name::Server => {
            let protocol = match gathered.service {
                Some(Identity::Address { protocol, .. }) => protocol,
                _ => Protocol::Tcp,
            };
            let typed = address::endpoint(text, protocol, names);
            gathered.server = Some(typed.ok_or_else(|| illegal("real server address[:port]"))?);
        }
        Name::Weight => gathered.weight = Some(count(text).ok_or_else(|| illegal("weight"))?),
        Name::Upper => gathered.upper = Some(count(text).ok_or_else(|| illegal("u_threshold"))?),
        Name::Lower => gathered.lower = Some(count(text).ok_or_else(|| illegal("l_threshold"))?),
        Name::TunnelType => match text {
            "ipip" | "gue" | "gre" => gathered.tunnel_type = Some(text.to_owned()),
            _ => return Err(illegal("tunnel type")),
        },
        Name::TunnelPort => {
            let port = port(text).ok_or_else(|| illegal("tunnel port"))?;
            gathered.tunnel_port = Some(port);
        }
        Name::Interface => gathered.interface = Some(text.to_owned()),
        Name::SyncId => {
            gathered.syncid = Some(byte(text, 0).ok_or_else(|| illegal("syncid"))?);
        }
        Name::Group => {
            let invalid = |family| Usage::new(format!("invalid {family} mcast-group `{text}'"));
            gathered.group = Some(match text.parse() {
                Ok(group @ IpAddr::V6(address)) if address.is_multicast() => group,
                Ok(IpAddr::V6(_)) => return Err(invalid("IPv6")),
                Ok(group @ IpAddr::V4(address)) if address.is_multicast() => group,
                _ => return Err(invalid("IPv4")),
            });
        }
        Name::GroupPort => {
            gathered.group_port = Some(port(text).ok_or_else(|| illegal("mcast-port"))?);
        }
        Name::Ttl => gathered.ttl = Some(byte(text, 1).ok_or_else(|| illegal("mcast-ttl"))?),
        Name::MaxLen => {
            let length = address::number(text, 1, 65_507).and_then(|n| u16::try_from(n).ok());
            gathered.maxlen = Some(length.ok_or_else(|| illegal("sync-maxlen"))?);
        }
        // These say everything by being there.
        Name::Numeric | Name::Connection | Name::Service | Name::Forward | Name::Timeout => {}
        Name::Daemon | Name::Stats | Name::Rate | Name::Thresholds | Name::PersistentConn => {}
        Name::NoSort | Name::Exact | Name::Ops | Name::TunnelInfo => {}
        Name::NoChecksum | Name::Checksum | Name::RemoteChecksum => {}
    }
    Ok(())
}

/// A weight or threshold: what fits a signed 32-bit number.
fn count(text: &str) -> Option<u32> {
    address::number(text, 0, i32::MAX as u32)
}

fn port(text: &str) -> Option<u16> {
    address::number(text, 1, u32::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
}

fn byte(text: &str, least: u32) -> Option<u8> {
    address::number(text, least, 255).and_then(|byte| u8::try_from(byte).ok())
}

impl Gathered {
    /// The mask of `-M`, or of one client.
    pub(super) fn mask_for(&self, family: Family) -> u128 {
        self.mask.unwrap_or_else(|| full_mask(family))
    }
}
