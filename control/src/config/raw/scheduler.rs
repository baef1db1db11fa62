//! `scheduler` of a service as written.

use crate::config::fields::{Fields, Given, word};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{HashFlags, Scheduler};
use crate::config::path::Path;
use crate::config::scalar;
use crate::config::tree::Value;

const PLAIN: HashFlags = HashFlags { fallback: false, port: false };

const SCHEDULERS: &[(&str, Scheduler)] = &[
    ("rr", Scheduler::Rr),
    ("wrr", Scheduler::Wrr),
    ("lc", Scheduler::Lc),
    ("wlc", Scheduler::Wlc),
    ("lblc", Scheduler::Lblc),
    ("lblcr", Scheduler::Lblcr),
    ("dh", Scheduler::Dh),
    ("sh", Scheduler::Sh(PLAIN)),
    ("mh", Scheduler::Mh(PLAIN)),
    ("sed", Scheduler::Sed),
    ("nq", Scheduler::Nq),
    ("fo", Scheduler::Fo),
    ("ovf", Scheduler::Ovf),
    ("twos", Scheduler::Twos),
    ("none", Scheduler::None),
];

/// `wlc`, or `{name: sh, fallback: true, port: true}`.
pub(super) fn scheduler(
    fields: &Fields<'_, '_>,
    service: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Scheduler> {
    let node = match fields.find("scheduler") {
        Given::Absent => return Given::Absent,
        Given::Bad => return Given::Bad,
        Given::Good(node) => node,
    };
    let path = service.key("scheduler");
    let Value::Map(_) = &node.value else { return word(node, &path, findings, SCHEDULERS) };
    let Some(fields) = Fields::open(node, &path, &keys::SCHEDULER, findings) else {
        return Given::Bad;
    };
    fields.require("name", "such as `name: sh`", findings);
    let flags = HashFlags {
        fallback: fields.read("fallback", findings, scalar::boolean).or(false),
        port: fields.read("port", findings, scalar::boolean).or(false),
    };
    let Given::Good(scheduler) = fields.word("name", findings, SCHEDULERS) else {
        return Given::Bad;
    };
    Given::Good(match scheduler {
        Scheduler::Sh(_) => Scheduler::Sh(flags),
        Scheduler::Mh(_) => Scheduler::Mh(flags),
        other => {
            for key in ["fallback", "port"] {
                let why = format!("has no meaning for the scheduler `{}`", other.name());
                fields.pointless(key, &why, "only `sh` and `mh` have flags", findings);
            }
            other
        }
    })
}
