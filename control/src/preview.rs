//! Whom a change would move: live clients by service and real server, before it is made.

use std::collections::{HashMap, HashSet};
use std::fmt;

use dataplane::catalog::spec::{Farm, RealSpec, Selector};
use dataplane::load::LoadBoard;
use dataplane::snapshot::{
    Identity, OnDown, OnDrain, Real, RealState, Service, Snapshot, Tracking,
};
use dataplane::wire::Protocol;
use serde::Serialize;

use crate::counted::counted;

/// Clients of one service that a change would move, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The service.
    pub service: String,
    /// The real server that they are bound to; `None` for all of the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_server: Option<String>,
    /// Clients with a live binding that would not be used any more.
    pub clients: u64,
    /// Whether fewer may move: it is not known which of the clients it concerns.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_most: bool,
    /// Open connections to it that would not go on; those that go on are not counted.
    pub connections: u64,
    /// Why, and what becomes of them.
    pub why: String,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, real_server, clients, at_most, connections, why } = self;
        let up_to = if *at_most { "up to " } else { "" };
        write!(f, "service {service}: {up_to}{}", counted(*clients, "client"))?;
        if let Some(real) = real_server {
            write!(f, " of {real}")?;
        }
        write!(f, " would move: {why}")?;
        match connections {
            0 => Ok(()),
            some => write!(f, "; {up_to}{} would not go on", counted(*some, "connection")),
        }
    }
}

/// What gives packets to the services of a mark.
#[derive(Clone, Copy, Debug)]
pub struct Selectors<'a> {
    /// Those that there are.
    pub now: &'a [Selector],
    /// Those that there would be.
    pub then: &'a [Selector],
}

/// Everybody who would move if the services became these. A change that moves nobody, such
/// as another weight or one more real server, is not in it.
pub fn moves(
    snapshot: &Snapshot,
    loads: &LoadBoard,
    wanted: &[Farm],
    selectors: Selectors<'_>,
) -> Vec<Move> {
    let mut lost = selectors.lost();
    let by_identity: HashMap<Identity, &Farm> =
        wanted.iter().map(|farm| (farm.service.identity, farm)).collect();
    let mut moves = Vec::new();
    for service in snapshot.services.iter().flatten() {
        let before = moves.len();
        match by_identity.get(&service.identity) {
            None => moves.push(of_all(service, snapshot, loads, gone(service, wanted), true)),
            Some(farm) => match unbinding(service, farm) {
                Some(why) => moves.push(of_all(service, snapshot, loads, why, false)),
                None => {
                    of_reals(service, farm, snapshot, loads, &mut moves);
                    if let Some(lost) = lost.remove(&service.identity) {
                        // A connection that is remembered by itself goes on.
                        let each = service.tracking == Tracking::Client;
                        let all = of_all(service, snapshot, loads, unselected(&lost), each);
                        moves.push(Move { at_most: true, ..all });
                    }
                }
            },
        }
        let counts = |one: &Move| one.clients > 0 || one.connections > 0;
        let kept: Vec<Move> = moves.drain(before..).filter(counts).collect();
        moves.extend(kept);
    }
    moves
}

/// So many selectors of a file are compared with all others; more are taken as lost.
const COMPARED: usize = 1_000;
/// So many are named.
const NAMED: usize = 3;

impl<'a> Selectors<'a> {
    /// What would not come to its service any more, by service.
    fn lost(self) -> HashMap<Identity, Vec<&'a Selector>> {
        let kept: HashSet<_> = self.then.iter().map(Selector::key).collect();
        let mut lost: HashMap<_, Vec<_>> = HashMap::new();
        let changed = self.now.iter().filter(|one| !kept.contains(&one.key()));
        for (index, one) in changed.enumerate() {
            if index >= COMPARED || !self.then.iter().any(|other| other.covers(one)) {
                lost.entry(one.identity()).or_default().push(one);
            }
        }
        lost
    }
}

/// What is said of selectors that a service would not have any more.
fn unselected(lost: &[&Selector]) -> String {
    let named: Vec<String> = lost.iter().take(NAMED).map(|one| place(one)).collect();
    let more = match lost.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and to {more} more of its selectors"),
    };
    format!(
        "what comes to {}{more} is not the service's any more; which of its clients use that is \
         not known",
        named.join(", ")
    )
}

/// A selector as ipvsadm writes a service: `tcp 198.18.255.1:443`.
fn place(selector: &Selector) -> String {
    let protocol = match selector.protocol {
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Udp) => "udp",
        Some(Protocol::Sctp) => "sctp",
        _ => "any protocol of",
    };
    let vip = match selector.vip {
        vip if vip.is_v4() => vip.to_string(),
        vip => format!("[{vip}]"),
    };
    match (*selector.ports.start(), *selector.ports.end()) {
        (0, u16::MAX) => format!("{protocol} {vip}, all ports"),
        (one, last) if one == last => format!("{protocol} {vip}:{one}"),
        (first, last) => format!("{protocol} {vip}:{first}-{last}"),
    }
}

fn gone(service: &Service, wanted: &[Farm]) -> String {
    match wanted.iter().find(|farm| farm.service.name == service.name) {
        Some(_) => "it is known by another VIP, port or mark, and bindings belong to that".into(),
        None => "it is removed".into(),
    }
}

/// Why no client of the service would find its binding again.
fn unbinding(service: &Service, farm: &Farm) -> Option<&'static str> {
    let old = service.persistence.as_ref()?;
    let Some(new) = &farm.service.persistence else {
        return Some("persistence is switched off; every new connection is scheduled anew");
    };
    if old.mask != new.mask {
        return Some("another netmask makes other clients; they are bound anew");
    }
    if service.engine != farm.service.engine {
        return Some("another persistence engine makes other clients; they are bound anew");
    }
    (service.tracking != farm.service.tracking)
        .then_some("another tracking keeps its bindings elsewhere; they are made anew")
}

fn of_all(
    service: &Service,
    snapshot: &Snapshot,
    loads: &LoadBoard,
    why: impl AsRef<str>,
    with_connections: bool,
) -> Move {
    let (mut clients, mut connections) = (0, 0);
    for member in service.members.iter() {
        let load = loads.sum(member.real);
        clients += load.clients();
        if with_connections && snapshot.real(member.real).is_some() {
            connections += load.active + load.inactive;
        }
    }
    let (service, why) = (service.name.to_string(), why.as_ref().to_owned());
    Move { service, real_server: None, clients, at_most: false, connections, why }
}

fn of_reals(
    service: &Service,
    farm: &Farm,
    snapshot: &Snapshot,
    loads: &LoadBoard,
    moves: &mut Vec<Move>,
) {
    for member in service.members.iter() {
        let Some(real) = snapshot.available(member.real) else { continue };
        let same = |new: &&RealSpec| new.address == real.address && new.port == real.port;
        let new = farm.reals.iter().find(same);
        let Some((why, cut_off)) = of_real(service, farm, real, new) else { continue };
        let load = loads.sum(real.id);
        moves.push(Move {
            service: service.name.to_string(),
            real_server: Some(real.address.to_string()),
            clients: load.clients(),
            at_most: false,
            connections: if cut_off { load.active + load.inactive } else { 0 },
            why: why.to_owned(),
        });
    }
}

/// Why a real server's clients would leave it, and whether its connections end with that.
fn of_real(
    service: &Service,
    farm: &Farm,
    real: &Real,
    new: Option<&RealSpec>,
) -> Option<(&'static str, bool)> {
    let Some(new) = new else {
        return Some(match service.tracking {
            Tracking::Full => {
                ("it is removed; each gets another one with its next connection", true)
            }
            Tracking::Client => ("it is removed; each gets another one with its next packet", true),
        });
    };
    let policy = farm.service.policy;
    let drains = new.state == RealState::Drain && real.state != RealState::Drain;
    if new.state == RealState::Down && real.state != RealState::Down {
        return match policy.on_down {
            OnDown::Rebind => Some(("it goes down; each gets another one at once", true)),
            OnDown::Drop => Some((
                "it goes down; they stay bound and get nothing until it is back (on_down: drop)",
                true,
            )),
            OnDown::Keep => None,
        };
    }
    let by_connection = service.tracking == Tracking::Full;
    if drains && policy.on_drain == OnDrain::NewElsewhere && by_connection {
        return Some(("it drains; each gets another one with its next connection", false));
    }
    let quiesced = new.weight == 0 && real.weight > 0 || drains;
    (quiesced && farm.service.compat.expire_quiescent_template).then_some((
        "its weight becomes 0 (expire_quiescent_template); each gets another one with its next \
         connection",
        false,
    ))
}

/// The moves as an operator reads them before a change.
pub fn told(moves: &[Move]) -> String {
    if moves.is_empty() {
        return "no live client would move\n".to_owned();
    }
    moves.iter().map(|one| format!("! {one}\n")).collect()
}
