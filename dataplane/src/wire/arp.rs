//! ARP for IPv4 over Ethernet (RFC 826; announcements: RFC 5227).

use std::net::Ipv4Addr;

use super::ethernet::{self, Mac, TYPE_ARP, TYPE_IPV4};
use super::field::bytes_at;
use super::packet::{Malformed, Parsed, Vlan};
use crate::port::Frame;

/// Bytes of an ARP packet.
pub const LEN: usize = 28;
const HARDWARE_ETHERNET: u16 = 1;

/// An ARP packet's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Question or answer.
    pub operation: Operation,
    /// The sender's MAC address.
    pub sender_mac: Mac,
    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227, 2.1.1).
    pub sender: Ipv4Addr,
    /// The target's MAC address; meaningless in a request.
    pub target_mac: Mac,
    /// Whose MAC address is asked for; in a reply, who asked.
    pub target: Ipv4Addr,
    /// The outermost VLAN tag.
    pub vlan: Vlan,
    /// Where the ARP packet begins: 14, 18 or 22.
    pub l3_offset: u16,
}

/// What an ARP packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Operation {
    /// Who has the target address?
    Request = 1,
    /// The sender has the sender address.
    Reply = 2,
}

impl Arp {
    /// Whether the sender tells its own address unasked (RFC 5227, 3): a change of its MAC
    /// address, or a takeover.
    pub fn is_announcement(&self) -> bool {
        self.sender == self.target && !self.sender.is_unspecified()
    }
}

/// Reads the ARP packet at `l3`.
pub(super) fn read(frame: &[u8], l3: usize, vlan: Vlan) -> Result<Parsed, Malformed> {
    fields(frame, l3, vlan).map(Parsed::Arp).ok_or(Malformed::BadArp)
}

fn fields(frame: &[u8], l3: usize, vlan: Vlan) -> Option<Arp> {
    let [
        [h0, h1, p0, p1],
        [6, 4, o0, o1],
        [m0, m1, m2, m3],
        [m4, m5, s0, s1],
        [s2, s3, n0, n1],
        [n2, n3, n4, n5],
        [t0, t1, t2, t3],
    ] = *bytes_at::<LEN>(frame, l3)?.as_chunks::<4>().0.first_chunk::<7>()?
    else {
        return None;
    };
    let operation = match u16::from_be_bytes([o0, o1]) {
        1 => Operation::Request,
        2 => Operation::Reply,
        _ => return None,
    };
    let kind = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([p0, p1]));
    (kind == (HARDWARE_ETHERNET, TYPE_IPV4)).then_some(Arp {
        operation,
        sender_mac: Mac([m0, m1, m2, m3, m4, m5]),
        sender: Ipv4Addr::new(s0, s1, s2, s3),
        target_mac: Mac([n0, n1, n2, n3, n4, n5]),
        target: Ipv4Addr::new(t0, t1, t2, t3),
        vlan,
        l3_offset: l3 as u16,
    })
}

/// Writes an ARP packet's 28 bytes.
fn put(bytes: &mut [u8], l3: usize, arp: &Arp) -> Option<()> {
    let [h0, h1] = HARDWARE_ETHERNET.to_be_bytes();
    let [p0, p1] = TYPE_IPV4.to_be_bytes();
    let [o0, o1] = (arp.operation as u16).to_be_bytes();
    let fields = bytes.get_mut(l3..)?.first_chunk_mut::<LEN>()?;
    let (head, rest) = fields.split_at_mut(8);
    let (sender_mac, rest) = rest.split_at_mut(6);
    let (sender, rest) = rest.split_at_mut(4);
    let (target_mac, target) = rest.split_at_mut(6);
    head.copy_from_slice(&[h0, h1, p0, p1, 6, 4, o0, o1]);
    sender_mac.copy_from_slice(&arp.sender_mac.0);
    sender.copy_from_slice(&arp.sender.octets());
    target_mac.copy_from_slice(&arp.target_mac.0);
    target.copy_from_slice(&arp.target.octets());
    Some(())
}

/// Makes the frame the reply to its request: the address asked for is at `own`. VLAN tags stay.
/// Answers `false`, and changes nothing, where `arp` is not a request by one station or the
/// frame has no room.
pub fn reply(frame: &mut impl Frame, arp: &Arp, own: Mac) -> bool {
    let l3 = usize::from(arp.l3_offset);
    let sender = ethernet::source(frame.bytes());
    if arp.operation != Operation::Request
        || !arp.sender_mac.is_unicast()
        || !sender.is_some_and(Mac::is_unicast)
        || !frame.set_len(l3 + LEN)
    {
        return false;
    }
    let answer = Arp {
        operation: Operation::Reply,
        sender_mac: own,
        sender: arp.target,
        target_mac: arp.sender_mac,
        target: arp.sender,
        ..*arp
    };
    put(frame.bytes_mut(), l3, &answer).is_some() && ethernet::reflect(frame.bytes_mut(), own)
}

/// Makes the frame a broadcast question for the MAC address of `target`, asked by `sender`
/// (0.0.0.0 for a probe). Answers `false`, and changes nothing, where the frame has no room.
pub fn request(
    frame: &mut impl Frame,
    vlan: Vlan,
    own: Mac,
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> bool {
    let Some(l3) = ethernet::begin(frame, vlan, Mac::BROADCAST, own, TYPE_ARP, LEN) else {
        return false;
    };
    let request = Arp {
        operation: Operation::Request,
        sender_mac: own,
        sender,
        target_mac: Mac::ZERO,
        target,
        vlan,
        l3_offset: l3 as u16,
    };
    put(frame.bytes_mut(), l3, &request).is_some()
}

/// Makes the frame a broadcast that `addr` is at `own` now: an ARP announcement, also called
/// gratuitous ARP (RFC 5227, 3). Answers `false`, and changes nothing, where there is no room.
pub fn announcement(frame: &mut impl Frame, vlan: Vlan, own: Mac, addr: Ipv4Addr) -> bool {
    request(frame, vlan, own, addr, addr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryFrame;
    use crate::wire::parse;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const PEER: Mac = Mac([2, 0, 0, 0, 0, 9]);
    /// Who has 198.18.255.1? Tell 198.18.0.9.
    const QUESTION: [u8; 42] = [
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0, 0, 9, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1,
        2, 0, 0, 0, 0, 9, 198, 18, 0, 9, 0, 0, 0, 0, 0, 0, 198, 18, 255, 1,
    ];
    const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);
    const ASKER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);

    fn arp(bytes: &[u8]) -> Arp {
        let Parsed::Arp(arp) = parse(bytes) else { panic!("{:?}", parse(bytes)) };
        arp
    }

    #[test]
    fn a_question_is_read_and_answered_in_place() {
        let mut frame = MemoryFrame::new(&QUESTION);
        frame.set_len(60);
        let question = arp(frame.bytes());
        assert_eq!(question.operation, Operation::Request);
        assert_eq!((question.sender_mac, question.sender), (PEER, ASKER));
        assert_eq!(question.target, VIP);
        assert!(!question.is_announcement());
        assert!(reply(&mut frame, &question, OWN));
        assert_eq!(frame.bytes().len(), 42);
        assert_eq!(ethernet::destination(frame.bytes()), Some(PEER));
        assert_eq!(ethernet::source(frame.bytes()), Some(OWN));
        let answer = arp(frame.bytes());
        assert_eq!(answer.operation, Operation::Reply);
        assert_eq!((answer.sender_mac, answer.sender), (OWN, VIP));
        assert_eq!((answer.target_mac, answer.target), (PEER, ASKER));
    }

    #[test]
    fn the_director_asks_as_others_do() {
        let mut frame = MemoryFrame::new(&[0xEE; 60]);
        assert!(request(&mut frame, Vlan::UNTAGGED, PEER, ASKER, VIP));
        assert_eq!(frame.bytes(), QUESTION);
    }

    #[test]
    fn an_announcement_keeps_its_vlan() {
        let mut frame = MemoryFrame::new(&[]);
        assert!(announcement(&mut frame, Vlan::tagged(0x600A), OWN, VIP));
        let told = arp(frame.bytes());
        assert!(told.is_announcement());
        assert_eq!((told.vlan, told.l3_offset), (Vlan::tagged(0x600A), 18));
        assert_eq!((told.sender_mac, told.sender, told.target), (OWN, VIP, VIP));
        assert_eq!(ethernet::destination(frame.bytes()), Some(Mac::BROADCAST));
    }

    #[test]
    fn replies_and_questions_from_groups_are_not_answered() {
        let mut frame = MemoryFrame::new(&QUESTION);
        let question = arp(frame.bytes());
        let answered = Arp { operation: Operation::Reply, ..question };
        let grouped = Arp { sender_mac: Mac::BROADCAST, ..question };
        assert!(!reply(&mut frame, &answered, OWN));
        assert!(!reply(&mut frame, &grouped, OWN));
        assert_eq!(frame.bytes(), QUESTION);
    }

    #[test]
    fn what_is_not_arp_for_ipv4_over_ethernet_is_refused() {
        for (at, value) in [(15, 6), (16, 9), (18, 8), (19, 16), (21, 3), (20, 1)] {
            let mut bytes = QUESTION;
            bytes[at] = value;
            assert_eq!(parse(&bytes), Parsed::Malformed(Malformed::BadArp), "byte {at}");
        }
        for len in 14..42 {
            assert_eq!(parse(&QUESTION[..len]), Parsed::Malformed(Malformed::BadArp), "{len}");
        }
    }
}
