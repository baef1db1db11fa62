//! Clients that an operator has given a real server of their own.
//!
//! A pin takes the place of the scheduler: it decides about a client that is bound nowhere, or
//! whose real server is gone. It moves nobody who is bound already.

use std::collections::HashMap;

use crate::ids::RealId;
use crate::wire::Addr;

/// A client, or a network of clients, and its real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The client, or any address of the network.
    pub client: Addr,
    /// How many bits of it count.
    pub length: u8,
    /// The real server's address; the first one of the service's list that has it.
    pub real: Addr,
}

/// A service's pins, found by the longest prefix first.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// By prefix length, the longest first.
    lengths: Vec<(u8, HashMap<Addr, RealId>)>,
}

impl Pins {
    /// Those of the pins whose real server is there.
    pub fn new(pins: &[Pin], real_of: impl Fn(Addr) -> Option<RealId>) -> Self {
        let mut lengths: Vec<(u8, HashMap<Addr, RealId>)> = Vec::new();
        for pin in pins {
            let Some(real) = real_of(pin.real) else { continue };
            let place = match lengths.iter().position(|(length, _)| *length == pin.length) {
                Some(place) => place,
                None => {
                    lengths.push((pin.length, HashMap::new()));
                    lengths.len() - 1
                }
            };
            if let Some((_, clients)) = lengths.get_mut(place) {
                clients.insert(pin.client.masked(pin.length), real);
            }
        }
        lengths.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { lengths }
    }

    /// Whether nobody has one of its own.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The client's real server, if it has one of its own.
    #[inline]
    pub fn of(&self, client: Addr) -> Option<RealId> {
        if self.lengths.is_empty() {
            return None;
        }
        self.find(client)
    }

    #[cold]
    fn find(&self, client: Addr) -> Option<RealId> {
        // Addresses of the two families are never equal, also under a mask.
        self.lengths
            .iter()
            .filter(|(length, _)| *length <= client.family().bits())
            .find_map(|(length, clients)| clients.get(&client.masked(*length)).copied())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_longest_prefix_decides_and_a_server_that_is_gone_pins_nobody() {
        let pin = |client: &str, length, real: &str| Pin {
            client: addr(client),
            length,
            real: addr(real),
        };
        let pins = [
            pin("198.18.0.7", 32, "198.18.10.11"),
            pin("198.18.0.9", 24, "198.18.10.12"),
            pin("198.18.0.8", 32, "198.18.10.99"),
            pin("2001:db8::", 64, "198.18.10.12"),
            pin("0.0.0.0", 0, "198.18.10.13"),
        ];
        let number = |real: Addr| match real.v4_number() & 0xFF {
            99 => None,
            last => Some(RealId(last)),
        };
        let pins = Pins::new(&pins, number);
        for (client, real) in [
            ("198.18.0.7", Some(11)),
            ("198.18.0.8", Some(12)),
            ("198.18.0.255", Some(12)),
            ("198.18.1.1", Some(13)),
            ("2001:db8::7", Some(12)),
            ("2001:db8:0:1::7", None),
        ] {
            assert_eq!(pins.of(addr(client)), real.map(RealId), "{client}");
        }
        assert_eq!(Pins::default().of(addr("198.18.0.7")), None);
    }
}
