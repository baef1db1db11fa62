//! What the reply table keeps of a connection, word by word.
//!
//! ```text
//! ports    real port 16 | client's port 16 | virtual port 16 | told 16
//! owner    protocol 2 | unused 6 | real server 20 | core 8 | entry 28
//! ```
//!
//! besides RIP, CIP and VIP. `told` is when the owner last heard of a reply, in units of eight
//! ticks; it wraps after half an hour, and at worst an owner hears a second late.

use super::{Origin, ReplyKey};
use crate::conn::flow::{bits_of, protocol_of};
use crate::conn::table::{EntryV4, Slot};
use crate::ids::RealId;
use crate::tick::Tick;
use crate::wire::{Addr, Protocol};

/// Words of the longest layout.
pub(super) const WORDS: usize = 8;
/// The bits of `ports` that the key has.
const KEY_PORTS: u64 = 0xFFFF_FFFF << 32;
const PROTOCOL_SHIFT: u32 = 62;
const REAL_SHIFT: u32 = 36;
const CORE_SHIFT: u32 = 28;
const NUMBER: u64 = (1 << CORE_SHIFT) - 1;
const TOLD: u64 = 0xFFFF;
const TOLD_UNIT_SHIFT: u32 = 3;

/// How one address family's entries are laid out.
pub(super) trait Layout {
    /// What entries are found by.
    type Key: Copy;
    /// Words of an entry.
    const LEN: usize;
    /// Which word has the ports.
    const PORTS: usize;

    /// A key as the layout compares it.
    fn key(key: &ReplyKey) -> Self::Key;
    /// An entry.
    fn pack(key: &ReplyKey, origin: &Origin, now: Tick) -> [u64; WORDS];
    /// Whether the entry is this key's.
    fn is_of(words: &[u64; WORDS], key: &Self::Key) -> bool;
    /// The connection of an entry.
    fn origin(words: &[u64; WORDS]) -> Origin;
}

fn ports(key: &ReplyKey, vip_port: u16) -> u64 {
    u64::from(key.real_port) << 48 | u64::from(key.client_port) << 32 | u64::from(vip_port) << 16
}

fn owner(key: &ReplyKey, origin: &Origin) -> u64 {
    bits_of(key.protocol) << PROTOCOL_SHIFT
        | u64::from(origin.real.0 & (RealId::LIMIT - 1)) << REAL_SHIFT
        | u64::from(origin.core & 0xFF) << CORE_SHIFT
        | u64::from(origin.slot.number()) & NUMBER
}

fn is_between(key: &ReplyKey, ports: u64, owner: u64) -> bool {
    (ports ^ self::ports(key, 0)) & KEY_PORTS == 0
        && owner >> PROTOCOL_SHIFT == bits_of(key.protocol)
}

fn origin_of(vip: Addr, ports: u64, owner: u64) -> Origin {
    Origin {
        core: (owner >> CORE_SHIFT) as u16 & 0xFF,
        slot: Slot::from_number((owner & NUMBER) as u32),
        real: RealId((owner >> REAL_SHIFT) as u32 & (RealId::LIMIT - 1)),
        vip,
        vip_port: (ports >> 16) as u16,
    }
}

fn told(now: Tick) -> u64 {
    u64::from(now.0 >> TOLD_UNIT_SHIFT) & TOLD
}

/// Ticks since the owner of the entry with this `ports` was told of a reply, modulo half an hour.
pub(super) fn told_ago(ports: u64, now: Tick) -> u32 {
    (told(now).wrapping_sub(ports & TOLD) & TOLD) as u32 * (1 << TOLD_UNIT_SHIFT)
}

/// The same entry, its owner told now.
pub(super) fn tell(ports: u64, now: Tick) -> u64 {
    ports & !TOLD | told(now)
}

/// The five values of a real server's IPv4 packet, in two words.
///
/// ```text
/// ends     RIP 32 | CIP 32
/// ports    real port 16 | client's port 16 | unused 30 | protocol 2
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyKeyV4 {
    ends: u64,
    ports: u64,
}

impl ReplyKeyV4 {
    /// The key of a packet from `real` to `client`, an address and a port each.
    #[inline(always)]
    pub fn new(real: (u32, u16), client: (u32, u16), protocol: Protocol) -> Self {
        Self {
            ends: u64::from(real.0) << 32 | u64::from(client.0),
            ports: u64::from(real.1) << 48 | u64::from(client.1) << 32 | bits_of(protocol),
        }
    }

    /// The key of a packet whose addresses, and whose ports in the upper half of a word, are
    /// these, as they stand there.
    #[inline(always)]
    pub fn of_words([ends, ports]: [u64; 2], protocol: Protocol) -> Self {
        Self { ends, ports: ports & KEY_PORTS | bits_of(protocol) }
    }

    /// The words to hash.
    #[inline(always)]
    pub(super) fn words(&self) -> [u64; 2] {
        [self.ends, self.ports]
    }

    /// RIP.
    #[inline(always)]
    pub fn real(&self) -> u32 {
        (self.ends >> 32) as u32
    }

    /// What the connection table finds a connection by that the packet answers.
    #[inline(always)]
    pub fn answered(&self) -> [u64; 2] {
        let (client, port) = (self.client(), self.client_port());
        EntryV4::answered_key(client, port, self.real_port(), self.protocol())
    }

    /// CIP.
    #[inline(always)]
    pub fn client(&self) -> u32 {
        self.ends as u32
    }

    /// The port on the real server.
    #[inline(always)]
    pub fn real_port(&self) -> u16 {
        (self.ports >> 48) as u16
    }

    /// The client's port.
    #[inline(always)]
    pub fn client_port(&self) -> u16 {
        (self.ports >> 32) as u16
    }

    /// The transport protocol, which has ports.
    #[inline(always)]
    pub fn protocol(&self) -> Protocol {
        protocol_of(self.ports)
    }
}

/// IPv4: RIP and CIP, ports, owner, VIP.
pub(super) struct V4;

/// IPv6: RIP, CIP, VIP, ports, owner.
pub(super) struct V6;

impl Layout for V4 {
    type Key = ReplyKeyV4;
    const LEN: usize = 4;
    const PORTS: usize = 1;

    #[inline]
    fn key(key: &ReplyKey) -> ReplyKeyV4 {
        let real = (key.real.v4_number(), key.real_port);
        ReplyKeyV4::new(real, (key.client.v4_number(), key.client_port), key.protocol)
    }

    fn pack(key: &ReplyKey, origin: &Origin, now: Tick) -> [u64; WORDS] {
        let ports = tell(ports(key, origin.vip_port), now);
        let vip = u64::from(origin.vip.v4_number());
        [Self::key(key).ends, ports, owner(key, origin), vip, 0, 0, 0, 0]
    }

    #[inline(always)]
    fn is_of([ends, ports, owner, ..]: &[u64; WORDS], key: &ReplyKeyV4) -> bool {
        *ends == key.ends
            && (ports ^ key.ports) & KEY_PORTS == 0
            && owner >> PROTOCOL_SHIFT == key.ports & 3
    }

    #[inline]
    fn origin([_, ports, owner, vip, ..]: &[u64; WORDS]) -> Origin {
        origin_of(Addr::v4(*vip as u32), *ports, *owner)
    }
}

impl Layout for V6 {
    type Key = ReplyKey;
    const LEN: usize = 8;
    const PORTS: usize = 6;

    fn key(key: &ReplyKey) -> ReplyKey {
        *key
    }

    fn pack(key: &ReplyKey, origin: &Origin, now: Tick) -> [u64; WORDS] {
        let ([a, b], [c, d], [e, f]) = (key.real.words(), key.client.words(), origin.vip.words());
        let ports = tell(ports(key, origin.vip_port), now);
        [a, b, c, d, e, f, ports, owner(key, origin)]
    }

    #[inline]
    fn is_of([a, b, c, d, _, _, ports, owner]: &[u64; WORDS], key: &ReplyKey) -> bool {
        key.real.words() == [*a, *b]
            && key.client.words() == [*c, *d]
            && is_between(key, *ports, *owner)
    }

    #[inline]
    fn origin([_, _, _, _, e, f, ports, owner]: &[u64; WORDS]) -> Origin {
        origin_of(Addr::from_words([*e, *f]), *ports, *owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_give_back_what_was_packed_at_its_largest() {
        let key = |real, client| ReplyKey {
            real,
            real_port: u16::MAX,
            client,
            client_port: u16::MAX - 1,
            protocol: Protocol::Sctp,
        };
        let origin = |vip| Origin {
            core: 255,
            slot: Slot::from_number((1 << 28) - 1),
            real: RealId(RealId::LIMIT - 1),
            vip,
            vip_port: u16::MAX - 2,
        };
        let (one, all) = (Addr::v4(1), Addr::v4(u32::MAX));
        let words = V4::pack(&key(one, all), &origin(all), Tick(u32::MAX));
        assert_eq!(V4::origin(&words), origin(all));
        let is_of = |key: ReplyKey| V4::is_of(&words, &V4::key(&key));
        assert!(is_of(key(one, all)) && !is_of(key(all, one)));
        assert!(!is_of(ReplyKey { protocol: Protocol::Udp, ..key(one, all) }));
        assert!(!is_of(ReplyKey { real_port: 0, ..key(one, all) }));
        assert!(!is_of(ReplyKey { client_port: 0, ..key(one, all) }));
        let parts = V4::key(&key(one, all));
        assert_eq!((parts.client(), parts.client_port()), (u32::MAX, u16::MAX - 1));
        assert_eq!((parts.real_port(), parts.protocol()), (u16::MAX, Protocol::Sctp));
        assert_eq!(parts.real(), 1);
        let (one, all) = (Addr::v6(1), Addr::v6(u128::MAX));
        let words = V6::pack(&key(one, all), &origin(all), Tick(u32::MAX));
        assert_eq!(V6::origin(&words), origin(all));
        assert!(V6::is_of(&words, &key(one, all)) && !V6::is_of(&words, &key(all, one)));
        let udp = ReplyKey { protocol: Protocol::Udp, ..key(one, all) };
        assert!(!V6::is_of(&words, &udp));
        assert!(!V6::is_of(&words, &ReplyKey { real_port: 0, ..key(one, all) }));
        assert!(!V6::is_of(&words, &ReplyKey { client_port: 0, ..key(one, all) }));
    }

    #[test]
    fn telling_keeps_the_ports_and_wraps() {
        let ports = 0x1234_5678_9ABC_0000;
        let before = tell(ports, Tick(8 * 0xFFFF));
        assert_eq!(before & !TOLD, ports);
        assert_eq!(told_ago(before, Tick(8 * 0x1_0010)), 8 * 0x11);
    }
}
