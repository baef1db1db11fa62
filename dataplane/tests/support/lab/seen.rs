//! What became of a frame, as the stations around the director see it.

use std::fmt;

use dataplane::compat::TtlPolicy;
use dataplane::counters::CoreTotals;
use dataplane::ids::PortIndex;
use dataplane::verdict::DropReason;

use super::Lab;
use super::place::{KERNEL_PORT, Layout, number_of};
use crate::support::packet::{self, DIRECTOR_MAC, describe, transport_of};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing was sent yet.
    Nothing,
    /// This real server got it.
    Real(u16),
    /// The client got a TCP reset.
    Reset,
    /// The client got ICMP port unreachable.
    Unreachable,
    /// The client got ICMP protocol unreachable.
    NoProtocol,
    /// The client got ICMP time exceeded.
    TimeExceeded,
    /// The client was told this MTU.
    TooBig(u16),
    /// The client got an echo reply.
    Pong,
    /// The asker got an ARP reply or a neighbour advertisement.
    Told,
    /// It went to the kernel-facing port, as it was.
    Kernel,
    /// It came from the kernel and left on the NIC port, as it was.
    FromKernel,
    /// It waits for a MAC address.
    Held,
    /// Control got it.
    Punted,
    /// The wire was full.
    Unsent,
    /// Dropped, for this reason.
    Dropped(DropReason),
}

impl fmt::Display for Seen {
    /// As in the scenarios of IPVS's description: X is port unreachable, - is silence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Real(number) => write!(f, "{number}"),
            Self::Reset => f.write_str("RST"),
            Self::Unreachable => f.write_str("X"),
            Self::Dropped(_) => f.write_str("-"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Reads what became of `frame` from what was sent and what was counted since `before`.
pub fn of(
    lab: &Lab,
    before: &CoreTotals,
    frame: &[u8],
    ingress: PortIndex,
    sent: &[(PortIndex, Vec<u8>)],
) -> Seen {
    match sent {
        [] => not_sent(before, &lab.totals()),
        [(port, out)] => {
            let kernel_facing = lab.setup.layout == Layout::KernelFacing;
            if kernel_facing && *port == KERNEL_PORT {
                assert_eq!(out, frame, "what the kernel gets is the frame as it was");
                return Seen::Kernel;
            }
            if kernel_facing && ingress == KERNEL_PORT {
                assert_eq!(out, frame, "what the kernel sends leaves as it was");
                return Seen::FromKernel;
            }
            // A real server that asks gets an answer.
            if let Some(number) = number_of(&out[..6])
                && out[..6] != frame[6..12]
            {
                check_direct_routing(lab, frame, out);
                return Seen::Real(number);
            }
            assert_eq!(*port, ingress, "an answer leaves where the question came in");
            answer(frame, out)
        }
        more => panic!("one frame became {}: {more:02x?}", more.len()),
    }
}

fn not_sent(before: &CoreTotals, after: &CoreTotals) -> Seen {
    for reason in DropReason::ALL {
        if after.dropped_for(*reason) > before.dropped_for(*reason) {
            return Seen::Dropped(*reason);
        }
    }
    if after.held > before.held {
        return Seen::Held;
    }
    if after.punted > before.punted {
        return Seen::Punted;
    }
    assert!(after.unsent > before.unsent, "the frame is gone: {after:?}");
    Seen::Unsent
}

/// Direct routing changes twelve bytes; the TTL and its checksum unless told to keep it. Where
/// the VLAN changes, the packet inside is compared.
fn check_direct_routing(lab: &Lab, before: &[u8], after: &[u8]) {
    let what = || format!("before {}\nafter  {}", describe(before), describe(after));
    assert_eq!(after[6..11], DIRECTOR_MAC[..5], "the sender is the director\n{}", what());
    let (l3_before, l3_after) = (l3_of(before), l3_of(after));
    if lab.setup.layout != Layout::TwoVlans {
        assert_eq!(before[12..l3_before], after[12..l3_after], "{}", what());
    }
    let mut expected = before[l3_before..].to_vec();
    if lab.compat.ttl == TtlPolicy::Decrement {
        if expected[0] >> 4 == 4 {
            expected[8] -= 1;
            expected[10..12].copy_from_slice(&[0, 0]);
            let header = usize::from(expected[0] & 15) * 4;
            let sum = header_checksum(&expected[..header]);
            expected[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            expected[7] -= 1;
        }
    }
    assert_eq!(expected, after[l3_after..], "direct routing changed the packet\n{}", what());
    assert_eq!(before[l3_before..].len(), after[l3_after..].len(), "padding stays");
}

fn header_checksum(header: &[u8]) -> u16 {
    let mut sum: u32 =
        header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

fn l3_of(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0x00] | [0x88, 0xA8]) {
        at += 4;
    }
    at + 2
}

/// The Ethernet address of all IPv6 nodes, who are told in answer to a probe (RFC 4861, 7.2.4).
const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// An answer goes back to who asked, from where it was sent to.
fn answer(question: &[u8], out: &[u8]) -> Seen {
    let to_asker = out[..6] == question[6..12] || out[..6] == ALL_NODES;
    assert!(to_asker, "an answer goes to who asked: {}", describe(out));
    let ethertype = &out[l3_of(out) - 2..l3_of(out)];
    if ethertype == [0x08, 0x06] {
        return Seen::Told;
    }
    packet::assert_checksums(out);
    let (_, to, protocol, transport) = transport_of(out);
    let (asker, ..) = transport_of(question);
    if (protocol, transport[0]) == (58, 136) {
        return Seen::Told;
    }
    assert_eq!(to, asker, "an answer goes to who asked: {}", describe(out));
    match (protocol, transport[0], transport.get(1)) {
        (6, ..) if transport[13] & 4 != 0 => Seen::Reset,
        (1, 3, Some(3)) | (58, 1, Some(4)) => Seen::Unreachable,
        (1, 3, Some(2)) | (58, 4, Some(1)) => Seen::NoProtocol,
        (1, 11, Some(0)) | (58, 3, Some(0)) => Seen::TimeExceeded,
        (1, 3, Some(4)) | (58, 2, Some(0)) => {
            Seen::TooBig(u16::from_be_bytes([transport[6], transport[7]]))
        }
        (1, 0, _) | (58, 129, _) => Seen::Pong,
        _ => panic!("no answer that a host gives: {}", describe(out)),
    }
}
