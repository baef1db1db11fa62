//! Orders for the cores to tell what becomes of packets, and what they told.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane::mailbox::{Answer, Query};

use super::{ControlThread, to_json};
use crate::api::Reply;
use crate::trace::Question;
use crate::trace::session::Opened;

impl ControlThread {
    /// Orders it from every core.
    pub(super) fn trace(&mut self, question: &Question) -> Reply {
        let (session, order) = match self.traces.open(question, &self.snapshot) {
            Ok(opened) => opened,
            Err(sentence) => return Reply::refused(sentence + "\n"),
        };
        for core in 0..self.shared.cores() {
            let answer = self.ask(core, Query::Trace(Arc::clone(&order)));
            if !matches!(answer, Some(Answer::Traced(true))) {
                self.traces.close(session);
                return Reply::refused(format!("core {core} did not answer in time\n"));
            }
        }
        let ports = self.snapshot.ports.iter().map(|port| port.name.to_string()).collect();
        to_json(&Opened { session, ports })
    }

    /// What the cores told since the last time.
    pub(super) fn traced(&mut self, session: u64) -> Reply {
        // The cores count nanoseconds from the start on.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let began = now.saturating_sub(self.started.elapsed());
        match self.traces.batch(session, &self.snapshot, began.as_nanos() as u64) {
            Ok(batch) => to_json(&batch),
            Err(sentence) => Reply::refused(sentence),
        }
    }
}
