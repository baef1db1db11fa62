//! Health checks and notifications of real servers: Director does neither. What several real
//! servers of a service have alike is noted once.

use super::super::draft::{Draft, Origin};

/// Who does what keepalived did.
pub(super) const CHECKER: &str =
    "let ldirectord check them: it drives Director through its ipvsadm command";

/// What the real servers of a service had checked.
#[derive(Default)]
pub(super) struct Checks {
    all: Vec<Check>,
}

struct Check {
    /// Its text.
    shown: String,
    why: &'static str,
    /// The real servers that have it, and where it stands.
    of: Vec<(Origin, String)>,
}

impl Checks {
    /// One more, of a real server.
    pub(super) fn add(&mut self, at: Origin, server: String, shown: String, why: &'static str) {
        match self.all.iter_mut().find(|check| check.shown == shown) {
            Some(check) => check.of.push((at, server)),
            None => self.all.push(Check { shown, why, of: vec![(at, server)] }),
        }
    }

    /// Notes them, under the service's name.
    pub(super) fn note(self, service: &str, draft: &mut Draft) {
        for Check { shown, why, of } in self.all {
            let Some(((at, first), more)) = of.split_first() else { continue };
            let lines: Vec<String> = more.iter().map(|(at, _)| at.line().to_string()).collect();
            let others = match lines.len() {
                0 => String::new(),
                1 => format!(", and of one more in line {}", lines.concat()),
                count => format!(", and of {count} more in lines {}", lines.join(", ")),
            };
            draft.notes.add(*at, format!("{service}: {first}: {shown}{others}"), why, CHECKER);
        }
    }
}
