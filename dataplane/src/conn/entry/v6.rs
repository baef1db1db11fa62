//! The entry of an IPv6 connection.

use super::{Entry, finish, fold, ports_and_protocol};
use crate::conn::Conn;
use crate::conn::flow::{Flow, bits_of};
use crate::conn::packed::{KEY, PROTOCOL_SHIFT, Packed, place_of};
use crate::wire::{Addr, Protocol};

/// An IPv6 connection in 64 bytes, eight of them unused: a denser one would stand in two lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct EntryV6 {
    client: [u64; 2],
    vip: [u64; 2],
    packed: Packed,
}

impl EntryV6 {
    /// The key of a flow from its parts: the addresses' words, upper ones first, the port's
    /// numbers, and the protocol's bits.
    #[inline(always)]
    pub fn key_of(
        [[a, b], [c, d]]: [[u64; 2]; 2],
        [client_port, vip_port]: [u16; 2],
        protocol: Protocol,
    ) -> [u64; 5] {
        let ports = u64::from(client_port) << 48 | u64::from(vip_port) << 32;
        [a, b, c, d, ports | bits_of(protocol) << PROTOCOL_SHIFT]
    }
}

impl Entry for EntryV6 {
    type Key = [u64; 5];

    #[inline]
    fn key(flow: &Flow) -> [u64; 5] {
        let ([a, b], [c, d]) = (flow.client.words(), flow.vip.words());
        [a, b, c, d, place_of(flow)]
    }

    #[inline(always)]
    fn of_key([a, b, c, d, place]: &[u64; 5], conn: &Conn) -> Self {
        Self { client: [*a, *b], vip: [*c, *d], packed: Packed::new(*place, conn) }
    }

    #[inline(always)]
    fn differs(&self, [a, b, c, d, place]: &[u64; 5]) -> u64 {
        let ([e, f], [g, h]) = (self.client, self.vip);
        (a ^ e | b ^ f) | (c ^ g | d ^ h) | (self.packed.place ^ place) & KEY
    }

    #[inline(always)]
    fn is_udp([.., place]: &[u64; 5]) -> bool {
        place >> PROTOCOL_SHIFT & 2 != 0
    }

    #[inline]
    fn own_key(&self) -> [u64; 5] {
        let ([a, b], [c, d]) = (self.client, self.vip);
        [a, b, c, d, self.packed.place & KEY]
    }

    fn flow(&self) -> Flow {
        let (client_port, vip_port, protocol) = ports_and_protocol(self.packed.place);
        let (client, vip) = (Addr::from_words(self.client), Addr::from_words(self.vip));
        Flow { client, vip, client_port, vip_port, protocol }
    }

    #[inline]
    fn hash(key: &[u64; 5], secret: [u64; 2]) -> u64 {
        let hash = fold(key[0] ^ secret[0], key[1] ^ secret[1]);
        let hash = fold(hash ^ key[2], key[3] ^ secret[0]);
        finish(fold(hash ^ key[4], secret[1] | 1), secret)
    }

    #[inline(always)]
    fn end_hash([a, b, _, _, place]: &[u64; 5], secret: [u64; 2]) -> u64 {
        let hash = fold(a ^ secret[0], b ^ secret[1]);
        let end = place >> 46 & 0xFFFF << 2 | place >> PROTOCOL_SHIFT & 3;
        finish(fold(hash ^ end, secret[1]), secret)
    }

    #[inline]
    fn packed(&self) -> &Packed {
        &self.packed
    }

    #[inline]
    fn packed_mut(&mut self) -> &mut Packed {
        &mut self.packed
    }
}
