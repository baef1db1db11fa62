//! The control thread's side: orders that run, and the records that they brought.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::snapshot::Snapshot;
use dataplane::trace::{MOST_ORDERS, Order, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Question, hex, verdict};
use crate::service_name;
use crate::{status, story};

/// Who has not asked for so long is gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Records in an answer, at the most.
const BATCH: usize = 512;
/// Bytes of frames in an answer, about.
const BATCH_BYTES: usize = 1 << 20;

/// The answer to a question: how to ask for more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// The session's number.
    pub session: u64,
    /// The ports' names, in their order.
    pub ports: Vec<String>,
}

/// Some records.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The records, as JSON, the oldest first.
    pub records: Vec<Value>,
    /// Frames that fitted and were not looked at, so far.
    pub passed_by: u64,
    /// Records that were lost because nobody fetched them in time, so far.
    pub lost: u64,
}

/// A session.
struct Session {
    id: u64,
    order: Arc<Order>,
    asked: Instant,
}

/// All sessions. They end when their client says so or asks no more.
#[derive(Default)]
pub struct Sessions {
    next: u64,
    list: Vec<Session>,
}

impl Sessions {
    /// Begins one: its number, and the order for the cores.
    ///
    /// # Errors
    /// A sentence: the question cannot be read, or there are too many.
    pub fn open(
        &mut self,
        question: &Question,
        snapshot: &Snapshot,
    ) -> Result<(u64, Arc<Order>), String> {
        self.forget();
        if self.list.len() >= MOST_ORDERS {
            return Err(format!("{MOST_ORDERS} traces run already; end one of them first"));
        }
        let mut filter = question.filter()?;
        if let Some(wanted) = &filter.service {
            let services = snapshot.services.iter().flatten();
            let service =
                service_name::meant(wanted, services, |one| &*one.name, |one| one.identity)
                    .map_err(|sentence| sentence.trim_end().to_owned())?;
            filter.service = Some(Arc::clone(&service.name));
        }
        let snaplen = question.snaplen.min(super::MOST_SNAPLEN) as usize;
        let order = Order::new(filter, snaplen, question.rate.clamp(1, super::MOST_RATE));
        self.next += 1;
        let session = Session { id: self.next, order: Arc::clone(&order), asked: Instant::now() };
        self.list.push(session);
        Ok((self.next, order))
    }

    /// The records since the last time. `unix_ns` is the moment at which the cores' clock began.
    ///
    /// # Errors
    /// A sentence: the session is over.
    pub fn batch(&mut self, id: u64, snapshot: &Snapshot, unix_ns: u64) -> Result<Batch, String> {
        self.forget();
        let session = self.list.iter_mut().find(|session| session.id == id);
        let session =
            session.ok_or("the trace has ended, because nobody asked for its records\n")?;
        session.asked = Instant::now();
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < BATCH
            && bytes < BATCH_BYTES
            && let Some(record) = session.order.pop()
        {
            bytes += record.frame.len();
            records.push(record);
        }
        // Every core's come in order; several cores' are put together.
        records.sort_by_key(|record| record.at_ns);
        Ok(Batch {
            records: records.iter().map(|record| told(record, snapshot, unix_ns)).collect(),
            passed_by: session.order.passed_by(),
            lost: session.order.lost(),
        })
    }

    /// Ends one.
    pub fn close(&mut self, id: u64) {
        self.list.retain(|session| {
            let over = session.id == id;
            if over {
                session.order.end();
            }
            !over
        });
    }

    /// Ends those that nobody asks about any more.
    pub fn forget(&mut self) {
        self.list.retain(|session| {
            let over = session.asked.elapsed() > PATIENCE;
            if over {
                session.order.end();
            }
            !over
        });
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.list.iter().for_each(|session| session.order.end());
    }
}

fn told(record: &Record, snapshot: &Snapshot, unix_ns: u64) -> Value {
    let mut value = status::explanation(&record.story);
    let port = snapshot.port(record.port).map(|port| port.name.to_string());
    if let Value::Object(fields) = &mut value {
        fields.insert("at_unix_ns".into(), json!(unix_ns.saturating_add(record.at_ns)));
        fields.insert("port".into(), json!(port));
        fields.insert("packet".into(), json!(story::packet(&record.parsed)));
        fields.insert("verdict".into(), json!(verdict(record.outcome)));
        fields.insert("decision".into(), json!(story::decision(&record.story)));
        fields.insert("length".into(), json!(record.length));
        if !record.frame.is_empty() {
            fields.insert("frame".into(), json!(hex::write(&record.frame)));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use dataplane::catalog::Catalog;
    use dataplane::catalog::spec::Site;
    use dataplane::shared::{HashKey, Shared, TableSizes};
    use dataplane::timer::TimerRule;

    use super::*;

    fn snapshot() -> Arc<Snapshot> {
        let (shared, _) = Shared::new(1, TableSizes::default(), TimerRule::Exact, HashKey([1, 2]));
        Catalog::new(shared, Site::default()).snapshot()
    }

    #[test]
    fn sessions_are_few_and_those_that_are_over_make_room() {
        let snapshot = snapshot();
        let mut sessions = Sessions::default();
        let question = Question { rate: 10, ..Question::default() };
        let open = |sessions: &mut Sessions| sessions.open(&question, &snapshot).map(|(id, _)| id);
        let ids: Vec<u64> = (0..MOST_ORDERS).map(|_| open(&mut sessions).unwrap()).collect();
        assert!(open(&mut sessions).unwrap_err().contains("traces run already"));
        sessions.close(ids[1]);
        let another = open(&mut sessions).unwrap();
        assert!(!ids.contains(&another));
        assert!(sessions.batch(another, &snapshot, 0).unwrap().records.is_empty());
        let over = sessions.batch(ids[1], &snapshot, 0).unwrap_err();
        assert!(over.contains("has ended"), "{over}");
    }

    #[test]
    fn a_service_that_there_is_not_is_said() {
        let question = Question { service: Some("nope".into()), ..Question::default() };
        let error = Sessions::default().open(&question, &snapshot()).unwrap_err();
        assert!(error.contains("there is no service 'nope'"), "{error}");
    }
}
