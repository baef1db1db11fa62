//! When to send: a rate kept to the packet, whatever the sending loop is held up by.

/// A rate of packets.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Packets a second; infinite for as many as go.
    rate: f64,
    /// When it began, in nanoseconds.
    began: u64,
    /// Packets that were due and given out.
    given: u64,
}

/// Nanoseconds that are made up for after a pause; what was due before that is never sent.
const MADE_UP_FOR: f64 = 1e6;

impl Pace {
    /// A pace from this moment (nanoseconds) on.
    pub fn new(rate: f64, now: u64) -> Self {
        Self { rate, began: now, given: 0 }
    }

    /// How many packets to send now, at most `most`.
    pub fn due(&mut self, now: u64, most: usize) -> usize {
        if self.rate.is_infinite() {
            return most;
        }
        let due = now.saturating_sub(self.began) as f64 * 1e-9 * self.rate;
        let missed = due - self.given as f64 - (self.rate * MADE_UP_FOR * 1e-9).max(most as f64);
        if missed > 0.0 {
            self.given += missed as u64;
        }
        let now = (due as u64).saturating_sub(self.given).min(most as u64);
        self.given += now;
        now as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_end_as_many_are_sent_as_the_rate_says() {
        let mut pace = Pace::new(1e6, 500);
        let mut sent = 0;
        for now in (500..=1_000_500).step_by(333) {
            sent += pace.due(now, 32);
        }
        assert!((998..=1000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_long_pause_is_not_made_up_for_with_a_flood() {
        let mut pace = Pace::new(1e6, 0);
        assert_eq!(pace.due(1_000_000_000, 32), 32);
        let rest: usize = (0..1000).map(|_| pace.due(1_000_000_000, 32)).sum();
        assert!(rest <= 1000, "{rest}");
    }

    #[test]
    fn without_a_rate_as_many_go_as_may() {
        assert_eq!(Pace::new(f64::INFINITY, 0).due(0, 256), 256);
    }
}
