//! `virtual_server` and its real servers.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;

use crate::config::model::{
    Engine, Family, Forwarding, HashFlags, Mark, Netmask, Persistence, Protocol, Scheduler,
    Selector,
};
use crate::ipvsadm::Names;

use super::super::draft::{self, Draft, Key, Origin, RealServer, Servers, Service, one_or_all};
use super::checks::{CHECKER, Checks};
use super::group::{Groups, Member};
use super::real_server::{Server, family_of};
use super::tree::Node;
use super::{method::method, origin};

/// What virtual servers are read with.
pub(super) struct Reading<'a> {
    pub(super) file: usize,
    pub(super) names: &'a Names,
    pub(super) groups: &'a Groups,
}

/// What is said once for all real servers and, in a group, for all addresses.
struct Settings {
    protocol: Protocol,
    scheduler: String,
    flags: HashFlags,
    /// keepalived masquerades unless it is told otherwise; ipvsadm routes.
    forwarding: Forwarding,
    timeout_s: Option<u32>,
    granularity: Option<(String, Origin)>,
    engine: Option<Engine>,
    one_packet: bool,
    family: Option<Family>,
}

/// keepalived's persistence timeout where none is given.
const DEFAULT_TIMEOUT_S: u32 = 360;
/// What the groups of all virtual servers may stand for.
const MOST_MEMBERS: usize = 200_000;
/// 31 days.
const LONGEST_S: u32 = 2_678_400;

/// A port by number or name.
pub(super) fn port(text: &str, names: &Names) -> Option<u16> {
    use dataplane::wire::Protocol as Wire;
    let named = || {
        let number = |protocol| names.ports.number(text, protocol);
        number(Wire::Tcp).or_else(|| number(Wire::Udp)).or_else(|| number(Wire::Sctp))
    };
    text.parse().ok().or_else(named)
}

impl Reading<'_> {
    /// Reads one virtual server. With `mark_groups` a group is one service that takes the next
    /// mark; `expanded` counts what groups stand for.
    pub(super) fn read(
        &self,
        node: &Node,
        mark_groups: bool,
        next_mark: &mut u32,
        expanded: &mut usize,
        draft: &mut Draft,
    ) {
        let what = node.words.joined();
        let Some(members) = self.members(node, &what, draft) else { return };
        *expanded += members.len();
        if *expanded > MOST_MEMBERS {
            let why = "its group stands for too many services together with those before it";
            draft.notes.add(origin(self.file, node), what, why, "import the file in parts");
            return;
        }
        let settings = self.settings(node, &what, draft);
        let mut checks = Checks::default();
        let servers: Vec<Server> = node
            .children
            .iter()
            .filter(|one| one.key() == "real_server")
            .filter_map(|one| self.server(one, &what, settings.forwarding, &mut checks, draft))
            .collect();
        checks.note(&what, draft);
        if mark_groups && node.value(0) == Some("group") {
            self.marked_group(node, &members, &settings, &servers, next_mark, draft);
            return;
        }
        for (member, at) in members.iter().copied() {
            let key = match member {
                Member::Address { vip, vip_port } => {
                    Key::Address { protocol: settings.protocol, vip, vip_port }
                }
                Member::Mark { mark, family } => {
                    let family = family.or(settings.family).unwrap_or_else(|| family_of(&servers));
                    Key::Mark { mark, family }
                }
            };
            self.add(at, key, None, Vec::new(), &settings, &servers, draft);
        }
    }

    /// What the virtual server stands for: an address, a mark, or a group's members.
    fn members(
        &self,
        node: &Node,
        what: &str,
        draft: &mut Draft,
    ) -> Option<Cow<'_, [(Member, Origin)]>> {
        let at = origin(self.file, node);
        let mut refuse = |why: &str| {
            draft.notes.add(at, format!("{what} {{ ... }}"), why, "write the service by hand");
            None
        };
        match node.value(0) {
            Some("fwmark") => {
                match node.value(1).and_then(|text| text.parse::<NonZeroU32>().ok()) {
                    Some(mark) => {
                        let member = Member::Mark { mark: Mark(mark), family: None };
                        Some(Cow::Owned(vec![(member, at)]))
                    }
                    None => refuse("a mark is a number from 1 on"),
                }
            }
            Some("group") => {
                let name = node.value(1).unwrap_or_default();
                match self.groups.get(name) {
                    Some(members) if !members.is_empty() => Some(Cow::Borrowed(members)),
                    Some(_) => refuse("its group has no address that could be read"),
                    None => refuse("there is no virtual_server_group of this name in the file"),
                }
            }
            Some(text) => {
                let vip_port = match node.value(1) {
                    None => Some(0),
                    Some(text) => port(text, self.names),
                };
                match (draft::address(text), vip_port) {
                    (Some(vip), Some(vip_port)) => {
                        Some(Cow::Owned(vec![(Member::Address { vip, vip_port }, at)]))
                    }
                    (None, _) => refuse("its address is not understood; names are not looked up"),
                    (_, None) => refuse("its port is not understood"),
                }
            }
            None => refuse("it has no address, mark or group"),
        }
    }

    fn settings(&self, node: &Node, what: &str, draft: &mut Draft) -> Settings {
        let mut settings = Settings {
            protocol: Protocol::Tcp,
            scheduler: "wlc".into(),
            flags: HashFlags::default(),
            forwarding: Forwarding::Masq,
            timeout_s: None,
            granularity: None,
            engine: None,
            one_packet: false,
            family: None,
        };
        let mut health = Vec::new();
        for one in &node.children {
            let at = origin(self.file, one);
            if self.setting(one, &mut settings) {
                continue;
            }
            let what = format!("{what}: {}", one.shown());
            match one.key() {
                "real_server" => {}
                "lvs_method" | "lb_kind" | "protocol" | "persistence_timeout" | "ip_family" => {
                    draft.notes.add(at, what, "it is not understood", "see to the service");
                }
                "sorry_server" | "sorry_server_inhibit" | "sorry_server_lvs_method" => {
                    let why =
                        "Director does not check health itself, and so knows not when to use it";
                    let hint = "let ldirectord do both (`fallback=`)";
                    draft.notes.add(at, what, why, hint);
                }
                "persistence_engine" => {
                    let why = "Director has the engine sip only; clients are told apart by address";
                    draft.notes.add(at, what, why, "leave it out if that is enough");
                }
                "flag-3" => {
                    draft.notes.add(at, what, "no scheduler uses it", "leave it out");
                }
                key if key.starts_with("include") => {
                    let why = "included files are not opened";
                    let hint = "put the file's text in the place of this line and import again";
                    draft.notes.add(at, what, why, hint);
                }
                _ => health.push(one.shown()),
            }
        }
        if !health.is_empty() {
            let what = format!("{what}: {}", health.join("; "));
            let why =
                "it concerns health checks and notifications, which Director does not do itself";
            draft.notes.add(origin(self.file, node), what, why, CHECKER);
        }
        settings
    }

    /// Whether this was a setting, and could be read.
    fn setting(&self, one: &Node, settings: &mut Settings) -> bool {
        let Settings { flags, .. } = settings;
        match one.key() {
            "lvs_sched" | "lb_algo" => {
                one.value(0).unwrap_or("wlc").clone_into(&mut settings.scheduler);
            }
            "sh-port" | "mh-port" | "flag-2" => flags.port = true,
            "sh-fallback" | "mh-fallback" | "flag-1" => flags.fallback = true,
            "ops" => settings.one_packet = true,
            // Accepted by older versions, and without a meaning there, too.
            "nat_mask" => {}
            "lvs_method" | "lb_kind" => match method(one.values()) {
                Some(forwarding) => settings.forwarding = forwarding,
                None => return false,
            },
            "persistence_timeout" => {
                let seconds =
                    one.value(0).map_or(Some(DEFAULT_TIMEOUT_S), |text| text.parse().ok());
                match seconds {
                    Some(0) => settings.timeout_s = None,
                    Some(seconds @ 1..=LONGEST_S) => settings.timeout_s = Some(seconds),
                    _ => return false,
                }
            }
            "persistence_engine" if one.value(0) == Some("sip") => {
                settings.engine = Some(Engine::Sip);
            }
            "persistence_granularity" => {
                let text = one.value(0).unwrap_or_default().to_owned();
                settings.granularity = Some((text, origin(self.file, one)));
            }
            "protocol" => match one.value(0).unwrap_or_default().to_ascii_uppercase().as_str() {
                "TCP" => settings.protocol = Protocol::Tcp,
                "UDP" => settings.protocol = Protocol::Udp,
                "SCTP" => settings.protocol = Protocol::Sctp,
                _ => return false,
            },
            "ip_family" => match one.value(0) {
                Some("inet") => settings.family = Some(Family::V4),
                Some("inet6") => settings.family = Some(Family::V6),
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    /// A group under `nftables_ipvs`: keepalived's own rules join its addresses by a mark.
    fn marked_group(
        &self,
        node: &Node,
        members: &[(Member, Origin)],
        settings: &Settings,
        servers: &[Server],
        next_mark: &mut u32,
        draft: &mut Draft,
    ) {
        let at = origin(self.file, node);
        for family in [Family::V4, Family::V6] {
            let selectors: Vec<(Selector, Origin)> = members
                .iter()
                .filter_map(|(member, at)| match *member {
                    Member::Address { vip, vip_port } if Family::of(vip) == family => {
                        let protocol = settings.protocol;
                        let vip_ports = one_or_all(vip_port);
                        Some((Selector { vip, protocol, vip_ports }, *at))
                    }
                    Member::Address { .. } | Member::Mark { .. } => None,
                })
                .collect();
            let Some(mark) = NonZeroU32::new(*next_mark).filter(|_| !selectors.is_empty()) else {
                continue;
            };
            *next_mark = next_mark.saturating_add(1);
            let key = Key::Mark { mark: Mark(mark), family };
            let name = node.value(1).filter(|name| is_name(name)).map(|name| match family {
                Family::V4 => name.to_owned(),
                Family::V6 => format!("{name}-v6"),
            });
            self.add(at, key, name, selectors, settings, servers, draft);
        }
        for (member, at) in members {
            if let Member::Mark { mark, family } = *member {
                let family = family.or(settings.family).unwrap_or_else(|| family_of(servers));
                self.add(
                    *at,
                    Key::Mark { mark, family },
                    None,
                    Vec::new(),
                    settings,
                    servers,
                    draft,
                );
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all of them are parts of one service")]
    fn add(
        &self,
        at: Origin,
        key: Key,
        name: Option<String>,
        selectors: Vec<(Selector, Origin)>,
        settings: &Settings,
        servers: &[Server],
        draft: &mut Draft,
    ) {
        if let Err(refused) = draft.may_add(&key, servers.len()) {
            draft.notes.add(at, key.shown(), refused.why(), refused.hint());
            return;
        }
        let port = match key {
            Key::Address { vip_port, .. } => vip_port,
            Key::Mark { .. } => 0,
        };
        let scheduler =
            draft::scheduler(&settings.scheduler, settings.flags).unwrap_or_else(|| {
                let what = format!("{}: scheduler {}", key.shown(), settings.scheduler);
                draft.notes.add(at, what, "Director has no such scheduler", "it is wlc now");
                Scheduler::Wlc
            });
        if settings.flags != HashFlags::default() && scheduler.flags() != settings.flags {
            let what = format!("{}: scheduler flags", key.shown());
            let why = format!("they mean nothing to {}", scheduler.name());
            draft.notes.add(at, what, why, "leave them out");
        }
        let persistence = self.persistence(key, settings, draft);
        let mut real_servers = Servers::default();
        for server in servers {
            real_servers.push(RealServer {
                origin: server.origin,
                address: server.address,
                real_port: match (key, server.forwarding) {
                    (Key::Address { .. }, Forwarding::Masq) => server.port.unwrap_or(port),
                    (Key::Address { .. }, _) => port,
                    (Key::Mark { .. }, _) => server.port.unwrap_or(0),
                },
                weight: server.weight,
                forwarding: server.forwarding,
                thresholds: server.thresholds,
            });
        }
        let one_packet = settings.one_packet;
        let service = Service {
            origin: at,
            key,
            name: name.map(String::into_boxed_str),
            selectors,
            scheduler,
            persistence,
            one_packet,
            real_servers,
        };
        if let Err(refused) = draft.add(service) {
            draft.notes.add(at, key.shown(), refused.why(), refused.hint());
        }
    }

    fn persistence(&self, key: Key, settings: &Settings, draft: &mut Draft) -> Option<Persistence> {
        let width = draft::width(key.family());
        let Some(timeout_s) = settings.timeout_s else {
            if let Some((text, at)) = &settings.granularity {
                let what = format!("{}: persistence_granularity {text}", key.shown());
                let why = "there is no persistence_timeout, so the service is not persistent";
                draft.notes.add(*at, what, why, "write `persistence` if it is meant to be");
            }
            return None;
        };
        let mask = match &settings.granularity {
            None => Netmask::Prefix(width),
            Some((text, at)) => {
                match (key.family(), text.parse::<Ipv4Addr>(), text.parse::<u8>()) {
                    (Family::V4, Ok(mask), _) => Netmask::v4(mask),
                    (Family::V6, _, Ok(prefix @ 1..=128)) => Netmask::Prefix(prefix),
                    _ => {
                        let what = format!("{}: persistence_granularity {text}", key.shown());
                        let why = format!("it is no netmask of {}", key.family());
                        draft.notes.add(*at, what, why, format!("it is `prefix: {width}` now"));
                        Netmask::Prefix(width)
                    }
                }
            }
        };
        Some(Persistence { timeout_s, mask, engine: settings.engine })
    }
}

/// Whether a group's name can be a service's: no default name looks like it.
fn is_name(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=60).contains(&text.len()) && text.chars().all(fine)
}
