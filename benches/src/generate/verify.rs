//! What must hold of what comes back: a client (or connection) has one server, and the
//! packets of a connection keep their order.

use std::collections::HashMap;

use super::offer::Offer;
use super::sight::{Destination, Sight};
use super::stamp::Sequence;

/// What must stay at one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// All connections of a client.
    Client,
    /// The packets of a connection.
    Connection,
    /// Nothing: a box that balances packets, or does not balance.
    None,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Frames that were looked at.
    pub seen: u64,
    /// Frames that went to another server than their client's, or connection's, last one.
    pub moved: u64,
    /// Frames that came after a later one of their connection.
    pub overtaken: u64,
    /// Frames that came twice.
    pub doubled: u64,
    /// The first client whose frames went to two servers.
    pub first_moved: Option<u32>,
}

impl Findings {
    /// Whether everything held.
    pub const fn hold(&self) -> bool {
        self.moved == 0 && self.overtaken == 0 && self.doubled == 0
    }
}

/// Numbers of servers that are found without a hash map.
const NEAR: usize = 4096;
/// No server.
const NOBODY: u32 = 0;

/// The receiving side's memory.
#[derive(Clone, Debug)]
pub struct Verify {
    affinity: Affinity,
    connections: u32,
    /// By client, or by flow: server's number, from 1.
    servers: Vec<u32>,
    /// By flow.
    last: Vec<Sequence>,
    numbers: HashMap<Destination, u32>,
    near: Vec<(Destination, u32)>,
    /// By server's number: frames.
    frames: Vec<u64>,
    findings: Findings,
}

impl Verify {
    /// Looks at an offer's frames.
    pub fn new(offer: &Offer, affinity: Affinity) -> Self {
        let keys = match affinity {
            Affinity::Client => offer.clients,
            Affinity::Connection => offer.flows(),
            Affinity::None => 0,
        };
        Self {
            affinity,
            connections: offer.connections,
            servers: vec![NOBODY; keys as usize],
            last: vec![Sequence::default(); offer.flows() as usize],
            numbers: HashMap::new(),
            near: vec![(Destination::default(), NOBODY); NEAR],
            frames: vec![0],
            findings: Findings::default(),
        }
    }

    /// Looks at a frame.
    #[inline]
    pub fn see(&mut self, sight: &Sight) {
        self.findings.seen += 1;
        let server = self.number(&sight.destination);
        if let Some(frames) = self.frames.get_mut(server as usize) {
            *frames += 1;
        }
        let stamp = &sight.stamp;
        let Some(last) = self.last.get_mut(stamp.flow as usize) else { return };
        let same = last.connection() == stamp.sequence.connection();
        // A flow that never sent has place 0, which is a first packet's, too.
        let later = if same { stamp.sequence.after(*last) } else { 1 };
        if later > 0 || last.0 == 0 {
            *last = stamp.sequence;
        } else if later == 0 {
            self.findings.doubled += 1;
        } else {
            self.findings.overtaken += 1;
        }
        let key = match self.affinity {
            Affinity::Client => stamp.flow / self.connections,
            Affinity::Connection => stamp.flow,
            Affinity::None => return,
        };
        let Some(known) = self.servers.get_mut(key as usize) else { return };
        let another = self.affinity == Affinity::Connection && !same;
        if *known != server && *known != NOBODY && !another {
            self.findings.moved += 1;
            self.findings.first_moved.get_or_insert(stamp.flow / self.connections);
        }
        *known = server;
    }

    /// A server's number.
    #[inline]
    fn number(&mut self, destination: &Destination) -> u32 {
        let [.., a, b, c, d] = destination.mac.0;
        let bits = u32::from_be_bytes([a, b, c, d]) ^ destination.address as u32;
        let near = (bits.wrapping_mul(0x9E37_79B1) >> 20) as usize % NEAR;
        if let Some((known, number)) = self.near.get(near)
            && known == destination
            && *number != NOBODY
        {
            return *number;
        }
        self.far(destination, near)
    }

    #[cold]
    fn far(&mut self, destination: &Destination, near: usize) -> u32 {
        let next = self.frames.len() as u32;
        let number = *self.numbers.entry(*destination).or_insert(next);
        if number == next {
            self.frames.push(0);
        }
        if let Some(place) = self.near.get_mut(near) {
            *place = (*destination, number);
        }
        number
    }

    /// What was found so far.
    pub fn findings(&self) -> Findings {
        self.findings
    }

    /// How many frames each server got, the busiest first.
    pub fn servers(&self) -> Vec<(Destination, u64)> {
        let frames = |number: &u32| self.frames.get(*number as usize).copied().unwrap_or(0);
        let mut servers: Vec<_> =
            self.numbers.iter().map(|(server, number)| (*server, frames(number))).collect();
        servers.sort_unstable_by_key(|(server, frames)| (std::cmp::Reverse(*frames), *server));
        servers
    }

    /// Begins to count anew; who has which server and what came last is kept.
    pub fn begin(&mut self) {
        self.findings = Findings::default();
        self.frames.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::forge::tests::offer;
    use crate::generate::stamp::Stamp;
    use dataplane::wire::ethernet::Mac;

    fn sight(flow: u32, sequence: u32, server: u8) -> Sight {
        let mac = Mac([2, 0, 0, 0, 1, server]);
        let destination = Destination { mac, ..Destination::default() };
        Sight { destination, stamp: Stamp { flow, sequence: Sequence(sequence), time: 0 } }
    }

    fn found(affinity: Affinity, sights: &[(u32, u32, u8)]) -> Findings {
        let offer = Offer { connections: 2, ..offer() };
        let mut verify = Verify::new(&offer, affinity);
        for (flow, sequence, server) in sights {
            verify.see(&sight(*flow, *sequence, *server));
        }
        verify.findings()
    }

    #[test]
    fn a_client_that_moves_is_found_also_with_another_connection() {
        let sights = [(4, 1, 1), (5, 1, 1), (4, 2, 1), (5, 2, 3), (8, 1, 3)];
        let of_clients = found(Affinity::Client, &sights);
        assert_eq!((of_clients.moved, of_clients.first_moved), (1, Some(2)));
        assert_eq!(found(Affinity::Connection, &sights).moved, 1);
        assert_eq!(found(Affinity::None, &sights).moved, 0);
    }

    #[test]
    fn a_new_connection_may_go_elsewhere_only_without_persistence() {
        let sights = [(4, 1, 1), (4, 1 << 20, 2), (4, (1 << 20) + 1, 2)];
        assert_eq!(found(Affinity::Connection, &sights).moved, 0);
        assert_eq!(found(Affinity::Client, &sights).moved, 1);
    }

    #[test]
    fn frames_out_of_order_and_double_ones_are_found() {
        let findings =
            found(Affinity::Client, &[(0, 1, 1), (0, 3, 1), (0, 2, 1), (0, 3, 1), (0, 4, 1)]);
        assert_eq!((findings.overtaken, findings.doubled, findings.seen), (1, 1, 5));
        assert!(!findings.hold());
    }

    #[test]
    fn servers_are_counted() {
        let mut verify = Verify::new(&offer(), Affinity::Client);
        for (flow, server) in [(1, 1), (2, 2), (3, 2)] {
            verify.see(&sight(flow, 1, server));
        }
        let servers: Vec<_> = verify.servers().into_iter().map(|(s, n)| (s.mac.0[5], n)).collect();
        assert_eq!(servers, [(2, 2), (1, 1)]);
    }
}
