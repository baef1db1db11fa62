//! What the connection table keeps of a connection, bit by bit.
//!
//! An IPv4 entry is half a cache line and an IPv6 entry a whole one, so that an established
//! packet reads and writes one line. Three words are the same in both:
//!
//! ```text
//! place    client port 16 | virtual port 16 | protocol 2 | real server 20 | method 2 | packets 8
//! clock    expires 32 | real port 16 | state 8 | flags 8
//! rest     template 32 | away 2 | timeout 30
//! ```
//!
//! An entry without a protocol is free. The two bits `away` belong to the line: a digit of the
//! number of flows that would stand there if it had had room.

use super::flow::{Flow, bits_of, protocol_of};
use super::{Conn, ConnFlags, State};
use crate::forward::Forwarding;
use crate::ids::RealId;
use crate::table::Handle;
use crate::tick::Tick;
use crate::wire::{Addr, Protocol};

const PROTOCOL_SHIFT: u32 = 30;
const REAL_SHIFT: u32 = 10;
const FORWARDING_SHIFT: u32 = 8;
const PACKETS: u64 = 0xFF;
/// The bits of the place that belong to the five values.
const KEY: u64 = !0 << PROTOCOL_SHIFT;
/// Masquerading, as a method.
const MASQ: u64 = 1;
/// The bits of the place that a real server's packet knows: the client's port, the protocol,
/// and that it is masqueraded.
const ANSWERED: u64 = 0xFFFF << 48 | 3 << PROTOCOL_SHIFT | 3 << FORWARDING_SHIFT;
const EXPIRES_SHIFT: u32 = 32;
const REAL_PORT_SHIFT: u32 = 16;
const STATE_SHIFT: u32 = 8;
/// Among the flags: the template's bits mean one.
const HAS_TEMPLATE: u64 = 1 << 7;
const TEMPLATE_SHIFT: u32 = 32;
/// The longest timeout that an entry holds, in ticks: 49 days.
const TIMEOUT: u64 = (1 << 30) - 1;
const AWAY_SHIFT: u32 = 30;
const AWAY: u64 = 3 << AWAY_SHIFT;

/// All that an entry holds besides the addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    place: u64,
    clock: u64,
    rest: u64,
}

/// Ports and protocol where entries have them; protocols without ports have no number and are
/// in no table.
#[inline]
fn place_of(flow: &Flow) -> u64 {
    u64::from(flow.client_port) << 48
        | u64::from(flow.vip_port) << 32
        | bits_of(flow.protocol) << PROTOCOL_SHIFT
}

impl Packed {
    /// For a place as [`place_of`] gives it.
    #[inline(always)]
    fn new(place: u64, conn: &Conn) -> Self {
        let mut packed = Self { place, clock: 0, rest: 0 };
        packed.set(conn);
        packed
    }

    /// Whether a connection is in the entry.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.place >> PROTOCOL_SHIFT & 3 != 0
    }

    /// Everything but the flow.
    #[inline]
    pub(super) fn set(&mut self, conn: &Conn) {
        let forwarding: u64 = match conn.forwarding {
            Forwarding::Route => 0,
            Forwarding::Masq => MASQ,
            Forwarding::Tunnel => 2,
            Forwarding::Local => 3,
        };
        self.place = self.place & KEY
            | u64::from(conn.real.0 & (RealId::LIMIT - 1)) << REAL_SHIFT
            | forwarding << FORWARDING_SHIFT
            | u64::from(conn.in_packets);
        let flags = u64::from(conn.flags.bits());
        self.clock = u64::from(conn.expires.0) << EXPIRES_SHIFT
            | u64::from(conn.real_port) << REAL_PORT_SHIFT
            | u64::from(conn.state as u8) << STATE_SHIFT
            | if conn.template.is_some() { flags | HAS_TEMPLATE } else { flags };
        self.rest = u64::from(conn.template.map_or(0, Handle::to_bits)) << TEMPLATE_SHIFT
            | self.rest & AWAY
            | u64::from(conn.timeout).min(TIMEOUT);
    }

    /// Bits of [`Self::away`].
    pub(super) const AWAY_BITS: u32 = 2;

    /// What stands there for the line, which is no part of the connection.
    #[inline(always)]
    pub(super) fn away(&self) -> u32 {
        (self.rest >> AWAY_SHIFT) as u32 & 3
    }

    /// Sets it, to the lowest bits of this number.
    #[inline(always)]
    pub(super) fn set_away(&mut self, digit: u32) {
        self.rest = self.rest & !AWAY | u64::from(digit) << AWAY_SHIFT & AWAY;
    }

    /// The connection, unpacked.
    #[inline]
    pub fn conn(&self) -> Conn {
        Conn {
            template: self.template(),
            real: self.real(),
            expires: self.expires(),
            timeout: self.timeout(),
            real_port: self.real_port(),
            state: self.state(),
            flags: self.flags(),
            forwarding: self.forwarding(),
            in_packets: (self.place & PACKETS) as u8,
        }
    }

    /// Its real server.
    #[inline]
    pub fn real(&self) -> RealId {
        RealId((self.place >> REAL_SHIFT) as u32 & (RealId::LIMIT - 1))
    }

    /// The method that it was born with.
    #[inline]
    pub fn forwarding(&self) -> Forwarding {
        match self.place >> FORWARDING_SHIFT & 3 {
            0 => Forwarding::Route,
            1 => Forwarding::Masq,
            2 => Forwarding::Tunnel,
            _ => Forwarding::Local,
        }
    }

    /// When it ends unless a packet comes.
    #[inline]
    pub fn expires(&self) -> Tick {
        Tick((self.clock >> EXPIRES_SHIFT) as u32)
    }

    /// The port packets go to on the real server (masquerading).
    #[inline]
    pub fn real_port(&self) -> u16 {
        (self.clock >> REAL_PORT_SHIFT) as u16
    }

    /// The protocol's state.
    #[inline]
    pub fn state(&self) -> State {
        let number = (self.clock >> STATE_SHIFT) as u8;
        State::ALL.get(usize::from(number)).copied().unwrap_or(State::TcpNone)
    }

    /// Whether a packet that finds the protocol in this state and leaves it there is sent on
    /// directly: it has not expired, and its real server's MAC address is all there is to write.
    #[inline(always)]
    pub fn is_routed_in(&self, state: State, now: Tick) -> bool {
        const STATE: u64 = 0xFF << STATE_SHIFT;
        let other_state = (self.clock ^ (state as u64) << STATE_SHIFT) & STATE;
        // Direct routing has the number 0.
        let other_method = self.place & 3 << FORWARDING_SHIFT;
        other_state | other_method == 0 && !self.expires().has_come(now)
    }

    /// Whether it is in this state and has not expired.
    #[inline(always)]
    pub fn lives_in(&self, state: State, now: Tick) -> bool {
        self.is_in(state) && !self.expires().has_come(now)
    }

    /// Whether the protocol's state is this one.
    #[inline(always)]
    pub fn is_in(&self, state: State) -> bool {
        (self.clock >> STATE_SHIFT) as u8 == state as u8
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> ConnFlags {
        ConnFlags::from_bits_truncate(self.clock as u8)
    }

    /// The template that it was made through.
    #[inline]
    pub fn template(&self) -> Option<Handle> {
        (self.clock & HAS_TEMPLATE != 0)
            .then(|| Handle::from_bits((self.rest >> TEMPLATE_SHIFT) as u32))
    }

    /// The timeout that `expires` was set with, in ticks.
    #[inline]
    pub fn timeout(&self) -> u32 {
        (self.rest & TIMEOUT) as u32
    }

    /// A packet from the client that leaves the state as it is: counted, and the timer starts
    /// anew. What stays as it was is not written. Whether the timeout changed: the connection
    /// may end sooner than was known.
    #[inline(always)]
    #[must_use]
    pub fn keep(&mut self, timeout: u32, expires: Tick) -> bool {
        if self.place & PACKETS < u64::from(Conn::MANY_PACKETS) {
            self.place += 1;
        }
        self.restart(timeout, expires)
    }

    /// A packet to the client that leaves the state as it is: not counted, but remembered.
    /// Answers as [`Self::keep`] does.
    #[inline(always)]
    #[must_use]
    pub fn keep_by_reply(&mut self, timeout: u32, expires: Tick) -> bool {
        let no_output = u64::from(ConnFlags::NO_OUTPUT.bits());
        if self.clock & no_output != 0 {
            self.clock &= !no_output;
        }
        self.restart(timeout, expires)
    }

    #[inline(always)]
    fn restart(&mut self, timeout: u32, expires: Tick) -> bool {
        if self.expires() != expires {
            self.clock = self.clock & u64::from(u32::MAX) | u64::from(expires.0) << EXPIRES_SHIFT;
        }
        let differs = self.timeout() != timeout;
        if differs {
            self.rest = self.rest & !TIMEOUT | u64::from(timeout).min(TIMEOUT);
        }
        differs
    }
}

/// An entry of one address family.
pub trait Entry: Copy + Default {
    /// The five values of a flow as such an entry has them.
    type Key: Copy + Default;

    /// The key of a flow of this family.
    fn key(flow: &Flow) -> Self::Key;
    /// An entry for this connection.
    fn of_key(key: &Self::Key, conn: &Conn) -> Self;
    /// The same by its flow.
    fn new(flow: &Flow, conn: &Conn) -> Self {
        Self::of_key(&Self::key(flow), conn)
    }
    /// 0 if the entry is this flow's.
    fn differs(&self, key: &Self::Key) -> u64;

    /// Whether the entry is this flow's.
    #[inline(always)]
    fn is_of(&self, key: &Self::Key) -> bool {
        self.differs(key) == 0
    }

    /// The key of the entry.
    fn own_key(&self) -> Self::Key;
    /// The flow of the entry.
    fn flow(&self) -> Flow;
    /// A well mixed number that depends on every bit of key and secret, whose words are large.
    fn hash(key: &Self::Key, secret: [u64; 2]) -> u64;
    /// The same of the client's end alone, its address, its port and the protocol: what a
    /// packet says in either direction, masqueraded or not.
    fn end_hash(key: &Self::Key, secret: [u64; 2]) -> u64;
    /// The rest of the entry.
    fn packed(&self) -> &Packed;
    /// The rest of the entry, to be changed.
    fn packed_mut(&mut self) -> &mut Packed;
}

/// An IPv4 connection in 32 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub struct EntryV4 {
    /// Client, VIP.
    addresses: u64,
    packed: Packed,
}

/// An IPv6 connection in 64 bytes, eight of them unused: a denser one would stand in two lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub struct EntryV6 {
    client: [u64; 2],
    vip: [u64; 2],
    packed: Packed,
}

fn ports_and_protocol(place: u64) -> (u16, u16, Protocol) {
    let protocol = protocol_of(place >> PROTOCOL_SHIFT);
    ((place >> 48) as u16, (place >> 32) as u16, protocol)
}

/// A folded multiplication: both halves of the 128-bit product, so that every bit counts.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[inline]
fn finish(hash: u64, secret: [u64; 2]) -> u64 {
    fold(hash ^ secret[1], secret[0])
}

impl EntryV4 {
    /// The key of a flow from its parts; the port's numbers, and the protocol's bits.
    #[inline(always)]
    pub fn key_of(
        [client, vip]: [u32; 2],
        [client_port, vip_port]: [u16; 2],
        protocol: Protocol,
    ) -> [u64; 2] {
        let ports = u64::from(client_port) << 48 | u64::from(vip_port) << 32;
        let addresses = u64::from(client) << 32 | u64::from(vip);
        [addresses, ports | bits_of(protocol) << PROTOCOL_SHIFT]
    }

    /// Whether each of two entries is not this flow's.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(super) fn both_differ(line: &[Self; 2], key: &[u64; 2]) -> [bool; 2] {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_set_epi64,
            _mm512_ternarylogic_epi64, _mm512_test_epi64_mask,
        };
        const { assert!(size_of::<[Self; 2]>() == 64 && align_of::<Self>() == 32) };
        // SAFETY: two entries are eight words without a gap between them, a key is two words.
        #[allow(unsafe_code)]
        let (line, key) = unsafe {
            let line = _mm512_loadu_si512(line.as_ptr().cast());
            (line, _mm512_broadcast_i32x4(_mm_loadu_si128(key.as_ptr().cast())))
        };
        let of_key = KEY as i64;
        let mask = _mm512_set_epi64(0, 0, of_key, -1, 0, 0, of_key, -1);
        // (line ^ key) & mask
        let other = _mm512_ternarylogic_epi64::<0x28>(line, key, mask);
        let differ = _mm512_test_epi64_mask(other, other);
        [differ & 0x03 != 0, differ & 0x30 != 0]
    }

    /// What a real server's packet says of its masqueraded connection: a key without VIP, and
    /// with the port on the real server in the place of the virtual one.
    #[inline(always)]
    pub fn answered_key(
        client: u32,
        client_port: u16,
        real_port: u16,
        protocol: Protocol,
    ) -> [u64; 2] {
        let [addresses, place] = Self::key_of([client, 0], [client_port, real_port], protocol);
        [addresses, place | MASQ << FORWARDING_SHIFT]
    }

    /// 0 if the entry is of a masqueraded connection with this [`Self::answered_key`]. Which real
    /// server it has is another question.
    #[inline(always)]
    pub(super) fn differs_from_answered(&self, [addresses, place]: &[u64; 2]) -> u64 {
        let Packed { place: own, clock, .. } = self.packed;
        (self.addresses ^ addresses) >> 32
            | (own ^ place) & ANSWERED
            | (clock ^ place >> 16) & 0xFFFF << REAL_PORT_SHIFT
    }

    /// VIP and port.
    #[inline(always)]
    pub fn target(&self) -> (u32, u16) {
        (self.addresses as u32, (self.packed.place >> 32) as u16)
    }
}

impl Entry for EntryV4 {
    type Key = [u64; 2];

    #[inline]
    fn key(flow: &Flow) -> [u64; 2] {
        let addresses = u64::from(flow.client.v4_number()) << 32 | u64::from(flow.vip.v4_number());
        [addresses, place_of(flow)]
    }

    #[inline(always)]
    fn of_key([addresses, place]: &[u64; 2], conn: &Conn) -> Self {
        Self { addresses: *addresses, packed: Packed::new(*place, conn) }
    }

    #[inline(always)]
    fn differs(&self, [addresses, place]: &[u64; 2]) -> u64 {
        self.addresses ^ addresses | (self.packed.place ^ place) & KEY
    }

    #[inline]
    fn own_key(&self) -> [u64; 2] {
        [self.addresses, self.packed.place & KEY]
    }

    fn flow(&self) -> Flow {
        let (client_port, vip_port, protocol) = ports_and_protocol(self.packed.place);
        let client = Addr::v4((self.addresses >> 32) as u32);
        let vip = Addr::v4(self.addresses as u32);
        Flow { client, vip, client_port, vip_port, protocol }
    }

    #[inline]
    fn hash(key: &[u64; 2], secret: [u64; 2]) -> u64 {
        finish(fold(key[0] ^ secret[0], key[1] ^ secret[1]), secret)
    }

    #[inline(always)]
    fn end_hash([addresses, place]: &[u64; 2], secret: [u64; 2]) -> u64 {
        let end = addresses & !0 << 32 | place >> 46 & 0xFFFF << 2 | place >> PROTOCOL_SHIFT & 3;
        finish(fold(end ^ secret[0], secret[1]), secret)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::ConnFlags;

    fn flow(protocol: Protocol) -> Flow {
        Flow {
            client: Addr::v4(0xFFFF_FFFF),
            vip: Addr::v4(1),
            client_port: u16::MAX,
            vip_port: 443,
            protocol,
        }
    }

    fn full() -> Conn {
        Conn {
            template: Some(Handle::from_bits(u32::MAX)),
            real: RealId(RealId::LIMIT - 1),
            expires: Tick(u32::MAX),
            timeout: 31 * 86_400 * 250,
            real_port: u16::MAX,
            state: State::SctpClosed,
            flags: ConnFlags::all(),
            forwarding: Forwarding::Local,
            in_packets: u8::MAX,
        }
    }

    #[test]
    fn an_ipv4_entry_is_half_a_cache_line_and_an_ipv6_entry_a_whole_one() {
        assert_eq!((size_of::<EntryV4>(), align_of::<EntryV4>()), (32, 32));
        assert_eq!((size_of::<EntryV6>(), align_of::<EntryV6>()), (64, 64));
    }

    #[test]
    fn every_field_comes_back_at_its_largest_and_at_its_smallest() {
        let empty = Conn {
            template: None,
            real: RealId(0),
            expires: Tick(0),
            timeout: 0,
            real_port: 0,
            state: State::TcpNone,
            flags: ConnFlags::empty(),
            forwarding: Forwarding::Route,
            in_packets: 0,
        };
        for conn in [full(), empty] {
            for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
                let flow = flow(protocol);
                let entry = EntryV4::new(&flow, &conn);
                assert_eq!((entry.flow(), entry.packed().conn()), (flow, conn));
                let wide = Flow { client: Addr::v6(u128::MAX), vip: Addr::v6(7 << 100), ..flow };
                let entry = EntryV6::new(&wide, &conn);
                assert_eq!((entry.flow(), entry.packed().conn()), (wide, conn));
                assert!(entry.packed().is_used());
            }
        }
        for state in State::ALL {
            let conn = Conn { state: *state, ..empty };
            assert_eq!(EntryV4::new(&flow(Protocol::Tcp), &conn).packed().state(), *state);
        }
    }

    #[test]
    fn each_of_the_five_values_tells_entries_apart_and_nothing_else_does() {
        let flow = flow(Protocol::Tcp);
        let entry = EntryV4::new(&flow, &full());
        assert!(entry.is_of(&EntryV4::key(&flow)));
        let others = [
            Flow { client: Addr::v4(2), ..flow },
            Flow { vip: Addr::v4(2), ..flow },
            Flow { client_port: 1, ..flow },
            Flow { vip_port: 1, ..flow },
            Flow { protocol: Protocol::Udp, ..flow },
        ];
        for other in others {
            assert!(!entry.is_of(&EntryV4::key(&other)), "{other:?}");
        }
        let parts = EntryV4::key_of([u32::MAX, 1], [u16::MAX, 443], Protocol::Tcp);
        assert_eq!(parts, EntryV4::key(&flow));
        let hash = |key| EntryV4::hash(&key, [1, 2]);
        assert_eq!(hash(entry.own_key()), hash(EntryV4::key(&flow)));
    }

    #[test]
    fn a_real_servers_packet_names_its_masqueraded_connections_and_no_others() {
        let (flow, secret) = (flow(Protocol::Tcp), [5, 6]);
        let conn = Conn { forwarding: Forwarding::Masq, real_port: 8080, ..full() };
        let entry = EntryV4::new(&flow, &conn);
        let key = |client, port, real_port, protocol| {
            EntryV4::answered_key(client, port, real_port, protocol)
        };
        let answered = key(u32::MAX, u16::MAX, 8080, Protocol::Tcp);
        assert_eq!(entry.differs_from_answered(&answered), 0);
        assert_eq!(entry.target(), (1, 443));
        let others = [
            key(u32::MAX - 1, u16::MAX, 8080, Protocol::Tcp),
            key(u32::MAX, u16::MAX - 1, 8080, Protocol::Tcp),
            key(u32::MAX, u16::MAX, 443, Protocol::Tcp),
            key(u32::MAX, u16::MAX, 8080, Protocol::Udp),
        ];
        for other in others {
            assert_ne!(entry.differs_from_answered(&other), 0, "{other:x?}");
        }
        for forwarding in [Forwarding::Route, Forwarding::Tunnel, Forwarding::Local] {
            let entry = EntryV4::new(&flow, &Conn { forwarding, ..conn });
            assert_ne!(entry.differs_from_answered(&answered), 0);
        }
        assert_ne!(EntryV4::default().differs_from_answered(&key(0, 0, 0, Protocol::Tcp)), 0);
        let same = EntryV4::end_hash(&EntryV4::key(&flow), secret);
        assert_eq!(same, EntryV4::end_hash(&answered, secret));
        let elsewhere = Flow { vip: Addr::v4(9), vip_port: 7, ..flow };
        assert_eq!(same, EntryV4::end_hash(&EntryV4::key(&elsewhere), secret));
        let wide = Flow { client: Addr::v6(1 << 70), vip: Addr::v6(2), ..flow };
        let same = EntryV6::end_hash(&EntryV6::key(&wide), secret);
        let elsewhere = Flow { vip: Addr::v6(9), vip_port: 7, ..wide };
        assert_eq!(same, EntryV6::end_hash(&EntryV6::key(&elsewhere), secret));
        let other = Flow { client_port: 7, ..wide };
        assert_ne!(same, EntryV6::end_hash(&EntryV6::key(&other), secret));
    }

    #[test]
    fn a_packet_changes_timer_and_count_a_reply_timer_and_flag_and_both_leave_the_rest() {
        let mut conn = Conn { in_packets: Conn::MANY_PACKETS - 1, ..full() };
        let mut entry = EntryV4::new(&flow(Protocol::Tcp), &conn);
        assert!(entry.packed().is_in(conn.state) && !entry.packed().is_in(State::TcpNone));
        for _ in 0..3 {
            let _ = entry.packed_mut().keep(1000, Tick(999));
        }
        conn.in_packets = Conn::MANY_PACKETS;
        (conn.timeout, conn.expires) = (1000, Tick(999));
        assert_eq!(entry.packed().conn(), conn);
        for _ in 0..2 {
            let _ = entry.packed_mut().keep_by_reply(1001, Tick(u32::MAX));
        }
        conn.flags.remove(ConnFlags::NO_OUTPUT);
        (conn.timeout, conn.expires) = (1001, Tick(u32::MAX));
        assert_eq!(entry.packed().conn(), conn);
        assert_eq!(entry.flow(), flow(Protocol::Tcp));
    }
}
