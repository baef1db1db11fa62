//! Weighted round robin: rounds at falling weight levels, as IPVS walks them.

use super::Pool;
use crate::ids::RealId;
use crate::snapshot::Member;

/// What the list's weights amount to: the step between levels and the highest level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Greatest common divisor of the weights above zero (1 if there are none).
    pub step: u64,
    /// Largest weight - (step - 1); 0 when no real server has a weight.
    pub top: u64,
}

impl Levels {
    /// The levels of these weights.
    pub fn of(weights: impl Iterator<Item = u64>) -> Self {
        let (mut step, mut largest) = (0, 0);
        for weight in weights.filter(|weight| *weight > 0) {
            step = gcd(step, weight);
            largest = largest.max(weight);
        }
        let step = step.max(1);
        Self { step, top: largest.saturating_sub(step - 1) }
    }
}

pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The levels after each change of the list. IPVS adjusts the current level at every
/// change, so the first round of a service depends on the order in which its real servers
/// came; a core that has not picked for a while catches up from this history.
#[derive(Clone, Debug, Default)]
pub struct History(Vec<(u64, Levels)>);

impl History {
    /// A core further behind than this starts from the oldest change still kept.
    const KEPT: usize = 256;

    /// Records that the list got these levels with this list epoch.
    pub fn record(&mut self, list_epoch: u64, levels: Levels) {
        // Adjusting twice to the same levels changes nothing, so such a change only
        // needs its epoch moved for the cursor to be put back to the head.
        if let Some(last) = self.0.last_mut()
            && last.1 == levels
        {
            last.0 = list_epoch;
            return;
        }
        if self.0.len() == Self::KEPT {
            self.0.remove(0);
        }
        self.0.push((list_epoch, levels));
    }

    /// The levels of the changes after that epoch, oldest first.
    pub(super) fn since(&self, list_epoch: u64) -> impl Iterator<Item = Levels> + '_ {
        self.0.iter().filter(move |(epoch, _)| *epoch > list_epoch).map(|(_, levels)| *levels)
    }
}

/// Where the rounds stand.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    at: Option<Member>,
    /// Where it was found last.
    place: usize,
    level: u64,
    levels: Levels,
}

impl Cursor {
    /// The state of a service whose list went through these changes.
    pub(super) fn new(history: &History) -> Self {
        let mut cursor =
            Self { at: None, place: 0, level: 0, levels: Levels::of(std::iter::empty()) };
        cursor.follow(history.since(0));
        cursor
    }

    /// Adjusts to each change of the list in turn: back to the head, and the level kept as
    /// far as the new levels have it.
    pub(super) fn follow(&mut self, changes: impl Iterator<Item = Levels>) {
        for levels in changes {
            self.at = None;
            self.levels = levels;
            if self.level > levels.top || self.level == 0 {
                self.level = levels.top;
            } else if levels.step > 1 {
                self.level = self.level / levels.step * levels.step + 1;
            }
        }
    }

    /// The next real server at or above the current level; the level falls by one step at
    /// each end of the list.
    pub(super) fn pick(&mut self, pool: &Pool<'_>) -> Option<RealId> {
        let members = pool.members;
        if self.levels.top == 0 {
            return None;
        }
        let mut start = super::rr::after(members, self.at, self.place);
        loop {
            let rest = members.get(start..).unwrap_or_default();
            let hit = rest.iter().zip(start..).find(|(member, _)| {
                pool.weight(member.real) >= self.level && !pool.is_overloaded(member.real)
            });
            if let Some((member, place)) = hit {
                (self.at, self.place) = (Some(*member), place);
                return Some(member.real);
            }
            let lowest = self.level <= self.levels.step;
            let whole_list = start == 0;
            self.level = self.level.saturating_sub(self.levels.step);
            if self.level == 0 {
                self.level = self.levels.top;
            }
            self.at = None;
            if lowest && whole_list {
                return None;
            }
            start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_the_gcd_and_the_largest_weight_less_gcd_minus_one() {
        let levels = |weights: &[u64]| Levels::of(weights.iter().copied());
        assert_eq!(levels(&[4, 2]), Levels { step: 2, top: 3 });
        assert_eq!(levels(&[5, 1, 1]), Levels { step: 1, top: 5 });
        assert_eq!(levels(&[0, 0]), Levels { step: 1, top: 0 });
        assert_eq!(levels(&[]), Levels { step: 1, top: 0 });
    }
}
