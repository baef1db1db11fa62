//! Single assignment: of all who bind a key at once, one wins and the others adopt its value.
//!
//! A key may stand in any slot of its *window* (two or three buckets per segment). A slot goes through
//!
//! ```text
//! free --claim--> tentative --publish--> bound --(expired, invalidated)--> dead --reclaim--> free
//!                     \------abandon----------------------------------------^
//! ```
//!
//! and every arrow is one compare-and-swap, so each has one winner. Reclaiming is the business
//! of the shard's owner and waits until no operation that began before the slot died is under
//! way (`grace.rs`); hence one operation never sees two lives of a slot.
//!
//! The rule that makes it right: **a slot is published only by somebody who, after it was
//! claimed and after a sequentially consistent fence, has looked at the whole window and found
//! every other slot of the key dead.** Of several tentative slots the first in window order
//! stays and whoever sees the others abandons them.
//!
//! Races, and why each is harmless:
//!
//! - *Two cores claim the same slot.* One compare-and-swap wins; the loser looks again and
//!   finds the slot tentative, its own key's or another's.
//! - *Two cores claim different slots for one key* (a hole opened between their looks). Suppose
//!   both slots were published. Each publisher had a fence between learning of its slot's claim
//!   and looking at the other slot. The fences have an order; the later publisher's look
//!   therefore sees the earlier one's slot as claimed. It needs it dead to go on, and to make it
//!   dead it needs a compare-and-swap from tentative, which fails on a published slot. So not
//!   both.
//! - *The winner is slow.* Nobody waits for it: whoever finds a tentative slot follows the same
//!   rule and publishes its own value there. The claimer's publication then fails, it looks
//!   again and adopts.
//! - *A stale publisher:* somebody looked, found all clear, slept, and publishes now. Everyone
//!   who bound the key elsewhere meanwhile had first to abandon this slot, so the
//!   publication fails.
//! - *All tentative slots abandoned at once.* A slot is abandoned only in favour of an earlier
//!   tentative or a bound one, so the first of them stays unless the key is bound.
//! - *The bound slot dies while others adopt it.* They read it before it died; that is the same
//!   as having asked a moment earlier. Whoever then counts a connection on it is told
//!   (`Gone`) and asks again.
//! - *The window looks full while the key is being bound.* See `assign`: full is answered only
//!   after two looks with the same dead slots of the key.
//! - *Growth.* A new segment is looked at by everyone before anyone may claim in it (a
//!   grace period lies between), so every look covers every slot where a claim can be.

use super::sync::{Ordering, fence};

/// What one slot of a window shows of the key that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<B> {
    /// Nobody's; may be claimed.
    Free,
    /// Another key's, or being reclaimed, or not open yet.
    Other,
    /// This key's, but dead: abandoned, expired or invalid.
    Dead,
    /// Claimed for this key, not bound yet.
    Tentative,
    /// Bound to a value.
    Bound(B),
}

/// The slots where one key may stand, in an order all cores agree on.
pub(super) trait Window {
    /// What a bound slot says.
    type Bound: Copy;
    /// Slots in one bucket; the window is a row of whole buckets.
    const WAYS: usize;
    /// Where new keys go: to the first bucket while it has at least so many free slots, so that
    /// most are found in the first line; otherwise to the emptiest, so that windows fill up late.
    const FIRST_IF_FREE: usize;
    /// Slots in the window.
    fn slots(&self) -> usize;
    /// Looks at a slot, and puts an expired binding of the key to death on the way.
    fn look(&self, at: usize) -> Seen<Self::Bound>;
    /// Free -> tentative. False if somebody was faster.
    fn claim(&self, at: usize) -> bool;
    /// Tentative -> dead. False if the slot is not tentative any more.
    fn abandon(&self, at: usize) -> bool;
    /// Tentative -> bound to the asker's value. None if the slot is not tentative any more.
    fn publish(&self, at: usize) -> Option<Self::Bound>;
    /// The whole window at one look, each slot looked at once. None if the key stands anywhere,
    /// in any state; else the slot where it should go, if any is free.
    fn nowhere(&self) -> Option<Holes>;
    /// The same again: whether the key stands nowhere but in this slot.
    fn nowhere_but(&self, at: usize) -> bool;
}

/// The free slots of a window, seen bucket by bucket: where a new key goes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holes {
    best: Option<usize>,
    most_free: u32,
}

impl Holes {
    /// Takes the free slots of the next bucket, a bit each, of a window whose first buckets have
    /// `before` slots.
    #[inline]
    pub(super) fn add<W: Window>(&mut self, before: usize, free: u32) {
        let enough = W::FIRST_IF_FREE as u32;
        let counts = if before == 0 { u32::MAX } else { enough };
        let count = free.count_ones().min(counts);
        if count > self.most_free && !(before > 0 && self.most_free >= enough) {
            self.most_free = count;
            self.best = Some(before + free.trailing_zeros() as usize);
        }
    }

    /// The slot to claim.
    #[inline]
    pub(super) fn best(self) -> Option<usize> {
        self.best
    }
}

/// Who bound the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assigned<B> {
    /// This call did.
    Inserted(B),
    /// It was bound already.
    Found(B),
}

/// No slot of the window is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoHole;

/// Looks before an operation gives up. Every look after the first is caused by another core's
/// progress on the same window, so more than a few mean that bindings of the window die as
/// fast as they are made; then the answer is the same as for a full one.
const LOOKS: usize = 64;

/// Finds the key's binding or makes it.
pub(super) fn assign<W: Window>(window: &W) -> Result<Assigned<W::Bound>, NoHole> {
    match window.nowhere().and_then(Holes::best) {
        Some(hole) => assign_at(window, hole),
        None => settle(window, None),
    }
}

/// The same for a key that was nowhere at a look just now, and for which this slot was free.
/// Nearly always nobody else is about the key: then another look is all it takes.
pub(super) fn assign_at<W: Window>(window: &W, hole: usize) -> Result<Assigned<W::Bound>, NoHole> {
    if !window.claim(hole) {
        return settle(window, None);
    }
    fence(Ordering::SeqCst);
    if window.nowhere_but(hole)
        && let Some(bound) = window.publish(hole)
    {
        return Ok(Assigned::Inserted(bound));
    }
    settle(window, Some(hole))
}

/// The same slot by slot, for one that may have claimed a slot, and passed a fence since.
fn settle<W: Window>(window: &W, claimed: Option<usize>) -> Result<Assigned<W::Bound>, NoHole> {
    // The slot that was known to be claimed for the key at the last fence.
    let mut known = claimed;
    // The dead slots of the key when the window was last found full.
    let mut full = None;
    for _ in 0..LOOKS {
        match survey(window, known.is_some()) {
            Survey::Bound(bound) => return Ok(Assigned::Found(bound)),
            Survey::Tentative(at) if known == Some(at) => {
                if let Some(bound) = window.publish(at) {
                    return Ok(Assigned::Inserted(bound));
                }
            }
            Survey::Tentative(at) => {
                known = Some(at);
                fence(Ordering::SeqCst);
            }
            Survey::Hole(at) => {
                if window.claim(at) {
                    known = Some(at);
                    fence(Ordering::SeqCst);
                }
            }
            // A slot may have been claimed for the key just after it was looked at. The claims
            // that were abandoned in its favour show that, and then another look finds it.
            Survey::Full { dead } if full == Some(dead) => return Err(NoHole),
            Survey::Full { dead } => {
                full = Some(dead);
                fence(Ordering::SeqCst);
            }
        }
    }
    if let Some(at) = known {
        window.abandon(at);
    }
    Err(NoHole)
}

/// What a whole window shows of a key.
enum Survey<B> {
    Bound(B),
    /// The first slot claimed for the key; no other is left.
    Tentative(usize),
    /// The key is nowhere; this slot is free.
    Hole(usize),
    /// The key is nowhere but in so many dead slots, and no slot is free.
    Full {
        dead: usize,
    },
}

/// Looks at all slots and abandons every tentative one but the first; all of them, if the key
/// is bound. An operation that `has_claimed` looks on after it found the binding, because
/// it must not leave its own slot tentative; any other may stop there.
fn survey<W: Window>(window: &W, has_claimed: bool) -> Survey<W::Bound> {
    let mut bound = None;
    let mut tentative = None;
    let mut hole = None;
    let mut most_free = 0;
    let mut first_free = 0;
    let mut free = 0;
    let mut dead = 0;
    for at in 0..window.slots() {
        if at.is_multiple_of(W::WAYS) {
            free = 0;
        }
        match look_alone(window, at, tentative.is_some() || bound.is_some()) {
            Seen::Bound(value) if !has_claimed && tentative.is_none() => {
                return Survey::Bound(value);
            }
            Seen::Bound(value) => bound = bound.or(Some(value)),
            Seen::Tentative => tentative = Some(at),
            Seen::Free => {
                if free == 0 {
                    first_free = at;
                }
                free += 1;
                if free > most_free && !(at >= W::WAYS && most_free >= W::FIRST_IF_FREE) {
                    most_free = free;
                    hole = Some(first_free);
                }
            }
            Seen::Dead => dead += 1,
            Seen::Other => {}
        }
    }
    match (bound, tentative, hole) {
        (Some(value), at, _) => {
            if let Some(at) = at {
                window.abandon(at);
            }
            Survey::Bound(value)
        }
        (None, Some(at), _) => Survey::Tentative(at),
        (None, None, Some(at)) => Survey::Hole(at),
        (None, None, None) => Survey::Full { dead },
    }
}

/// Looks at a slot; if it is tentative and `superfluous`, abandons it.
fn look_alone<W: Window>(window: &W, at: usize, superfluous: bool) -> Seen<W::Bound> {
    let seen = window.look(at);
    if superfluous && matches!(seen, Seen::Tentative) {
        if window.abandon(at) {
            return Seen::Dead;
        }
        // It was published or abandoned in between; neither can be undone into tentative.
        return window.look(at);
    }
    seen
}
