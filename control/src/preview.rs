//! Whom a change would move: live clients by service and real server, before it is made.

use std::fmt;

use dataplane::catalog::spec::{Farm, RealSpec};
use dataplane::load::LoadBoard;
use dataplane::snapshot::{
    Identity, OnDown, OnDrain, Real, RealState, Service, Snapshot, Tracking,
};
use serde::Serialize;

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
    /// Open connections to it that would not go on; those that go on are not counted.
    pub connections: u64,
    /// Why, and what becomes of them.
    pub why: String,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, real_server, clients, connections, why } = self;
        write!(f, "service {service}: {clients} client(s)")?;
        if let Some(real) = real_server {
            write!(f, " of {real}")?;
        }
        write!(f, " would move: {why}")?;
        match connections {
            0 => Ok(()),
            some => write!(f, "; {some} open connection(s) would not go on"),
        }
    }
}

/// Everybody who would move if the services became these. A change that moves nobody, such
/// as another weight or one more real server, is not in it.
pub fn moves(snapshot: &Snapshot, loads: &LoadBoard, wanted: &[Farm]) -> Vec<Move> {
    let by_identity: std::collections::HashMap<Identity, &Farm> =
        wanted.iter().map(|farm| (farm.service.identity, farm)).collect();
    let mut moves = Vec::new();
    for service in snapshot.services.iter().flatten() {
        let before = moves.len();
        match by_identity.get(&service.identity) {
            None => moves.push(of_all(service, snapshot, loads, gone(service, wanted), true)),
            Some(farm) => match unbinding(service, farm) {
                Some(why) => moves.push(of_all(service, snapshot, loads, why, false)),
                None => of_reals(service, farm, snapshot, loads, &mut moves),
            },
        }
        let counts = |one: &Move| one.clients > 0 || one.connections > 0;
        let kept: Vec<Move> = moves.drain(before..).filter(counts).collect();
        moves.extend(kept);
    }
    moves
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
    Move { service, real_server: None, clients, connections, why }
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
