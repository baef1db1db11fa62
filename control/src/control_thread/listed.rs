//! Connections, templates and clients as `ipvsadm -lnc` lists them, a page at a time: nobody
//! waits for more than a page, and no more than a page is kept, however many there are.

use std::collections::HashMap;

use dataplane::bindings::service_of;
use dataplane::ids::ScopeId;
use dataplane::snapshot::Identity;
use dataplane::table::Cursor;
use dataplane::tick::Tick;
use serde_json::{Value, json};

use super::ControlThread;
use super::bindings::{BUCKETS, ROWS, STEP};
use crate::api::Reply;
use crate::listing::{self, ConnectionRow, gather};
use crate::page::{Form, Part, Place};

/// Rows that a list may have which is not asked for in pages.
const MOST: usize = 1 << 16;

impl ControlThread {
    /// One page of the list.
    pub(super) fn listed(&self, from: Place, form: Form) -> Reply {
        let mut rows = Vec::new();
        let next = match self.list_from(from, &mut rows) {
            Ok(next) => next,
            Err(sentence) => return Reply::refused(sentence),
        };
        let written = |row: &ConnectionRow| match form {
            Form::Json => json!(row),
            Form::Lines => listing::connection(row, false).into(),
            Form::LinesWithCalls => listing::connection(row, true).into(),
        };
        let rows: Vec<Value> = rows.iter().map(written).collect();
        Reply::done(json!({ "rows": rows, "next": next }).to_string())
    }

    /// The whole list, for a script of ipvsadm's commands that has it in between.
    pub(super) fn list_whole(&self) -> Result<Vec<ConnectionRow>, String> {
        let mut rows = Vec::new();
        let mut from = Some(Place::start(Part::Connections));
        while let Some(at) = from {
            from = self.list_from(at, &mut rows)?;
            if rows.len() > MOST {
                return Err(format!(
                    "there are more than {MOST} connections; 'ipvsadm -lnc' lists them as they come\n"
                ));
            }
        }
        Ok(rows)
    }

    /// Adds a page of rows and says where the next one begins: connections, then templates,
    /// then the clients of services under `tracking: client`.
    fn list_from(
        &self,
        from: Place,
        rows: &mut Vec<ConnectionRow>,
    ) -> Result<Option<Place>, String> {
        let before = rows.len();
        let next = match from.part {
            Part::Connections => {
                let page = self.connections_from(from)?;
                rows.extend(page.conns.iter().filter_map(|(flow, conn)| {
                    gather::connection(
                        flow,
                        conn,
                        &self.snapshot,
                        &self.shared.agreements,
                        page.now,
                    )
                }));
                page.next.or(Some(Place::start(Part::Templates)))
            }
            Part::Templates => self.list_templates(from, rows),
            Part::Clients => self.list_clients(from, rows),
        };
        self.calls.name(rows.get_mut(before..).unwrap_or_default());
        Ok(next)
    }

    fn list_templates(&self, from: Place, rows: &mut Vec<ConnectionRow>) -> Option<Place> {
        let scopes: HashMap<ScopeId, Identity> = self.catalog.scopes().collect();
        let now = Tick::after(self.started.elapsed());
        self.list_steps(from, rows, |cursor, rows| {
            let templates = &self.shared.templates;
            templates.iterate(from.core, cursor, now, STEP, |key, view| {
                let scope = scopes.get(&key.scope);
                let row = |scope| gather::template(key, &view, scope, &self.snapshot, now);
                rows.extend(scope.and_then(row));
            })
        })
    }

    fn list_clients(&self, from: Place, rows: &mut Vec<ConnectionRow>) -> Option<Place> {
        let counters = self.shared.counters.get(from.core as usize);
        let age_now = counters.map_or(0, |counters| counters.client_age.get()) as u8;
        self.list_steps(from, rows, |cursor, rows| {
            self.shared.clients.iterate(from.core, cursor, STEP, |scope, client, number, age| {
                let idle_s = u32::from(age_now.wrapping_sub(age)) * self.shared.age_unit_s;
                let service = service_of(scope);
                rows.extend(gather::client(service, client, number, idle_s, &self.snapshot));
            })
        })
    }

    /// Steps through one core's share of a table until a page is full or its time is over.
    fn list_steps(
        &self,
        from: Place,
        rows: &mut Vec<ConnectionRow>,
        mut step: impl FnMut(Cursor, &mut Vec<ConnectionRow>) -> Option<Cursor>,
    ) -> Option<Place> {
        let full = rows.len() + ROWS;
        let mut cursor = Cursor::at(from.cursor);
        for _ in 0..BUCKETS / STEP {
            match step(cursor, rows) {
                Some(next) => cursor = next,
                None => return self.next_shard(from),
            }
            if rows.len() >= full {
                break;
            }
        }
        Some(Place { cursor: cursor.parts(), ..from })
    }
}
