//! What the connection table keeps of a connection of either family, and how it is looked for.
//!
//! An IPv4 entry is half a cache line and an IPv6 entry a whole one, so that an established
//! packet reads and writes one line. What is the same in both is [`Packed`]; an entry without a
//! protocol is free.

mod v4;
mod v6;

use super::Conn;
use super::flow::{Flow, protocol_of};
use super::packed::{PROTOCOL_SHIFT, Packed, Renewal, Standing};
use crate::wire::Protocol;

pub use v4::EntryV4;
pub use v6::EntryV6;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{ConnFlags, State};
    use crate::forward::Forwarding;
    use crate::ids::RealId;
    use crate::table::Handle;
    use crate::tick::Tick;
    use crate::wire::Addr;

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
