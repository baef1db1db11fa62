//! The verdicts on a burst: mostly that all frames leave on one port.

use arrayvec::ArrayVec;

use crate::ids::PortIndex;
use crate::port::BURST;
use crate::verdict::Verdict;

/// What became of the frames of a burst, in their order.
#[derive(Debug, Default)]
pub struct Decided {
    /// So many frames, from the first one, leave on `port`.
    leaving: usize,
    port: PortIndex,
    /// The verdicts on the frames behind them.
    others: ArrayVec<Verdict, BURST>,
}

impl Decided {
    /// Frames that were decided about.
    #[inline]
    pub fn len(&self) -> usize {
        self.leaving + self.others.len()
    }

    /// Whether none was.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The port on which all of so many frames leave, if they do.
    #[inline]
    pub fn one_port(&self, frames: usize) -> Option<PortIndex> {
        (self.leaving == frames).then_some(self.port)
    }

    /// The verdicts, in the frames' order.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        let leaving = std::iter::repeat_n(Verdict::Forward(self.port), self.leaving);
        leaving.chain(self.others.iter().copied())
    }

    /// Forgets all of them.
    #[inline]
    pub fn clear(&mut self) {
        self.leaving = 0;
        self.others.clear();
    }

    pub(super) fn push(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(port) => self.leave(port, 1),
            _ => self.push_other(verdict),
        }
    }

    /// So many frames leave on one port.
    #[inline]
    pub(super) fn leave(&mut self, port: PortIndex, frames: usize) {
        if self.others.is_empty() && (self.leaving == 0 || self.port == port) {
            self.port = port;
            self.leaving += frames;
        } else {
            (0..frames).for_each(|_| self.push_other(Verdict::Forward(port)));
        }
    }

    fn push_other(&mut self, verdict: Verdict) {
        let pushed = self.others.try_push(verdict);
        debug_assert!(pushed.is_ok(), "a burst has at most {BURST} frames");
    }
}
