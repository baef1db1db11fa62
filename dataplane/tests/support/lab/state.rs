//! The laboratory's state in words, for failing tests.

use std::fmt::Write;

use dataplane::ids::RealId;
use dataplane::table;
use dataplane::verdict::DropReason;

use super::Lab;
use super::command::identity;
use super::place::real_address;

impl Lab {
    /// The id of a service's real server: `lab.real_id("-t V:80", 3)`.
    pub fn real_id(&self, service: &str, real: u16) -> RealId {
        let identity = identity(service);
        let v6 = identity.family() == dataplane::wire::Family::V6;
        let address = real_address(real, v6).unwrap();
        let snapshot = self.workers[0].director().snapshot();
        snapshot
            .reals
            .iter()
            .flatten()
            .find(|real| {
                let service = snapshot.service(real.service);
                real.address == address
                    && service.is_some_and(|service| service.identity == identity)
            })
            .unwrap_or_else(|| panic!("{service} has no R{real}"))
            .id
    }

    /// Templates: client, real server's address, seconds left, connections, and marks
    /// (E extended, A assured, I invalid), sorted.
    pub fn templates(&self) -> Vec<String> {
        let snapshot = self.workers[0].director().snapshot();
        let mut list = Vec::new();
        for shard in 0..self.workers.len() as u32 {
            let mut at = Some(table::Cursor::default());
            while let Some(from) = at {
                at = self.shared.templates.iterate(shard, from, self.now, 64, |key, view| {
                    let real = snapshot.real(view.real).map(|real| real.address.to_string());
                    let marks = [(view.extended, 'E'), (view.assured, 'A'), (view.invalid, 'I')];
                    let marks: String =
                        marks.iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect();
                    let left = self.now.until(view.expires) / 250;
                    list.push(format!(
                        "{} -> {} {left} s, {} connections {marks}",
                        key.client.address(),
                        real.unwrap_or_default(),
                        view.connections,
                    ));
                });
            }
        }
        list.sort();
        list
    }
}

/// Everything that a reader of a failed test wants to know.
pub fn print(lab: &Lab) -> String {
    let mut text = format!("--- the laboratory at {:?}\n", lab.now);
    for line in &lab.log {
        let _ = writeln!(text, "{line}");
    }
    let Some(worker) = lab.workers.first() else { return text };
    let snapshot = worker.director().snapshot();
    for service in snapshot.sorted_services() {
        let _ = writeln!(text, "service {}", service.name);
        for member in service.members.iter() {
            if let Some(real) = snapshot.real(member.real) {
                let load = lab.shared.loads.sum(real.id);
                let over = if lab.shared.loads.is_overloaded(real.id) { " OVERLOAD" } else { "" };
                let _ = writeln!(
                    text,
                    "  -> {} weight {} active {} inactive {} bound {}{over}",
                    real.address, real.weight, load.active, load.inactive, load.bound
                );
            }
        }
    }
    for (core, worker) in lab.workers.iter().enumerate() {
        for (flow, conn) in worker.director().bindings().iter().take(20) {
            let _ = writeln!(
                text,
                "core {core}: {} port {} > {} port {} {} {:?} {} ticks left",
                flow.client,
                flow.client_port,
                flow.vip,
                flow.vip_port,
                conn.state.word(),
                conn.real,
                lab.now.until(conn.expires)
            );
        }
    }
    for template in lab.templates().iter().take(20) {
        let _ = writeln!(text, "template {template}");
    }
    let totals = lab.totals();
    for reason in DropReason::ALL {
        let count = totals.dropped_for(*reason);
        if count > 0 {
            let _ = writeln!(text, "dropped {count}: {}", reason.sentence());
        }
    }
    text
}
