//! The times between two polls that were the program's own doing.

use std::time::{Duration, Instant};

use crate::cpu;

/// Shorter gaps count as none: a poll of a full burst of new clients takes some
/// microseconds. All others are looked into, so that no waiting is left over for a later one.
const WORTH_A_LOOK: Duration = Duration::from_micros(10);
/// Gaps of one round that are kept.
const MOST: usize = 1 << 16;

/// A time between two polls.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// When it was over.
    pub ended: Instant,
    /// How long it was, without the time in which the kernel gave the CPU to somebody else.
    pub own: Duration,
}

/// The gaps of a round.
#[derive(Clone, Debug)]
pub struct Gaps {
    last: Instant,
    seen: Vec<Gap>,
    waited: Duration,
}

impl Gaps {
    /// From now on.
    pub fn new() -> Self {
        let seen = Vec::with_capacity(MOST);
        Self { last: Instant::now(), seen, waited: cpu::time_waited() }
    }

    /// A poll begins.
    #[inline(always)]
    pub fn poll(&mut self, now: Instant) {
        let gap = now - self.last;
        self.last = now;
        if gap >= WORTH_A_LOOK {
            self.look_into(gap);
        }
    }

    /// All that were worth a look.
    pub fn seen(self) -> Vec<Gap> {
        self.seen
    }

    #[cold]
    fn look_into(&mut self, gap: Duration) {
        let waited = cpu::time_waited();
        let own = gap.saturating_sub(waited.saturating_sub(self.waited));
        self.waited = waited;
        // No memory is asked for in the middle of a round.
        if self.seen.len() < MOST {
            self.seen.push(Gap { ended: self.last, own });
        }
        // Reading the kernel's file is no gap of the program's.
        self.last = Instant::now();
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}

/// The longest of those that lie in a stretch of time, if only in part; zero if none does.
pub fn longest<'a>(
    gaps: impl IntoIterator<Item = &'a Gap>,
    (from, to): (Instant, Instant),
) -> Duration {
    let within = |gap: &&Gap| gap.ended > from && gap.ended.checked_sub(gap.own) < Some(to);
    gaps.into_iter().filter(within).map(|gap| gap.own).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_belong_to_every_stretch_that_they_touch() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let gap = |ended, own| Gap { ended: at(ended), own: Duration::from_millis(own) };
        let gaps = [gap(100, 30), gap(150, 5), gap(300, 20)];
        let longest = |from, to| longest(&gaps, (at(from), at(to))).as_millis();
        assert_eq!([longest(90, 200), longest(110, 200), longest(0, 70)], [30, 5, 0]);
        assert_eq!([longest(160, 281), longest(160, 280), longest(300, 400)], [20, 0, 0]);
    }
}
