//! Which flow sends next, and where in its connection it is.

use super::offer::Offer;
use super::stamp::Sequence;

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It opens it: a SYN.
    Opening,
    /// It is one of the following.
    Following,
}

/// All flows of a sender.
#[derive(Clone, Debug)]
pub struct Flows {
    places: Vec<Sequence>,
    /// How many of them send.
    sending: usize,
    random: u64,
    /// Of 2^32 packets, those that open a connection.
    new_of_all: u64,
    /// The flow whose turn it is while all have one.
    next: u32,
}

impl Flows {
    /// The flows of an offer. None has sent anything.
    pub fn new(offer: &Offer) -> Self {
        Self {
            places: vec![Sequence::default(); offer.flows() as usize],
            sending: offer.flows() as usize,
            random: 0x9E37_79B9_7F4A_7C15,
            new_of_all: (offer.new_share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64,
            next: 0,
        }
    }

    /// Only this many flows send from now on.
    pub fn limit(&mut self, flows: u32) {
        self.sending = (flows as usize).min(self.places.len()).max(1);
    }

    /// All flows send one packet each from now on, see [`Self::next_in_turn`].
    pub fn begin_turn(&mut self) {
        self.next = 0;
    }

    /// The next flow's packet while each has its turn; `None` when all have had it.
    pub fn next_in_turn(&mut self) -> Option<(u32, Sequence)> {
        let flow = self.next;
        let place = self.places.get_mut(..self.sending)?.get_mut(flow as usize)?;
        self.next = flow + 1;
        *place = place.next_packet();
        Some((flow, *place))
    }

    /// The next packet of some flow: in no order that would help anybody's cache.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it never ends, and is no iterator")]
    pub fn next(&mut self) -> (u32, Sequence, Kind) {
        self.random = self.random.wrapping_add(0xA076_1D64_78BD_642F);
        let product = u128::from(self.random) * u128::from(self.random ^ 0xE703_7ED1_A0B4_28DB);
        let bits = (product >> 64) as u64 ^ product as u64;
        let flow = (((bits >> 32) * self.sending as u64) >> 32) as u32;
        let Some(place) = self.places.get_mut(flow as usize) else {
            return (0, Sequence::default(), Kind::Following);
        };
        if bits & 0xFFFF_FFFF < self.new_of_all {
            *place = place.next_connection();
            return (flow, *place, Kind::Opening);
        }
        *place = place.next_packet();
        (flow, *place, Kind::Following)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::forge::tests::offer;

    #[test]
    fn everyone_has_a_turn_and_sequences_go_on() {
        let mut flows = Flows::new(&Offer { clients: 3, connections: 2, ..offer() });
        let turn: Vec<u32> = std::iter::from_fn(|| flows.next_in_turn()).map(|(f, _)| f).collect();
        assert_eq!(turn, [0, 1, 2, 3, 4, 5]);
        let mut last = [Sequence(1); 6];
        for _ in 0..1000 {
            let (flow, place, kind) = flows.next();
            let last = &mut last[flow as usize];
            assert_eq!((place.after(*last), kind), (1, Kind::Following));
            *last = place;
        }
    }

    #[test]
    fn the_share_of_new_connections_is_kept() {
        let mut flows = Flows::new(&Offer { new_share: 0.25, ..offer() });
        let new = (0..10_000).filter(|_| flows.next().2 == Kind::Opening).count();
        assert!((2300..2700).contains(&new), "{new}");
    }
}
