//! What the connection table keeps of a connection of either family, and how it is looked for.
//!
//! An IPv4 entry is half a cache line and an IPv6 entry a whole one, so that an established
//! packet reads and writes one line. What is the same in both is [`Packed`]; an entry without a
//! protocol is free.

use super::Conn;
use super::flow::{Flow, bits_of, protocol_of};
use super::packed::{
    ANSWERED, ANSWERED_CLOCK, FORWARDING_SHIFT, KEY, MASQ, PROTOCOL_SHIFT, Packed, Renewal,
    Standing, place_of,
};
#[cfg(target_arch = "x86_64")]
use super::packed::{CLOCK, METHOD, SCARCE, STATE, TIMEOUT};
use crate::wire::{Addr, Protocol};

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

    /// Which of a line's entries is this flow's, and what it is to its packets; the entries'
    /// number if none is. Nobody can predict which it is: no branches.
    #[inline(always)]
    fn look(line: &[Self], key: &Self::Key, renewal: &Renewal) -> (usize, Standing) {
        let place = place_in(line, |entry| entry.differs(key));
        let standing = line.get(place).map_or(Standing::UNKNOWN, |entry| entry.standing(renewal));
        (place, standing)
    }

    /// What it is to packets of its client.
    #[inline(always)]
    fn standing(&self, renewal: &Renewal) -> Standing {
        self.packed().standing(renewal)
    }

    /// Whether a key is of UDP. Of the protocols that are looked up in bursts, the other is TCP.
    fn is_udp(key: &Self::Key) -> bool;
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

/// Which of a line's entries it is that does not differ; their number if all do.
#[inline(always)]
pub(super) fn place_in<E>(line: &[E], differs: impl Fn(&E) -> u64) -> usize {
    let (mut missed, mut place) = (1, 0);
    for entry in line {
        missed &= usize::from(differs(entry) != 0);
        place += missed;
    }
    place
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

/// The same of the 52 lowest bits of each, and of both halves of their product: what CPUs with
/// AVX-512 can do for several numbers at once.
#[inline(always)]
fn fold_52(a: u64, b: u64) -> u64 {
    const LOW: u64 = (1 << 52) - 1;
    let product = u128::from(a & LOW) * u128::from(b & LOW);
    (product as u64 ^ (product >> 52) as u64) & LOW
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

    /// What [`Entry::end_hash`] hashes, in 50 bits: the protocol by its two bits.
    #[inline(always)]
    pub(crate) const fn end_of(client: u32, client_port: u16, protocol: u64) -> u64 {
        protocol << 48 | (client as u64) << 16 | client_port as u64
    }

    /// [`Entry::end_hash`] of the ends that are the lower halves of the quarters.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(super) fn end_hashes(
        ends: std::arch::x86_64::__m512i,
        secret: [u64; 2],
    ) -> std::arch::x86_64::__m512i {
        use std::arch::x86_64::{
            __m512i, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_set1_epi64,
            _mm512_setzero_si512, _mm512_slli_epi64, _mm512_xor_si512,
        };
        let nothing = _mm512_setzero_si512();
        let fold = |a: __m512i, b: __m512i| {
            let low = _mm512_madd52lo_epu64(nothing, a, b);
            _mm512_xor_si512(low, _mm512_madd52hi_epu64(nothing, a, b))
        };
        let [first, second] = secret.map(|word| _mm512_set1_epi64(word as i64));
        let hash = fold(_mm512_xor_si512(ends, first), second);
        _mm512_slli_epi64::<{ 64 - 52 }>(fold(_mm512_xor_si512(hash, second), first))
    }

    /// The place that [`Entry::look`] answers, for CPUs that compare a whole line at once.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(super) fn find_avx512(line: &[Self], key: &[u64; 2]) -> usize {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_set_epi64,
            _mm512_ternarylogic_epi64, _mm512_test_epi64_mask,
        };
        let Some(line) = line.first_chunk::<2>() else { return line.len() };
        // SAFETY: two entries are eight words without a gap between them, a key is two words.
        #[allow(unsafe_code)]
        let (words, key) = unsafe {
            let words = _mm512_loadu_si512(line.as_ptr().cast());
            (words, _mm512_broadcast_i32x4(_mm_loadu_si128(key.as_ptr().cast())))
        };
        let of_key = KEY as i64;
        let keys = _mm512_set_epi64(0, 0, of_key, -1, 0, 0, of_key, -1);
        // (words ^ key) & keys
        let other = _mm512_ternarylogic_epi64::<0x28>(words, key, keys);
        let differ = _mm512_test_epi64_mask(other, other);
        let [first, second] = [differ & 0x03 != 0, differ & 0x30 != 0];
        usize::from(first) + usize::from(first & second)
    }

    /// [`Entry::look`], for CPUs that compare a whole line at once.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(super) fn look_avx512(
        line: &[Self],
        key: &[u64; 2],
        renewal: &Renewal,
    ) -> (usize, Standing) {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm512_loadu_si512, _mm512_mask_broadcast_i32x4, _mm512_movepi32_mask,
            _mm512_set_epi64, _mm512_set1_epi32, _mm512_sub_epi32, _mm512_ternarylogic_epi64,
            _mm512_test_epi64_mask,
        };
        const { assert!(size_of::<[Self; 2]>() == 64 && align_of::<Self>() == 32) };
        /// The key's words of two entries, by words of 32 bits.
        const KEYS: u16 = 0x0F0F;
        let Some(line) = line.first_chunk::<2>() else { return (0, Standing::UNKNOWN) };
        let [clock, rest] = [renewal.clock() as i64, renewal.rest() as i64];
        let wanted = _mm512_set_epi64(rest, clock, 0, 0, rest, clock, 0, 0);
        // SAFETY: two entries are eight words without a gap between them, a key is two words.
        #[allow(unsafe_code)]
        let (words, wanted) = unsafe {
            let key = _mm_loadu_si128(key.as_ptr().cast());
            let words = _mm512_loadu_si512(line.as_ptr().cast());
            (words, _mm512_mask_broadcast_i32x4(wanted, KEYS, key))
        };
        let [of_key, of_place, of_clock] = [KEY, KEY | METHOD | SCARCE, CLOCK].map(|m| m as i64);
        let of_rest = TIMEOUT as i64;
        let mask =
            _mm512_set_epi64(of_rest, of_clock, of_place, -1, of_rest, of_clock, of_place, -1);
        // (words ^ wanted) & mask
        let differing = _mm512_ternarylogic_epi64::<0x28>(words, wanted, mask);
        let keys = _mm512_set_epi64(0, 0, of_key, -1, 0, 0, of_key, -1);
        let (any, key) =
            (_mm512_test_epi64_mask(differing, differing), _mm512_test_epi64_mask(differing, keys));
        let second = usize::from(key & 0x03 != 0);
        let missed = key & 0x30 != 0 && second == 1;
        let [one, other] = line;
        let entry = if second == 0 { one } else { other };
        let real = entry.packed.real().0;
        let standing = match any >> (4 * second) & 0xF {
            0 => Standing(real),
            _ => {
                let [of_place, of_clock] = [METHOD, STATE].map(|mask| mask as i64);
                let odds = _mm512_set_epi64(0, of_clock, of_place, 0, 0, of_clock, of_place, 0);
                let odd = _mm512_test_epi64_mask(differing, odds) >> (4 * second) & 0xF != 0;
                // A clock's upper half is when it expires; as `Tick::has_come` has it.
                let now = _mm512_set1_epi32(renewal.now.0 as i32);
                let lives = _mm512_movepi32_mask(_mm512_sub_epi32(now, words)) >> (8 * second);
                let expired = lives & 1 << 5 == 0;
                Standing(real | Standing::CHANGES).unless(odd | expired | missed)
            }
        };
        (second + usize::from(missed), standing)
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
            | (clock ^ place >> 16) & ANSWERED_CLOCK
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

    #[inline(always)]
    fn is_udp([_, place]: &[u64; 2]) -> bool {
        place >> PROTOCOL_SHIFT & 2 != 0
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
        let protocol = place >> PROTOCOL_SHIFT & 3;
        let end = Self::end_of((addresses >> 32) as u32, (place >> 48) as u16, protocol);
        let [first, second] = secret;
        fold_52(fold_52(end ^ first, second) ^ second, first) << (64 - 52)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{ConnFlags, State};
    use crate::forward::Forwarding;
    use crate::ids::RealId;
    use crate::table::Handle;
    use crate::tick::Tick;

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
        let flags = ConnFlags::all() - ConnFlags::COVERED - ConnFlags::ELSEWHERE;
        let conn = Conn { forwarding: Forwarding::Masq, real_port: 8080, flags, ..full() };
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
        for flags in [ConnFlags::COVERED, ConnFlags::ELSEWHERE] {
            let other = EntryV4::new(&flow, &Conn { flags, ..conn });
            assert_ne!(other.differs_from_answered(&answered), 0, "{flags:?}");
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
        let flags = ConnFlags::all() - ConnFlags::ELSEWHERE;
        let mut conn = Conn { in_packets: Conn::MANY_PACKETS - 1, flags, ..full() };
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
    #[test]
    fn a_connection_that_leads_elsewhere_is_in_no_state_for_those_who_compare_states() {
        let conn = Conn { flags: ConnFlags::ELSEWHERE, forwarding: Forwarding::Route, ..full() };
        let entry = EntryV4::new(&flow(Protocol::Tcp), &conn);
        let packed = entry.packed();
        assert_eq!((packed.state(), packed.conn()), (conn.state, conn));
        let now = Tick(conn.expires.0.wrapping_sub(1));
        for state in State::ALL {
            assert!(!packed.is_in(*state) && !packed.is_routed_in(*state, now), "{state:?}");
            let renewal = Renewal::new(*state, conn.timeout, now);
            assert!(packed.standing(&renewal).is_odd(), "{state:?}");
        }
    }
}
