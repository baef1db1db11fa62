//! Bindings that an operator ends or moves: found by the control thread, a page at a time, and
//! changed by a core, a few between two bursts.

use std::collections::HashMap;

use dataplane::bindings::{Rebind, Rebound};
use dataplane::ids::RealId;
use dataplane::mailbox::{Answer, Query, REBINDS};
use dataplane::snapshot::{OnDown, OnDrain, Policy, Real, RealState, Service};
use dataplane::tick::Tick;
use serde_json::{Value, json};

use super::{ControlThread, to_json};
use crate::api::Reply;
use crate::page::{Network, Page};
use crate::server_name::ServerName;

/// What becomes of the open connections of a binding that ends or moves. They stay with the real
/// server that they have, and so it depends on how that one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They go on.
    GoOn,
    /// With the next packet TCP is reset, and UDP gets another real server.
    End,
    /// Their packets are dropped.
    Dropped,
}

impl ControlThread {
    /// Ends or moves the bindings of one page.
    pub(super) fn rebind(&mut self, page: &Page, to: Option<&ServerName>) -> Reply {
        let wanted = match self.wanted(&page.filter) {
            Ok(wanted) => wanted,
            Err(sentence) => return Reply::refused(sentence),
        };
        let (mut rebinds, mut pinned, mut unfit) = (Vec::new(), 0, 0);
        let now = Tick::after(self.started.elapsed());
        // A single client, whose pin counts also where a binding is its whole network's.
        let is_one = |client: &Network| client.length == Network::from(client.address).length;
        let one = page.filter.client.filter(is_one).map(|client| client.address);
        let mut meant = HashMap::new();
        let next = self.walk(page.from, &wanted, &mut |found| {
            let to = to.map(|to| {
                let meant = meant.entry(found.service.id);
                *meant.or_insert_with(|| self.real_named(found.service, to))
            });
            // A service that has no such real server keeps its clients.
            if to.flatten().is_some_and(|to| self.sends_away(found.service, to, now)) {
                unfit += 1;
            } else if to != Some(None) {
                let pin = found.service.pins.of(one.unwrap_or(found.client.address()).into());
                pinned += u64::from(pin.is_some_and(|pin| Some(pin) != to.flatten()));
                let fate = fate(found.service, found.real, now);
                rebinds.push((fate, Rebind { key: found.key, to: to.flatten(), make: false }));
            }
        });
        let mut done = [(Fate::GoOn, Rebound::default()); 3];
        for (of, fate) in done.iter_mut().zip([Fate::GoOn, Fate::End, Fate::Dropped]) {
            let some = rebinds.iter().filter(|(one, _)| *one == fate).map(|(_, rebind)| *rebind);
            *of = match self.rebind_all(&some.collect::<Vec<_>>()) {
                Ok(done) => (fate, done),
                Err(sentence) => return Reply::refused(sentence),
            };
        }
        to_json(&json!({
            "done": counts(&done), "pinned": pinned, "unfit": unfit, "next": next
        }))
    }

    /// Has the first core change these bindings.
    fn rebind_all(&self, rebinds: &[Rebind]) -> Result<Rebound, String> {
        let mut all = Rebound::default();
        for some in rebinds.chunks(REBINDS) {
            match self.ask(0, Query::Rebind(some.to_vec())) {
                Some(Answer::Rebound(done)) => all += done,
                _ => {
                    let sentence = "core 0 did not answer in time; a part of it may have been \
                                    done: 'director clients' shows who is bound where\n";
                    return Err(sentence.to_owned());
                }
            }
        }
        Ok(all)
    }

    /// Whether a client that is bound to a real server is given another one at its next
    /// connection.
    fn sends_away(&self, service: &Service, real: RealId, now: Tick) -> bool {
        let Some(real) = self.snapshot.real(real) else { return false };
        let Policy { on_drain, on_down } = service.policy;
        match real.state {
            _ if real.is_down(now) => on_down == OnDown::Rebind,
            RealState::Drain => on_drain == OnDrain::NewElsewhere,
            RealState::Up | RealState::Down => false,
        }
    }

    /// The real server of a service that goes by this name.
    fn real_named(&self, service: &Service, server: &ServerName) -> Option<RealId> {
        let names = self.names_of(&service.identity);
        let mut reals = service.members.iter().filter_map(|one| self.snapshot.available(one.real));
        reals.find(|real| names.mean(server, real.address, real.port)).map(|real| real.id)
    }
}

/// What a real server's connections may expect, by the same rules as packets meet them.
fn fate(service: &Service, real: &Real, now: Tick) -> Fate {
    match (real.available, real.is_down(now), service.policy.on_down) {
        (false, ..) if service.compat.expire_nodest_conn => Fate::End,
        (false, ..) | (true, true, OnDown::Drop) => Fate::Dropped,
        (true, true, OnDown::Rebind) => Fate::End,
        (true, false, _) | (true, true, OnDown::Keep) => Fate::GoOn,
    }
}

/// All of them together, and their connections by what becomes of those.
fn counts(done: &[(Fate, Rebound)]) -> Value {
    let mut all = Rebound::default();
    for (_, done) in done {
        all += *done;
    }
    let of = |fate| {
        let some = done.iter().filter(|(one, _)| *one == fate);
        some.map(|(_, done)| done.connections).sum::<u64>()
    };
    json!({
        "found": all.found,
        "changed": all.changed,
        "made": all.made,
        "full": all.full,
        "connections": of(Fate::GoOn),
        "ending": of(Fate::End),
        "dropped": of(Fate::Dropped),
    })
}
