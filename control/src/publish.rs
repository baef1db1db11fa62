//! Hands snapshots to the cores and frees the ones that they have done with.

use std::sync::Arc;

use dataplane::ids::Generation;
use dataplane::shared::Shared;
use dataplane::snapshot::Snapshot;

/// Offers a snapshot to every core. One that a core has not taken yet is replaced: only
/// the newest counts.
pub fn publish(shared: &Shared, snapshot: &Arc<Snapshot>) {
    for mailbox in &shared.mailboxes {
        drop(mailbox.snapshots.force_push(Arc::clone(snapshot)));
    }
}

/// Frees what the cores gave back.
pub fn collect(shared: &Shared) {
    for mailbox in &shared.mailboxes {
        while let Some(old) = mailbox.retired.pop() {
            drop(old);
        }
        while let Some(leftover) = mailbox.leftovers.pop() {
            drop(leftover);
        }
    }
}

/// The generation that every core has reached.
pub fn adopted(shared: &Shared) -> Generation {
    let lowest = shared.counters.iter().map(|core| core.generation.get()).min();
    Generation(lowest.unwrap_or(0))
}
