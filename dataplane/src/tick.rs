//! Time as the packet path sees it: a coarse counter that is handed in.

/// Ticks in one second. The kernel whose decisions Director follows counts 250 jiffies
/// a second, so a tick is one of its jiffies: 4 ms.
pub const TICKS_PER_SECOND: u32 = 250;

/// A moment, in ticks of 4 ms since the director started. Wraps after 198 days;
/// all comparisons are right for spans below 99 days (the longest timeout is 31 days).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The moment `seconds` after the start.
    pub const fn from_secs(seconds: u32) -> Self {
        Self(seconds.wrapping_mul(TICKS_PER_SECOND))
    }

    /// The moment so long after the start.
    #[inline]
    pub const fn after(time: std::time::Duration) -> Self {
        // One multiplication each instead of a division of 128 bits, once a burst.
        let in_second = time.subsec_nanos() / (1_000_000_000 / TICKS_PER_SECOND);
        Self((time.as_secs() as u32).wrapping_mul(TICKS_PER_SECOND).wrapping_add(in_second))
    }

    /// This moment moved by `ticks`.
    pub const fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// This moment moved by whole seconds.
    pub const fn plus_secs(self, seconds: u32) -> Self {
        self.plus(seconds.wrapping_mul(TICKS_PER_SECOND))
    }

    /// Ticks from `self` until `later`; negative if `later` has passed already.
    pub const fn until(self, later: Tick) -> i32 {
        later.0.wrapping_sub(self.0) as i32
    }

    /// Whether this moment is `now` or before it.
    pub const fn has_come(self, now: Tick) -> bool {
        self.until(now) >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_cut_to_whole_ticks() {
        use std::time::Duration;
        assert_eq!(Tick::after(Duration::from_micros(3_999)), Tick(0));
        assert_eq!(Tick::after(Duration::from_millis(10_004)), Tick(2_501));
        let wrapped = Duration::from_secs(198 * 86_400 + 76_500);
        assert_eq!(Tick::after(wrapped), Tick::from_secs(198 * 86_400 + 76_500));
    }

    #[test]
    fn comparisons_survive_the_wrap_of_the_counter() {
        let before = Tick(u32::MAX - 5);
        let after = before.plus(10);
        assert_eq!(before.until(after), 10);
        assert_eq!(after.until(before), -10);
        assert!(before.has_come(after));
        assert!(!after.has_come(before));
    }
}
