//! `director explain` as JSON.

use dataplane::explain::{Because, Explanation, Fate, reply_sentence};
use dataplane::snapshot::Identity;
use serde_json::{Value, json};

/// An explanation as JSON.
pub fn explanation(story: &Explanation) -> Value {
    let fate = match &story.fate {
        Fate::Host(sentence) | Fate::Not(sentence) => {
            json!({ "real_server": null, "verdict": sentence })
        }
        Fate::Reply { from } => json!({
            "real_server": null,
            "verdict": reply_sentence(from.as_ref()),
            "from": from.map(|from| json!({
                "vip": from.address.to_string(), "vip_port": from.port,
            })),
        }),
        Fate::Kernel { port } => json!({
            "real_server": null,
            "verdict": "no service takes it: handed to the kernel",
            "port": &**port,
        }),
        Fate::Real { address, forwarding, mac, port, because, .. } => json!({
            "real_server": address.to_string(),
            "forwarding": forwarding,
            "mac": mac.map(|mac| mac.to_string()),
            "port": port.as_deref(),
            "because": match because {
                Because::Connection { state, expires_s } => {
                    json!({ "connection": { "state": state, "expires_s": expires_s } })
                }
                Because::Template { expires_s, connections } => {
                    json!({ "template": { "expires_s": expires_s, "connections": connections } })
                }
                Because::Error { state } => json!({ "error_about": { "state": state } }),
                Because::Fragment => json!({ "fragment": true }),
                Because::Pin => json!({ "pin": true }),
                Because::Scheduler(name) => json!({ "scheduler": name }),
            },
        }),
    };
    let mark = match story.service {
        Some((_, Identity::Mark { mark, .. })) => Some(mark.0.get()),
        _ => None,
    };
    json!({
        "generation": story.generation,
        "core": story.core,
        "service": story.service.as_ref().map(|(name, _)| name.to_string()),
        "mark": mark,
        "fate": fate,
    })
}
