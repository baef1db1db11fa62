//! The names of SIP calls: a template's key is a hash of client and Call-ID, the cores tell
//! once whose it is, and listings ask here.

use std::collections::{HashMap, HashSet};

use dataplane::shared::Shared;
use dataplane::snapshot::Engine;
use dataplane::table::Cursor;
use dataplane::tick::Tick;
use dataplane::wire::Addr;

use crate::listing::{ConnectionRow, EngineData};

/// Templates looked at in one go.
const PAGE: usize = 4096;

/// The calls that have been told of.
#[derive(Debug, Default)]
pub struct Calls {
    /// By the address that a listing would show for the key.
    known: HashMap<Addr, (Addr, Box<str>)>,
    /// How many were known after the last look at the templates.
    kept: usize,
}

impl Calls {
    /// Takes what the cores have to tell. Where nine of ten calls may be over, those are
    /// forgotten.
    pub fn hear(&mut self, shared: &Shared, now: Tick) {
        for mailbox in &shared.mailboxes {
            while let Some(call) = mailbox.calls.pop() {
                let name = String::from_utf8_lossy(call.call_id()).into();
                self.known.insert(call.key.address().into(), (call.client, name));
            }
        }
        if self.known.len() > 1_000 + 10 * self.kept {
            self.forget(shared, now);
        }
    }

    /// Forgets the calls whose templates are over.
    fn forget(&mut self, shared: &Shared, now: Tick) {
        let mut live: HashSet<Addr> = HashSet::new();
        for shard in 0..shared.cores() {
            let mut from = Some(Cursor::default());
            while let Some(at) = from {
                from = shared.templates.iterate(shard as u32, at, now, PAGE, |key, _| {
                    let address = key.client.address().into();
                    if self.known.contains_key(&address) {
                        live.insert(address);
                    }
                });
            }
        }
        self.known.retain(|address, _| live.contains(address));
        self.kept = self.known.len();
    }

    /// Gives the templates of calls their client and their Call-ID.
    pub fn name(&self, rows: &mut [ConnectionRow]) {
        for row in rows.iter_mut().filter(|row| row.template) {
            if let Some((client, call_id)) = self.known.get(&row.client.address) {
                row.client.address = *client;
                let (name, data) = (Engine::Sip.name().into(), call_id.to_string());
                row.engine = Some(EngineData { name, data });
            }
        }
    }
}
