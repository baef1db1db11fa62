//! The longest time between two polls that was the program's own doing.

use std::time::{Duration, Instant};

use crate::cpu;

/// Shorter gaps count as none: a poll of a full burst of new clients takes some
/// microseconds. All others are looked into, so that no waiting is left over for a later one.
const WORTH_A_LOOK: Duration = Duration::from_micros(10);

/// See the module. A gap counts without the time in which the kernel gave the CPU to
/// somebody else.
#[derive(Clone, Copy, Debug)]
pub struct Gaps {
    last: Instant,
    longest: Duration,
    waited: Duration,
}

impl Gaps {
    /// From now on.
    pub fn new() -> Self {
        Self { last: Instant::now(), longest: Duration::ZERO, waited: cpu::time_waited() }
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

    /// The longest gap so far; zero where none was worth a look.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    #[cold]
    fn look_into(&mut self, gap: Duration) {
        let waited = cpu::time_waited();
        let own = gap.saturating_sub(waited.saturating_sub(self.waited));
        self.waited = waited;
        self.longest = self.longest.max(own);
        // Reading the kernel's file is no gap of the program's.
        self.last = Instant::now();
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}
