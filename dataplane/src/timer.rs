//! When a timer that was set for a moment really ends: exactly then, or as late as the kernel's.
//!
//! The kernel keeps its timers in a wheel whose slots get coarser the longer the timeout, so an
//! entry lives on after its nominal expiry, by up to one slot, and until then it still binds
//! clients. The lateness is computable, which makes comparison with a kernel exact.

use std::cmp::Ordering;

use crate::table::EXTENSION_S;
use crate::tick::{TICKS_PER_SECOND, Tick};

/// Which clock decides that an entry is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimerRule {
    /// An entry ends at its nominal expiry.
    #[default]
    Exact,
    /// An entry ends when the timer wheel of a kernel with 250 jiffies a second would fire: up to
    /// an eighth of the timeout later. For comparisons with IPVS, decision for decision; ticks
    /// must then be that kernel's jiffies.
    KernelWheel,
}

/// Slots that one level of the wheel can look ahead.
const LEVEL_SLOTS: u64 = 63;
/// Every level is 2^3 = 8 times as coarse as the one below.
const LEVEL_SHIFT: u32 = 3;
/// The coarsest level of the wheel at 250 jiffies a second.
const LAST_LEVEL: u32 = 8;

/// The moment at which a timer armed for `timeout_ticks` with the nominal expiry `expires` ends.
///
/// Under [`TimerRule::KernelWheel`] and for timeouts of 63 ticks (a quarter of a second) or more
/// the result depends on `expires` only through `expires / 8`.
pub fn fires(rule: TimerRule, expires: Tick, timeout_ticks: u32) -> Tick {
    match rule {
        TimerRule::Exact => expires,
        TimerRule::KernelWheel => {
            let shift = LEVEL_SHIFT * level(timeout_ticks);
            Tick((expires.0 >> shift).wrapping_add(1) << shift)
        }
    }
}

/// The smallest level that can hold a timer this far ahead.
fn level(timeout_ticks: u32) -> u32 {
    let ahead = u64::from(timeout_ticks);
    (0..LAST_LEVEL).find(|level| ahead < LEVEL_SLOTS << (LEVEL_SHIFT * level)).unwrap_or(LAST_LEVEL)
}

/// Of two timers that end at the same moment, whether the end of `one` is dealt with before that
/// of `other`. Each is its nominal expiry and the timeout that it was armed for, in ticks. The
/// kernel empties the coarser level of its wheel first, and of one slot takes the timer that was
/// armed last.
pub fn ends_first(rule: TimerRule, one: (Tick, u32), other: (Tick, u32)) -> bool {
    match rule {
        TimerRule::Exact => false,
        TimerRule::KernelWheel => match level(one.1).cmp(&level(other.1)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => {
                let armed = |(expires, timeout): (Tick, u32)| Tick(expires.0.wrapping_sub(timeout));
                armed(other).has_come(armed(one))
            }
        },
    }
}

/// As [`ends_first`], where `other` was armed in the same moment as `one`, and perhaps again
/// since: a timer that is armed again within its slot keeps its place there.
pub fn ends_first_of_twins(rule: TimerRule, one: (Tick, u32), other: (Tick, u32)) -> bool {
    let armed = Tick(one.0.0.wrapping_sub(one.1));
    let at_first = fires(rule, armed.plus(other.1), other.1);
    let kept = rule == TimerRule::KernelWheel
        && level(one.1) == level(other.1)
        && at_first == fires(rule, other.0, other.1);
    kept || ends_first(rule, one, other)
}

/// Whether a controlling entry's timer, which was armed at a moment for a timeout in ticks, has
/// fired since, so that it was put into the wheel anew: by `now` it stands for this expiry, to 8
/// ticks.
pub fn has_fired_since(
    rule: TimerRule,
    (armed, timeout): (Tick, u32),
    expires: Tick,
    now: Tick,
) -> bool {
    let fired = fires(rule, armed.plus(timeout), timeout);
    fired.has_come(now) && rearmed(rule, fired, EXTENSION_S, now).0 & !7 == expires.0 & !7
}

/// The first of a row of timers that has not ended by `now`: each is armed for `period_s` at the
/// moment its predecessor fires, and the first was armed at `fired`. Returns its nominal expiry.
///
/// This is a controlling entry that the kernel arms again and again while it controls
/// connections; the answer is the same however late somebody asks.
pub fn rearmed(rule: TimerRule, fired: Tick, period_s: u32, now: Tick) -> Tick {
    let ticks = period_s.wrapping_mul(TICKS_PER_SECOND);
    let first = fired.plus(ticks);
    let first_end = fires(rule, first, ticks);
    if !first_end.has_come(now) {
        return first;
    }
    // From its first end on, the row is periodic: `first_end` lies on a slot boundary.
    let second = first_end.plus(ticks);
    let period = first_end.until(fires(rule, second, ticks)).unsigned_abs().max(1);
    let passed = first_end.until(now).unsigned_abs() / period;
    second.plus(passed.wrapping_mul(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a 6.12 kernel did: (armed at second, timeout in seconds, last listed, first not listed).
    /// The first ten are UDP connections, the others persistence templates.
    const RECORDED: [(f64, u32, f64, f64); 23] = [
        (0.01, 1, 1.0, 1.5),
        (0.03, 2, 2.0, 2.5),
        (0.05, 3, 3.0, 3.5),
        (0.07, 5, 5.0, 5.5),
        (0.09, 10, 10.0, 10.5),
        (0.11, 15, 15.0, 15.5),
        (0.13, 30, 30.0, 31.0),
        (0.15, 60, 61.0, 62.0),
        (0.17, 120, 120.0, 121.0),
        (0.19, 300, 310.0, 312.0),
        (0.0, 2, 2.0, 2.5),
        (0.01, 4, 4.0, 4.5),
        (0.02, 8, 8.0, 8.5),
        (0.03, 15, 15.0, 15.5),
        (0.04, 20, 20.0, 20.5),
        (0.05, 40, 40.0, 41.0),
        (0.06, 60, 61.0, 62.0),
        (0.07, 100, 100.0, 101.0),
        (0.08, 120, 120.0, 121.0),
        (0.09, 150, 163.0, 164.0),
        (0.1, 200, 212.0, 214.0),
        (0.11, 300, 310.0, 312.0),
        (0.12, 360, 360.0, 362.0),
    ];

    /// (armed at second, timeout in seconds) -> the second the kernel was seen to fire at.
    fn fires_at_s(armed_s: f64, timeout_s: u32) -> f64 {
        let armed = Tick((250.0 * armed_s + 0.25).floor() as u32);
        let end =
            fires(TimerRule::KernelWheel, armed.plus_secs(timeout_s), timeout_s * TICKS_PER_SECOND);
        (f64::from(end.0) - 0.25) / 250.0
    }

    #[test]
    fn levels_begin_at_sixty_three_slots_of_the_level_below() {
        for (ticks, expected) in [
            (0, 0),
            (62, 0),
            (63, 1),
            (250, 1),
            (503, 1),
            (504, 2),
            (4031, 2),
            (4032, 3),
            (32_255, 3),
            (32_256, 4),
            (258_047, 4),
            (258_048, 5),
            (u32::MAX, 8),
        ] {
            assert_eq!(level(ticks), expected, "{ticks} ticks");
        }
    }

    #[test]
    fn recorded_entries_end_when_the_kernel_was_seen_to_end_them() {
        for (armed_s, timeout_s, present_s, gone_s) in RECORDED {
            let end = fires_at_s(armed_s, timeout_s);
            assert!(
                present_s < end && end <= gone_s,
                "{timeout_s} s armed at {armed_s}: {end} not within {present_s}..{gone_s}"
            );
        }
    }

    #[test]
    fn of_timers_that_end_together_the_coarser_one_and_then_the_last_armed_one_is_first() {
        let timer = |armed: u32, timeout_s: u32| {
            (Tick(armed).plus_secs(timeout_s), timeout_s * TICKS_PER_SECOND)
        };
        let first = |one, other| ends_first(TimerRule::KernelWheel, one, other);
        assert!(first(timer(100, 60), timer(100, 60)));
        assert!(first(timer(101, 60), timer(100, 60)));
        assert!(!first(timer(99, 60), timer(100, 60)));
        assert!(first(timer(0, 900), timer(5000, 60)));
        assert!(!first(timer(5000, 10), timer(0, 60)));
        assert!(!ends_first(TimerRule::Exact, timer(101, 60), timer(100, 60)));
    }

    #[test]
    fn a_timer_that_has_fired_since_a_moment_stands_for_the_row_that_began_then() {
        let (rule, second) = (TimerRule::KernelWheel, TICKS_PER_SECOND);
        let armed = Tick(1 << 15);
        let fired = fires(rule, armed.plus_secs(1), second);
        let has = |expires, now| has_fired_since(rule, (armed, second), expires, now);
        assert!(!has(armed.plus_secs(1), fired));
        assert!(!has(fired.plus_secs(60), armed.plus(10)), "not yet");
        assert!(has(fired.plus_secs(60), fired.plus(1)));
        assert!(!has(fired.plus_secs(59), fired.plus(1)), "armed by somebody else");
        let again = fires(rule, fired.plus_secs(60), 60 * second);
        assert!(has(again.plus_secs(60), again.plus(1)), "and again");
    }

    #[test]
    fn exact_timers_end_at_their_expiry() {
        assert_eq!(fires(TimerRule::Exact, Tick(12_345), 90_000), Tick(12_345));
    }

    #[test]
    fn flooring_the_expiry_to_eight_ticks_changes_no_wheel_timer_of_a_second_or_more() {
        for timeout_s in [1, 2, 3, 16, 17, 60, 129, 130, 360, 1032, 1033, 86_400, 31 * 86_400] {
            let ticks = timeout_s * TICKS_PER_SECOND;
            for now in (0..20_000).chain(u32::MAX - 9_000..u32::MAX) {
                let expires = Tick(now).plus(ticks);
                let floored = Tick(expires.0 & !7);
                assert_eq!(
                    fires(TimerRule::KernelWheel, expires, ticks),
                    fires(TimerRule::KernelWheel, floored, ticks),
                    "{timeout_s} s, armed at tick {now}"
                );
            }
        }
    }

    #[test]
    fn a_wheel_timer_is_late_by_at_most_an_eighth_and_never_early() {
        for timeout_s in [1u32, 5, 60, 300, 360, 3600, 86_400] {
            let ticks = timeout_s * TICKS_PER_SECOND;
            for now in (0..200_000).step_by(77) {
                let expires = Tick(now + ticks);
                let late = expires.until(fires(TimerRule::KernelWheel, expires, ticks));
                assert!(late > 0 && late as u32 <= ticks / 7 + 1, "{timeout_s} s: {late} ticks");
            }
        }
    }

    #[test]
    fn a_row_of_timers_is_the_same_whether_asked_every_time_or_late() {
        for rule in [TimerRule::Exact, TimerRule::KernelWheel] {
            for start in [0, 511, 512, 70_001, u32::MAX - 20_000] {
                let fired = Tick(start);
                let mut expires = fired.plus_secs(60);
                for late_s in 0..1000 {
                    let now = fired.plus_secs(late_s);
                    while fires(rule, expires, 60 * TICKS_PER_SECOND).has_come(now) {
                        expires = fires(rule, expires, 60 * TICKS_PER_SECOND).plus_secs(60);
                    }
                    assert_eq!(rearmed(rule, fired, 60, now), expires, "{rule:?} {late_s} s late");
                }
            }
        }
    }
}
