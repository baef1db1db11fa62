//! The first of the cheapest among many, kept while their costs change.
//!
//! A binary tree over the list: every node has the better of its two children, the left one on
//! ties, so that the root is what a walk through the list would find. A change replays the
//! matches from its leaf upwards, and stops where they end as before.

// Nodes are numbered by halving and doubling within one vector whose length is a power of two; a
// checked access to each would cost a branch per level.
#![allow(clippy::indexing_slicing)]

/// What a place in the list competes with: cost per weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entrant {
    cost: u64,
    weight: u32,
}

impl Entrant {
    /// Takes no part. Loses against all that do, because no cost is as high.
    pub(super) const ABSENT: Self = Self { cost: u64::MAX, weight: 1 };

    /// Takes part with this cost (below 2^64 - 1) per weight; with weight 0 it does not.
    #[inline]
    pub(super) fn new(cost: u64, weight: u32) -> Self {
        if weight == 0 { Self::ABSENT } else { Self { cost: cost.min(u64::MAX - 1), weight } }
    }

    #[inline]
    pub(super) fn is_absent(self) -> bool {
        self.cost == u64::MAX
    }

    /// Below zero if the other's cost per weight is below this one's; or, if this one is the
    /// `right` one (1, otherwise 0), no higher. Cross-multiplied, so that no division rounds a
    /// difference away: 96 bits and a sign.
    #[inline]
    fn lead_of(self, other: Self, right: usize) -> i128 {
        let (cost, weight) = (self.cost as i128, i128::from(self.weight));
        other.cost as i128 * weight - cost * i128::from(other.weight) - right as i128
    }

    /// Whether the cost is below the weight.
    pub(super) fn is_below_one(self) -> bool {
        self.cost < u64::from(self.weight)
    }
}

/// An entrant and its place, in sixteen bytes.
#[derive(Clone, Copy, Debug)]
struct Node {
    cost: u64,
    /// Weight 32 | place 32.
    who: u64,
}

impl Node {
    #[inline]
    fn new(entrant: Entrant, place: usize) -> Self {
        Self { cost: entrant.cost, who: u64::from(entrant.weight) << 32 | place as u64 }
    }

    #[inline]
    fn entrant(self) -> Entrant {
        Entrant { cost: self.cost, weight: (self.who >> 32) as u32 }
    }

    #[inline]
    fn place(self) -> usize {
        (self.who & 0xFFFF_FFFF) as usize
    }

    /// This node or its sibling, whichever won. `right` is 1 if this is the right one of the two,
    /// otherwise 0. By a mask and not a branch: nobody can foretell who wins.
    #[inline]
    fn or_better(self, sibling: Self, right: usize) -> Self {
        let lost = (self.entrant().lead_of(sibling.entrant(), right) >> 127) as u64;
        Self {
            cost: self.cost ^ (self.cost ^ sibling.cost) & lost,
            who: self.who ^ (self.who ^ sibling.who) & lost,
        }
    }
}

/// The tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Tournament {
    /// The root at 1, the children of n at 2n and 2n + 1, the list in the second half.
    nodes: Vec<Node>,
}

impl Tournament {
    /// Starts over with this list.
    pub(super) fn restart(&mut self, entrants: impl ExactSizeIterator<Item = Entrant>) {
        let leaves = entrants.len().next_power_of_two().max(1);
        self.nodes.clear();
        self.nodes.resize(2 * leaves, Node::new(Entrant::ABSENT, 0));
        for (place, entrant) in entrants.enumerate() {
            self.nodes[leaves + place] = Node::new(entrant, place);
        }
        for at in (1..leaves).rev() {
            self.nodes[at] = self.nodes[2 * at].or_better(self.nodes[2 * at + 1], 0);
        }
    }

    /// The winner's place in the list and what it won with; `None` if nobody takes part.
    #[inline]
    pub(super) fn winner(&self) -> Option<(usize, Entrant)> {
        let root = self.nodes.get(1)?;
        (!root.entrant().is_absent()).then(|| (root.place(), root.entrant()))
    }

    /// Changes what a place competes with.
    #[inline]
    pub(super) fn change(&mut self, place: usize, entrant: Entrant) {
        let nodes = self.nodes.as_mut_slice();
        let mut at = nodes.len() / 2 + place;
        if at >= nodes.len() || nodes[at].entrant() == entrant {
            return;
        }
        let mut now = Node::new(entrant, place);
        nodes[at] = now;
        // The winner's matches must all be played again, another's only up to where it lost.
        let was_first = nodes[1].place() == place;
        while at > 1 {
            now = now.or_better(nodes[at ^ 1], at & 1);
            at /= 2;
            if !was_first && nodes[at].who == now.who && now.place() != place {
                return;
            }
            nodes[at] = now;
        }
    }

    /// Bytes that the tree takes.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(list: &[Entrant]) -> Option<(usize, Entrant)> {
        let mut best: Option<(usize, Entrant)> = None;
        for (place, entrant) in list.iter().enumerate().filter(|(_, e)| !e.is_absent()) {
            if best.is_none_or(|(_, best)| best.lead_of(*entrant, 0) < 0) {
                best = Some((place, *entrant));
            }
        }
        best
    }

    fn entrant() -> impl Strategy<Value = Entrant> {
        // Small numbers make ties, large ones would overflow a product of words.
        let cost = prop_oneof![4 => 0..5u64, 1 => any::<u64>()];
        let weight = prop_oneof![4 => 0..4u32, 1 => any::<u32>()];
        (cost, weight).prop_map(|(cost, weight)| Entrant::new(cost, weight))
    }

    proptest! {
        #[test]
        fn the_winner_is_the_one_that_a_walk_through_the_list_finds(
            mut list in prop::collection::vec(entrant(), 0..40),
            changes in prop::collection::vec((0..40usize, entrant()), 0..100),
        ) {
            let mut tournament = Tournament::default();
            prop_assert_eq!(tournament.winner(), None);
            tournament.restart(list.iter().copied());
            prop_assert_eq!(tournament.winner(), scan(&list));
            for (place, entrant) in changes {
                if let Some(at) = list.get_mut(place) {
                    *at = entrant;
                    tournament.change(place, entrant);
                }
                prop_assert_eq!(tournament.winner(), scan(&list));
            }
        }
    }
}
