//! Where a packet would come in: what is looked at before its addresses are.

use super::teller::{Teller, not};
use super::{Explanation, Fate};
use crate::bindings::Bindings;
use crate::fragments::Fragments;
use crate::ids::PortIndex;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Packet, Parsed, parse};

/// What is asked, and what a packet finds there.
pub(crate) struct Scene<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) shared: &'a Shared,
    pub(crate) bindings: &'a Bindings,
    pub(crate) fragments: &'a Fragments,
    /// The MAC address of the port that the packet comes in on.
    pub(crate) mac: Mac,
    /// Whether a packet is dropped for its addresses.
    pub(crate) refuses: fn(&Snapshot, &Packet) -> bool,
    /// Whether a fragment without ports can be of a balanced datagram.
    pub(crate) may_be_balanced: fn(&Snapshot, &Packet) -> bool,
}

impl Scene<'_> {
    /// Tells the story of a frame that would come in on this port.
    pub(crate) fn explain(&self, frame: &[u8], port: PortIndex, now: Tick) -> Explanation {
        let mut story = Explanation {
            core: self.bindings.core(),
            generation: self.snapshot.generation.0,
            service: None,
            host: None,
            fate: Fate::Not(
                "the frame is no IP packet; it goes to the kernel-facing port if there is one",
            ),
        };
        let Some(facts) = self.snapshot.port(port) else { return story };
        if facts.kernel_facing {
            story.fate = Fate::Not("the kernel sends it: it leaves on the NIC port as it is");
            return story;
        }
        let (packet, vlan) = match parse(frame) {
            Parsed::Packet(packet) => (Some(packet), Some(packet.vlan)),
            Parsed::Arp(arp) => (None, Some(arp.vlan)),
            Parsed::Other => (None, None),
            Parsed::Malformed(malformed) => {
                story.fate = not(malformed.into());
                return story;
            }
        };
        story.host = packet.and_then(|packet| self.snapshot.hosts.get(packet.dst));
        let to = ethernet::destination(frame);
        if to.is_some_and(|to| to != self.mac && !to.is_multicast()) {
            story.fate = not(DropReason::OtherMac);
        } else if vlan.is_some_and(|vlan| vlan.id() != facts.vlan.id()) {
            story.fate = not(DropReason::OtherVlan);
        } else if let Some(packet) = packet {
            let kernel = facts.peer.and_then(|peer| self.snapshot.port(peer));
            let teller = Teller {
                snapshot: self.snapshot,
                shared: self.shared,
                bindings: self.bindings,
                fragments: self.fragments,
                packet: &packet,
                may_be_balanced: (self.may_be_balanced)(self.snapshot, &packet),
                frame,
                kernel: kernel.map(|facts| &facts.name),
                now,
            };
            (story.service, story.fate) = match (self.refuses)(self.snapshot, &packet) {
                true => (None, not(DropReason::BadAddress)),
                false => teller.tell(to.is_some_and(Mac::is_multicast)),
            };
        } else if vlan.is_some() {
            story.fate =
                Fate::Host("an ARP message: heard, and answered if it asks for an address here");
        }
        story
    }
}
