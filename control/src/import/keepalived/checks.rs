//! Health checks and notifications of real servers: Director does neither. What several real
//! servers of a service have alike is noted once.

use std::collections::HashMap;

use super::super::draft::{Draft, Origin};

/// Who does what keepalived did.
pub(super) const CHECKER: &str =
    "let ldirectord check them: it drives Director through its ipvsadm command";

/// What the real servers of a service had checked.
#[derive(Default)]
pub(super) struct Checks {
    all: Vec<Check>,
    /// Where in `all` a text is.
    places: HashMap<String, usize>,
}

struct Check {
    why: &'static str,
    /// The real servers that have it, and where it stands.
    of: Vec<(Origin, String)>,
}

impl Checks {
    /// One more, of a real server.
    pub(super) fn add(&mut self, at: Origin, server: String, shown: String, why: &'static str) {
        let place = *self.places.entry(shown).or_insert(self.all.len());
        match self.all.get_mut(place) {
            Some(check) => check.of.push((at, server)),
            None => self.all.push(Check { why, of: vec![(at, server)] }),
        }
    }

    /// Notes them, under the service's name.
    pub(super) fn note(self, service: &str, draft: &mut Draft) {
        let mut shown: Vec<(String, usize)> = self.places.into_iter().collect();
        shown.sort_unstable_by_key(|(_, place)| *place);
        for (Check { why, of }, (shown, _)) in self.all.into_iter().zip(shown) {
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
