//! `persistence` of a service as written.

use std::net::Ipv4Addr;

use crate::config::code::Code;
use crate::config::fields::{Fields, Given, wrong_kind};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::Engine;
use crate::config::path::Path;
use crate::config::scalar;
use crate::config::tree::Value;

use super::section::MAX_TIMEOUT_S;

/// `persistence:` as written; the prefix has yet to be held against the family.
#[derive(Clone, Copy)]
pub(in crate::config) struct Persistence {
    pub(in crate::config) timeout_s: Given<u32>,
    pub(in crate::config) prefix: Given<u8>,
    pub(in crate::config) netmask: Given<Ipv4Addr>,
    pub(in crate::config) engine: Given<Engine>,
}

impl Persistence {
    fn plain() -> Self {
        Self {
            timeout_s: Given::Absent,
            prefix: Given::Absent,
            netmask: Given::Absent,
            engine: Given::Absent,
        }
    }
}

/// `true`, a time, or `{timeout: 360, netmask: 255.255.255.0, engine: sip}`.
pub(super) fn persistence(
    fields: &Fields<'_, '_>,
    service: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Option<Persistence>> {
    let node = match fields.find("persistence") {
        Given::Absent => return Given::Absent,
        Given::Bad => return Given::Bad,
        Given::Good(node) => node,
    };
    let path = service.key("persistence");
    let timeout = |text: &str| scalar::seconds(text, 1..=MAX_TIMEOUT_S);
    match &node.value {
        Value::List(_) | Value::Unknown => {
            wrong_kind(node, &path, "keys and values", findings);
            Given::Bad
        }
        Value::Plain(text) | Value::Quoted(text) if !node.is_null() => {
            match scalar::boolean(text) {
                Ok(true) => Given::Good(Some(Persistence::plain())),
                Ok(false) => Given::Good(None),
                Err(_) => match fields.read("persistence", findings, timeout) {
                    Given::Good(timeout_s) => Given::Good(Some(Persistence {
                        timeout_s: Given::Good(timeout_s),
                        ..Persistence::plain()
                    })),
                    Given::Absent | Given::Bad => Given::Bad,
                },
            }
        }
        Value::Plain(_) | Value::Quoted(_) | Value::Map(_) => {
            let Some(fields) = Fields::open(node, &path, &keys::PERSISTENCE, findings) else {
                return Given::Bad;
            };
            if fields.has("netmask") && fields.has("prefix") {
                let what = "`netmask` and `prefix` exclude each other".to_owned();
                findings.key(Code::Conflict, &path.key("netmask"), what, "keep one of them");
            }
            Given::Good(Some(Persistence {
                timeout_s: fields.read("timeout", findings, timeout),
                prefix: fields.read("prefix", findings, |text| scalar::fitting(text, 1..=128)),
                netmask: fields.read("netmask", findings, scalar::netmask),
                engine: fields.word("engine", findings, &[("sip", Engine::Sip)]),
            }))
        }
    }
}
