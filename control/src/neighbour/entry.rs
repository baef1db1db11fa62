//! One neighbour: how far the director is with it, and what it believes about it.
//!
//! Only an answer to a question of ours is believed. Everything else that is heard can at
//! most make the director ask.

use std::fmt;

use dataplane::ids::{NeighbourId, PortIndex};
use dataplane::mailbox::Heard;
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;

use super::settings::Settings;

/// A time that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// Unicast questions before an address is looked for by broadcast (RFC 4861, 10:
/// `MAX_UNICAST_SOLICIT`).
const PROBES: u8 = 3;
/// The same where somebody else claims the address: a real server that has moved to another
/// NIC is to be found soon.
const DISPUTE_PROBES: u8 = 2;
/// An answer that takes longer than this is not believed.
const ANSWER_MS: u64 = 3_000;
/// First pause after a neighbour was given up; doubles with every question.
const FIRST_PAUSE_MS: u64 = 1_000;
/// Longest pause between questions to a neighbour that was given up.
const LAST_PAUSE_MS: u64 = 60_000;
/// The same while packets wait for a configured next hop.
const WANTED_PAUSE_MS: u64 = 5_000;
/// A neighbour is asked again when this share of its time is over, ...
const REFRESH_PERCENT: u64 = 80;
/// ... or up to this much earlier, so that many do not fall due at once.
const SPREAD_PERCENT: u64 = 10;

/// What is known of a neighbour, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Asked for by broadcast, and not yet answered.
    Asking,
    /// It answered lately.
    Reachable,
    /// It answered, and is being asked again by unicast.
    Probing,
    /// It does not answer.
    Failed,
    /// The configuration gives its MAC address.
    Pinned,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Asking => "asking",
            Self::Reachable => "reachable",
            Self::Probing => "probing",
            Self::Failed => "failed",
            Self::Pinned => "pinned",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The last known MAC address, if there was one, is used until the questions are over:
    /// packets that are sent in vain are lost no more than packets that are not sent.
    Asking {
        asked: u8,
        last: Option<Mac>,
    },
    Reachable {
        mac: Mac,
    },
    Probing {
        mac: Mac,
        asked: u8,
        tries: u8,
    },
    Failed {
        pause_ms: u64,
    },
    Pinned {
        mac: Mac,
    },
}

/// What is to be done for a neighbour whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask: this station, or everybody.
    Ask(Option<Mac>),
    /// It does not answer; this is the MAC address that it had.
    GiveUp(Option<Mac>),
    /// Nobody needs it.
    Forget,
}

/// What a message means for the neighbour that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing new.
    Nothing,
    /// Its MAC address is known now.
    Learned(Mac),
    /// It has another MAC address than before.
    Changed { old: Mac, new: Mac },
    /// Somebody unasked says another MAC address than the known one.
    Disputed { known: Mac, claimed: Mac },
}

/// A neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbour {
    pub(super) id: NeighbourId,
    pub(super) port: PortIndex,
    pub(super) address: Addr,
    /// Whether the configuration names it; it is then kept fresh without traffic.
    pub(super) watched: bool,
    /// When [`Neighbour::step`] is next needed.
    pub(super) due: u64,
    state: State,
    /// Whether packets have waited for it since it was last asked.
    wanted: bool,
    /// When it was last asked.
    asked_at: u64,
    /// Until when an answer is believed; `None` while no question is open.
    open_until: Option<u64>,
    /// Until when claims of others do not make the director ask again.
    quiet_until: u64,
}

impl Neighbour {
    /// A neighbour that nothing is known of, to be asked at once.
    pub(super) fn new(id: NeighbourId, port: PortIndex, address: Addr, now: u64) -> Self {
        Self {
            id,
            port,
            address,
            watched: false,
            due: now,
            state: State::Asking { asked: 0, last: None },
            wanted: false,
            asked_at: 0,
            open_until: None,
            quiet_until: 0,
        }
    }

    /// The MAC address that frames for it get, if any.
    pub(super) fn mac(&self) -> Option<Mac> {
        match self.state {
            State::Asking { last, .. } => last,
            State::Reachable { mac } | State::Probing { mac, .. } | State::Pinned { mac } => {
                Some(mac)
            }
            State::Failed { .. } => None,
        }
    }

    pub(super) fn condition(&self) -> Condition {
        match self.state {
            State::Asking { .. } => Condition::Asking,
            State::Reachable { .. } => Condition::Reachable,
            State::Probing { .. } => Condition::Probing,
            State::Failed { .. } => Condition::Failed,
            State::Pinned { .. } => Condition::Pinned,
        }
    }

    /// Whether a new neighbour may take its place.
    pub(super) fn is_spare(&self) -> bool {
        !self.watched && matches!(self.state, State::Failed { .. })
    }

    /// The configuration names it.
    pub(super) fn watch(&mut self, pinned: Option<Mac>, settings: &Settings, now: u64) {
        self.watched = true;
        match (pinned, self.state) {
            (Some(mac), _) => {
                self.state = State::Pinned { mac };
                self.open_until = None;
                self.due = NEVER;
            }
            (None, State::Pinned { mac }) => {
                self.state = State::Asking { asked: 0, last: Some(mac) };
                self.due = now;
            }
            (None, State::Failed { .. }) => self.due = now,
            (None, State::Reachable { .. }) => {
                self.due = self.due.min(now.saturating_add(self.refresh_ms(settings)));
            }
            (None, State::Asking { .. } | State::Probing { .. }) => {}
        }
    }

    /// A packet waits for it.
    pub(super) fn want(&mut self) {
        self.wanted = true;
        if self.watched && matches!(self.state, State::Failed { .. }) {
            self.due = self.due.min(self.asked_at.saturating_add(WANTED_PAUSE_MS));
        }
    }

    /// It cannot be asked, or does not answer.
    pub(super) fn give_up(&mut self, now: u64) {
        self.state = State::Failed { pause_ms: FIRST_PAUSE_MS };
        self.due = now.saturating_add(FIRST_PAUSE_MS);
    }

    /// Its time has come. Moves `due` into the future, unless the answer is
    /// [`Step::Forget`].
    pub(super) fn step(&mut self, settings: &Settings, now: u64) -> Step {
        match self.state {
            State::Pinned { .. } => {
                self.due = NEVER;
                Step::Ask(None)
            }
            State::Reachable { mac } if self.watched => self.probe(mac, 0, PROBES, settings, now),
            State::Reachable { .. } => Step::Forget,
            State::Probing { mac, asked, tries } if asked < tries => {
                self.probe(mac, asked, tries, settings, now)
            }
            State::Probing { mac, .. } => self.look_for(0, Some(mac), settings, now),
            State::Asking { asked, last } if asked < settings.questions() => {
                self.look_for(asked, last, settings, now)
            }
            State::Asking { last, .. } => {
                self.give_up(now);
                Step::GiveUp(last)
            }
            State::Failed { .. } if !self.watched && !self.wanted => Step::Forget,
            State::Failed { pause_ms } => {
                let pause_ms = pause_ms.saturating_mul(2).min(LAST_PAUSE_MS);
                self.state = State::Failed { pause_ms };
                self.ask(pause_ms, now);
                Step::Ask(None)
            }
        }
    }

    fn probe(&mut self, mac: Mac, asked: u8, tries: u8, settings: &Settings, now: u64) -> Step {
        self.state = State::Probing { mac, asked: asked.saturating_add(1), tries };
        self.ask(settings.pause_ms(), now);
        Step::Ask(Some(mac))
    }

    fn look_for(&mut self, asked: u8, last: Option<Mac>, settings: &Settings, now: u64) -> Step {
        self.state = State::Asking { asked: asked.saturating_add(1), last };
        self.ask(settings.pause_ms(), now);
        Step::Ask(None)
    }

    fn ask(&mut self, pause_ms: u64, now: u64) {
        self.wanted = false;
        self.asked_at = now;
        self.open_until = Some(now.saturating_add(ANSWER_MS));
        self.due = now.saturating_add(pause_ms);
    }

    /// Somebody said that the address has this MAC address, which is one station's and not
    /// ours.
    pub(super) fn hear(&mut self, heard: &Heard, settings: &Settings, now: u64) -> Effect {
        // An answer that we asked for is sent to us alone. (RFC 3927 has broadcast answers,
        // but for link-local IPv4 addresses only.)
        let open = self.open_until.is_some_and(|until| now <= until);
        let answers = heard.reply && heard.unicast && open;
        match self.state {
            State::Pinned { mac } => self.claim(mac, heard.mac),
            State::Reachable { mac } if mac == heard.mac => Effect::Nothing,
            State::Reachable { mac } => {
                let at = now.max(self.quiet_until);
                self.state = State::Probing { mac, asked: 0, tries: DISPUTE_PROBES };
                self.due = at;
                self.quiet_until = at.saturating_add(settings.pause_ms());
                self.claim(mac, heard.mac)
            }
            State::Probing { mac, .. } if mac == heard.mac => {
                if answers {
                    self.reach(mac, settings, now);
                }
                Effect::Nothing
            }
            // Only the known station was asked, so nobody else can answer.
            State::Probing { mac, .. } => self.claim(mac, heard.mac),
            State::Asking { last, .. } if answers => {
                self.reach(heard.mac, settings, now);
                match last {
                    Some(old) if old == heard.mac => Effect::Nothing,
                    Some(old) => Effect::Changed { old, new: heard.mac },
                    None => Effect::Learned(heard.mac),
                }
            }
            State::Asking { .. } => Effect::Nothing,
            State::Failed { .. } if answers => {
                self.reach(heard.mac, settings, now);
                Effect::Learned(heard.mac)
            }
            State::Failed { .. } => {
                // A sign of life.
                self.wanted = true;
                self.due = self.due.min(now.max(self.asked_at.saturating_add(settings.pause_ms())));
                Effect::Nothing
            }
        }
    }

    fn claim(&self, known: Mac, claimed: Mac) -> Effect {
        if known == claimed { Effect::Nothing } else { Effect::Disputed { known, claimed } }
    }

    fn reach(&mut self, mac: Mac, settings: &Settings, now: u64) {
        self.state = State::Reachable { mac };
        self.open_until = None;
        let fresh_ms =
            if self.watched { self.refresh_ms(settings) } else { u64::from(settings.reachable_ms) };
        self.due = now.saturating_add(fresh_ms.max(1));
    }

    /// Milliseconds after an answer until it is asked again.
    fn refresh_ms(&self, settings: &Settings) -> u64 {
        // Spreads neighbouring ids evenly (Fibonacci hashing).
        let spread = u64::from(self.id.0.wrapping_mul(0x9E37_79B9) >> 16) * SPREAD_PERCENT;
        let share = (REFRESH_PERCENT << 16).saturating_sub(spread);
        (u64::from(settings.reachable_ms).saturating_mul(share) / 100) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        reachable_ms: 30_000,
        retransmit_ms: 1_000,
        retries: 3,
        entries: 16,
        announcements: 2,
    };
    const MAC: Mac = Mac([2, 0, 0, 0, 1, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 1, 2]);

    fn watched() -> Neighbour {
        let mut neighbour = Neighbour::new(NeighbourId(7), PortIndex(0), Addr::v4(0xC612_0A0B), 0);
        neighbour.watch(None, &SETTINGS, 0);
        neighbour
    }

    fn reply(mac: Mac) -> Heard {
        Heard {
            port: PortIndex(0),
            address: Addr::v4(0xC612_0A0B),
            mac,
            reply: true,
            unicast: true,
        }
    }

    #[test]
    fn only_an_answer_to_an_open_question_is_believed() {
        let mut neighbour = watched();
        assert_eq!(neighbour.hear(&reply(MAC), &SETTINGS, 0), Effect::Nothing);
        assert_eq!(neighbour.mac(), None, "nothing was asked yet");
        assert_eq!(neighbour.step(&SETTINGS, 0), Step::Ask(None));
        for told in [Heard { reply: false, ..reply(MAC) }, Heard { unicast: false, ..reply(MAC) }] {
            assert_eq!(neighbour.hear(&told, &SETTINGS, 1), Effect::Nothing);
            assert_eq!(neighbour.mac(), None);
        }
        assert_eq!(neighbour.hear(&reply(MAC), &SETTINGS, 3_001), Effect::Nothing);
        assert_eq!(neighbour.mac(), None, "too late");
        assert_eq!(neighbour.hear(&reply(MAC), &SETTINGS, 3_000), Effect::Learned(MAC));
        assert_eq!(neighbour.mac(), Some(MAC));
    }

    #[test]
    fn a_second_answer_to_one_question_does_not_replace_the_first() {
        let mut neighbour = watched();
        neighbour.step(&SETTINGS, 0);
        neighbour.hear(&reply(MAC), &SETTINGS, 1);
        let effect = neighbour.hear(&reply(OTHER), &SETTINGS, 2);
        assert_eq!(effect, Effect::Disputed { known: MAC, claimed: OTHER });
        assert_eq!(neighbour.mac(), Some(MAC));
        assert_eq!(neighbour.step(&SETTINGS, 2), Step::Ask(Some(MAC)));
        neighbour.hear(&reply(OTHER), &SETTINGS, 3);
        assert_eq!(neighbour.mac(), Some(MAC), "only the known station was asked");
        assert_eq!(neighbour.hear(&reply(MAC), &SETTINGS, 4), Effect::Nothing);
        assert_eq!(neighbour.condition(), Condition::Reachable);
    }

    #[test]
    fn the_pause_after_giving_up_doubles_to_a_minute() {
        let mut neighbour = watched();
        for now in [0, 1_000, 2_000] {
            assert_eq!((neighbour.due, neighbour.step(&SETTINGS, now)), (now, Step::Ask(None)));
        }
        assert_eq!(neighbour.step(&SETTINGS, 3_000), Step::GiveUp(None));
        let mut pauses = Vec::new();
        let mut before = 3_000;
        for _ in 0..9 {
            let now = neighbour.due;
            pauses.push((now - before) / 1_000);
            assert_eq!(neighbour.step(&SETTINGS, now), Step::Ask(None));
            before = now;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        neighbour.want();
        assert_eq!(neighbour.due, before + WANTED_PAUSE_MS, "sooner while packets wait");
    }

    #[test]
    fn refreshes_fall_between_seventy_and_eighty_percent_and_not_all_at_once() {
        let dues: std::collections::BTreeSet<u64> = (0..1_000)
            .map(|id| {
                let neighbour =
                    Neighbour::new(NeighbourId(id), PortIndex(0), Addr::v4(0xC612_0A0B), 0);
                neighbour.refresh_ms(&SETTINGS)
            })
            .collect();
        assert!(dues.iter().all(|due| (21_000..=24_000).contains(due)), "{dues:?}");
        assert!(dues.len() > 500, "{}", dues.len());
    }

    #[test]
    fn a_pinned_neighbour_is_never_changed() {
        let mut neighbour = watched();
        neighbour.watch(Some(MAC), &SETTINGS, 0);
        assert_eq!(neighbour.due, NEVER);
        let effect = neighbour.hear(&reply(OTHER), &SETTINGS, 5);
        assert_eq!(effect, Effect::Disputed { known: MAC, claimed: OTHER });
        assert_eq!((neighbour.mac(), neighbour.due), (Some(MAC), NEVER));
        neighbour.watch(None, &SETTINGS, 9);
        assert_eq!((neighbour.mac(), neighbour.due), (Some(MAC), 9), "used while it is asked");
    }
}
