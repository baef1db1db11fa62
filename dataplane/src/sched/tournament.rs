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
#[derive(Clone, Debug)]
pub(super) enum Tournament {
    /// All that take part have the same weight: cost and place decide, as one number.
    Even(Even),
    /// Weights differ.
    Uneven(Uneven),
}

impl Default for Tournament {
    fn default() -> Self {
        Self::Even(Even::default())
    }
}

impl Tournament {
    /// Starts over with this list.
    pub(super) fn restart(&mut self, entrants: impl ExactSizeIterator<Item = Entrant> + Clone) {
        *self = match Even::new(entrants.clone()) {
            Some(even) => Self::Even(even),
            None => Self::Uneven(Uneven::new(entrants)),
        };
    }

    /// The winner's place in the list and what it won with; `None` if nobody takes part.
    #[inline]
    pub(super) fn winner(&self) -> Option<(usize, Entrant)> {
        match self {
            Self::Even(even) => even.winner(),
            Self::Uneven(uneven) => uneven.winner(),
        }
    }

    /// Changes what a place competes with.
    #[inline]
    pub(super) fn change(&mut self, place: usize, entrant: Entrant) {
        match self {
            Self::Even(even) => {
                if !even.change(place, entrant) {
                    self.become_uneven(place, entrant);
                }
            }
            Self::Uneven(uneven) => uneven.change(place, entrant),
        }
    }

    #[cold]
    fn become_uneven(&mut self, place: usize, entrant: Entrant) {
        let Self::Even(even) = self else { return };
        let mut uneven = Uneven::new(even.entrants());
        uneven.change(place, entrant);
        *self = Self::Uneven(uneven);
    }

    /// Bytes that the tree takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Even(even) => even.keys.capacity() * size_of::<u64>(),
            Self::Uneven(uneven) => uneven.nodes.capacity() * size_of::<Node>(),
        }
    }
}

/// A tree of entrants of one weight.
#[derive(Clone, Debug, Default)]
pub(super) struct Even {
    /// Cost 44 | place 20, the root at 1, the children of n at 2n and 2n + 1, the list in the
    /// second half.
    keys: Vec<u64>,
    weight: u32,
}

const PLACE_BITS: u32 = 20;
const PLACE: u64 = (1 << PLACE_BITS) - 1;
/// The key of those who take no part.
const NO_KEY: u64 = u64::MAX;
/// The highest cost that a key can tell, and one.
const COSTS: u64 = NO_KEY >> PLACE_BITS;

impl Even {
    /// `None` where keys cannot tell everything.
    fn new(entrants: impl ExactSizeIterator<Item = Entrant> + Clone) -> Option<Self> {
        let leaves = entrants.len().next_power_of_two().max(1);
        let first = entrants.clone().find(|entrant| !entrant.is_absent());
        let weight = first.map_or(1, |first| first.weight);
        if leaves as u64 > PLACE {
            return None;
        }
        let mut even = Self { keys: vec![NO_KEY; 2 * leaves], weight };
        for (place, entrant) in entrants.enumerate() {
            even.keys[leaves + place] = even.key(place, entrant)?;
        }
        for at in (1..leaves).rev() {
            even.keys[at] = even.keys[2 * at].min(even.keys[2 * at + 1]);
        }
        Some(even)
    }

    #[inline]
    fn key(&self, place: usize, entrant: Entrant) -> Option<u64> {
        if entrant.is_absent() {
            return Some(NO_KEY);
        }
        let tells = entrant.weight == self.weight && entrant.cost < COSTS;
        tells.then_some(entrant.cost << PLACE_BITS | place as u64)
    }

    #[inline]
    fn entrant(&self, key: u64) -> Entrant {
        match key {
            NO_KEY => Entrant::ABSENT,
            key => Entrant { cost: key >> PLACE_BITS, weight: self.weight },
        }
    }

    fn entrants(&self) -> impl ExactSizeIterator<Item = Entrant> + Clone {
        self.keys[self.keys.len() / 2..].iter().map(|key| self.entrant(*key))
    }

    #[inline]
    fn winner(&self) -> Option<(usize, Entrant)> {
        let root = *self.keys.get(1)?;
        (root != NO_KEY).then(|| ((root & PLACE) as usize, self.entrant(root)))
    }

    /// `false`, and nothing is changed, where keys cannot tell this one.
    #[inline]
    fn change(&mut self, place: usize, entrant: Entrant) -> bool {
        let Some(mut key) = self.key(place, entrant) else { return false };
        let keys = self.keys.as_mut_slice();
        let mut at = keys.len() / 2 + place;
        if at >= keys.len() {
            return true;
        }
        keys[at] = key;
        // All the way up: asking at each level whether anything changes would take longer.
        while at > 1 {
            key = key.min(keys[at ^ 1]);
            at /= 2;
            keys[at] = key;
        }
        true
    }
}

/// A tree of entrants of several weights.
#[derive(Clone, Debug, Default)]
pub(super) struct Uneven {
    /// As [`Even`]'s.
    nodes: Vec<Node>,
}

impl Uneven {
    fn new(entrants: impl ExactSizeIterator<Item = Entrant>) -> Self {
        let leaves = entrants.len().next_power_of_two().max(1);
        let mut nodes = vec![Node::new(Entrant::ABSENT, 0); 2 * leaves];
        for (place, entrant) in entrants.enumerate() {
            nodes[leaves + place] = Node::new(entrant, place);
        }
        for at in (1..leaves).rev() {
            nodes[at] = nodes[2 * at].or_better(nodes[2 * at + 1], 0);
        }
        Self { nodes }
    }

    #[inline]
    fn winner(&self) -> Option<(usize, Entrant)> {
        let root = self.nodes.get(1)?;
        (!root.entrant().is_absent()).then(|| (root.place(), root.entrant()))
    }

    #[inline]
    fn change(&mut self, place: usize, entrant: Entrant) {
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

    /// Of one weight, so that the tree is one of numbers at first.
    fn even() -> impl Strategy<Value = Vec<Entrant>> {
        let cost = prop_oneof![8 => 0..5u64, 1 => Just(COSTS - 1), 1 => Just(u64::MAX)];
        prop::collection::vec(cost, 0..40).prop_map(|costs| {
            let entrant = |cost| Entrant { cost, weight: if cost == u64::MAX { 1 } else { 3 } };
            costs.into_iter().map(entrant).collect()
        })
    }

    fn lists() -> impl Strategy<Value = Vec<Entrant>> {
        prop_oneof![1 => even(), 1 => prop::collection::vec(entrant(), 0..40)]
    }

    fn changes() -> impl Strategy<Value = Vec<(usize, Entrant)>> {
        let even = (0..6u64).prop_map(|cost| Entrant::new(cost, 3));
        let absent = Just(Entrant::ABSENT);
        let change = prop_oneof![40 => even, 4 => absent, 1 => entrant()];
        prop_oneof![
            1 => prop::collection::vec((0..40usize, change), 0..100),
            1 => prop::collection::vec((0..40usize, entrant()), 0..100),
        ]
    }

    proptest! {
        #[test]
        fn the_winner_is_the_one_that_a_walk_through_the_list_finds(
            mut list in lists(),
            changes in changes(),
        ) {
            let mut tournament = Tournament::default();
            prop_assert_eq!(tournament.winner(), None);
            tournament.restart(list.clone().into_iter());
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
