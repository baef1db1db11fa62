//! A template's value word: everything about it that changes, in the 64 bits of one
//! compare-and-swap.

use crate::ids::RealId;
use crate::tick::Tick;
use crate::timer::TimerRule;

const EXPIRES_SHIFT: u32 = 20;
const EXPIRES_BITS: u32 = 28;
const COUNT_SHIFT: u32 = EXPIRES_SHIFT + EXPIRES_BITS;
const COUNT_BITS: u32 = 11;
const REAL_MASK: u64 = (1 << EXPIRES_SHIFT) - 1;
const EXPIRES_MASK: u64 = ((1 << EXPIRES_BITS) - 1) << EXPIRES_SHIFT;
const COUNT_MASK: u64 = ((1 << COUNT_BITS) - 1) << COUNT_SHIFT;
const COUNT_ONE: u64 = 1 << COUNT_SHIFT;
const CARRIED: u64 = 1 << 59;
const ASSURED: u64 = 1 << 60;
const EXTENDED: u64 = 1 << 61;
const INVALID: u64 = 1 << 62;
const DEAD: u64 = 1 << 63;

/// Expiries are kept in units of 2^3 ticks (32 ms).
const UNIT_SHIFT: u32 = 3;

/// The word: real server 20 | expiry 28 | connections 11 | carried, assured, extended,
/// invalid, dead. Zero means that nothing has been published yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value(pub(super) u64);

impl Value {
    /// Nothing published.
    pub(super) const EMPTY: Self = Self(0);
    /// An abandoned claim.
    pub(super) const ABANDONED: Self = Self(DEAD);
    /// Dead, reported and queued for reclaiming: nobody but the owner makes this word.
    pub(super) const LIMBO: Self = Self(DEAD | INVALID | EXTENDED | ASSURED | CARRIED);
    /// From this count on, cores count further connections for themselves. The room above is
    /// for one more connection per core (see `carry.rs`).
    pub(super) const COUNT_LIMIT: u32 = (1 << COUNT_BITS) - 1 - Self::MAX_CORES;
    /// Cores a table may have.
    pub(super) const MAX_CORES: u32 = 256;

    pub(super) fn new(real: RealId, expires: Tick, rule: TimerRule) -> Self {
        Self(u64::from(real.0) & REAL_MASK).with_expires(expires, rule)
    }

    /// The same for a real server, where it was for number 0.
    #[inline(always)]
    pub(super) fn of_real(self, real: RealId) -> Self {
        Self(self.0 | u64::from(real.0) & REAL_MASK)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn real(self) -> RealId {
        RealId((self.0 & REAL_MASK) as u32)
    }

    /// The nominal expiry: the moment nearest to `now` that has the stored bits. Right within
    /// 49 days either way; the longest timeout is 31 days.
    pub(super) fn expires(self, now: Tick) -> Tick {
        let stored = ((self.0 & EXPIRES_MASK) >> EXPIRES_SHIFT) as u32;
        let spare = 32 - EXPIRES_BITS;
        let ahead = (stored.wrapping_sub(now.0 >> UNIT_SHIFT) << spare).cast_signed() >> spare;
        let unit = (now.0 >> UNIT_SHIFT).wrapping_add_signed(ahead);
        Tick(unit << UNIT_SHIFT)
    }

    /// Whether a sweep has to look at a slot of this value: its nominal expiry has come, before
    /// which no timer ends, or it is dead, and nobody has queued it.
    #[inline(always)]
    pub(super) fn may_be_over(self, now: Tick) -> bool {
        let shift = u64::BITS - COUNT_SHIFT;
        let unit = u64::from(now.0 >> UNIT_SHIFT) << (u64::BITS - EXPIRES_BITS);
        let stored = (self.0 & EXPIRES_MASK) << shift;
        let has_come = stored.wrapping_sub(unit).cast_signed() <= 0;
        (self.0 != 0) & (self != Self::LIMBO) & (has_come | self.dead())
    }

    /// Rounds so that the rule's answer stays right: the wheel's depends on the floor alone; an
    /// exact timer ends up to 28 ms late rather than early.
    pub(super) fn with_expires(self, expires: Tick, rule: TimerRule) -> Self {
        let rounded = match rule {
            TimerRule::Exact => expires.plus((1 << UNIT_SHIFT) - 1),
            TimerRule::KernelWheel => expires,
        };
        let unit = u64::from(rounded.0 >> UNIT_SHIFT);
        Self(self.0 & !EXPIRES_MASK | (unit << EXPIRES_SHIFT) & EXPIRES_MASK)
    }

    /// Connections counted in the word: exact while it is not carried, and never 0 while any
    /// core counts more for itself.
    pub(super) fn count(self) -> u32 {
        ((self.0 & COUNT_MASK) >> COUNT_SHIFT) as u32
    }

    pub(super) fn count_up(self) -> Self {
        Self(self.0 + COUNT_ONE)
    }

    /// One less; at 0 no core counts for itself any more.
    pub(super) fn count_down(self) -> Self {
        match self.count() {
            0 => self,
            1 => Self((self.0 - COUNT_ONE) & !CARRIED),
            _ => Self(self.0 - COUNT_ONE),
        }
    }

    pub(super) fn carried(self) -> bool {
        self.0 & CARRIED != 0
    }

    pub(super) fn carry(self) -> Self {
        Self(self.0 | CARRIED)
    }

    pub(super) fn assured(self) -> bool {
        self.0 & ASSURED != 0
    }

    pub(super) fn assure(self) -> Self {
        Self(self.0 | ASSURED)
    }

    pub(super) fn extended(self) -> bool {
        self.0 & EXTENDED != 0
    }

    pub(super) fn extend(self) -> Self {
        Self(self.0 | EXTENDED)
    }

    pub(super) fn unextend(self) -> Self {
        Self(self.0 & !EXTENDED)
    }

    pub(super) fn invalid(self) -> bool {
        self.0 & INVALID != 0
    }

    pub(super) fn invalidate(self) -> Self {
        Self(self.0 | INVALID)
    }

    pub(super) fn dead(self) -> bool {
        self.0 & DEAD != 0
    }

    pub(super) fn kill(self) -> Self {
        Self(self.0 | DEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_do_not_touch_each_other() {
        let mut value = Value::new(RealId(0xf_ffff), Tick(0), TimerRule::Exact);
        for n in 1..=2047 {
            value = value.count_up();
            assert_eq!(value.count(), n);
        }
        value = value.assure().extend().invalidate().carry();
        value = value.with_expires(Tick(8 * 12_345), TimerRule::Exact);
        assert_eq!(value.real(), RealId(0xf_ffff));
        assert_eq!(value.count(), 2047);
        assert_eq!(value.expires(Tick(90_000)), Tick(8 * 12_345));
        assert!(value.assured() && value.extended() && value.invalid() && value.carried());
        assert!(!value.dead());
        assert!(!value.unextend().extended());
        for _ in 0..2047 {
            value = value.count_down();
        }
        assert_eq!(value.count(), 0);
        assert!(!value.carried());
    }

    #[test]
    fn an_expiry_is_read_back_for_every_timeout_and_across_the_wrap() {
        let month = 31 * 86_400 * 250;
        for now in [0, 7, 8, 1 << 30, 1 << 31, (1 << 31) + 5, u32::MAX - 3, u32::MAX] {
            for ahead in [0, 1, 250, 90_000, month] {
                let expires = Tick(now).plus(ahead);
                let wheel = Value::EMPTY.with_expires(expires, TimerRule::KernelWheel);
                let exact = Value::EMPTY.with_expires(expires, TimerRule::Exact);
                for asked in [Tick(now), expires, expires.plus(86_400 * 250)] {
                    assert_eq!(wheel.expires(asked), Tick(expires.0 & !7));
                    let late = expires.until(exact.expires(asked));
                    assert!((0..8).contains(&late), "{late}");
                }
            }
        }
    }

    #[test]
    fn a_sweep_looks_at_what_has_expired_or_died_and_at_nothing_else() {
        for now in [0, 7, 8, 1 << 30, 1 << 31, u32::MAX - 3, u32::MAX].map(Tick) {
            assert!(!Value::EMPTY.may_be_over(now) && !Value::LIMBO.may_be_over(now));
            assert!(Value::ABANDONED.may_be_over(now));
            let month = 31 * 86_400 * 250;
            for ahead in [-month, -250, -8, -1, 0, 1, 7, 8, 9, 250, month] {
                let expires = Tick(now.0.wrapping_add_signed(ahead));
                let value = Value::new(RealId(1), expires, TimerRule::Exact);
                assert_eq!(value.may_be_over(now), value.expires(now).has_come(now), "{ahead}");
                assert!(value.kill().may_be_over(now));
            }
        }
    }

    #[test]
    fn nothing_that_is_published_is_empty() {
        assert!(!Value::new(RealId(1), Tick(0), TimerRule::Exact).is_empty());
        assert!(!Value::ABANDONED.is_empty() && Value::ABANDONED.dead());
        assert!(Value::LIMBO.dead() && Value::LIMBO.count() == 0);
    }
}
