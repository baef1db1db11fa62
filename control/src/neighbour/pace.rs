//! How fast the director sends frames of its own accord.

/// Frames that may leave in one interval: a quarter of a core's queue for them.
const FRAMES: u32 = 64;
/// Milliseconds of an interval.
const INTERVAL_MS: u64 = 10;

/// A count of frames over fixed intervals.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began: u64,
    sent: u32,
}

impl Pace {
    /// Whether a frame may be sent now.
    pub(super) fn has_room(&mut self, now: u64) -> bool {
        if now >= self.began.saturating_add(INTERVAL_MS) || now < self.began {
            *self = Self { began: now, sent: 0 };
        }
        self.sent < FRAMES
    }

    /// A frame was sent.
    pub(super) fn count(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// The earliest time at which a frame may be sent.
    pub(super) fn opens(&self) -> u64 {
        if self.sent < FRAMES { 0 } else { self.began.saturating_add(INTERVAL_MS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_its_share_leaves_in_an_interval() {
        let mut pace = Pace::default();
        let mut sent = Vec::new();
        for now in [1_000, 1_005, 1_010, 1_019, 1_020] {
            let mut frames = 0;
            while pace.has_room(now) {
                pace.count();
                frames += 1;
            }
            sent.push(frames);
        }
        assert_eq!(sent, [64, 0, 64, 0, 64]);
        assert_eq!(pace.opens(), 1_030);
    }
}
