//! What neighbours ask and say: ARP and Neighbour Discovery.

use super::Path;
use crate::ids::PortIndex;
use crate::mailbox::{Event, Heard};
use crate::port::Frame;
use crate::snapshot::{HostAddress, Snapshot};
use crate::verdict::{DropReason, Verdict};
use crate::wire::arp::{self, Arp};
use crate::wire::ndp::{self, Ndp};
use crate::wire::{Packet, ethernet};

impl Path {
    pub(super) fn neighbour_discovery(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        message: &Ndp,
        ingress: PortIndex,
    ) -> Verdict {
        match *message {
            Ndp::Solicitation { target, source_mac: source } => {
                if let Some(mac) = source {
                    let address = packet.src;
                    let heard = Heard { port: ingress, address, mac, reply: false, unicast: false };
                    self.hear(snapshot, heard);
                }
                if snapshot.hosts.get(target.into()).is_none() {
                    return self.to_kernel(snapshot, ingress, DropReason::NotForUs);
                }
                match ndp::advertise_in_reply(frame, packet, self.mac(ingress)) {
                    Ok(()) => self.answered(ingress),
                    Err(_) => Verdict::Drop(DropReason::Unanswerable),
                }
            }
            Ndp::Advertisement { target, target_mac: mac, solicited, .. } => {
                // Without the option the sender of the frame is the one that has the address.
                if let Some(mac) = mac.or_else(|| ethernet::source(frame.bytes())) {
                    let address = target.into();
                    let (reply, unicast) = (solicited, solicited);
                    self.hear(snapshot, Heard { port: ingress, address, mac, reply, unicast });
                }
                self.to_kernel_or_punt(snapshot, ingress)
            }
        }
    }

    pub(super) fn arp(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        arp: &Arp,
        ingress: PortIndex,
    ) -> Verdict {
        let own = self.mac(ingress);
        let unicast = ethernet::destination(frame.bytes()) == Some(own);
        let reply = arp.operation == arp::Operation::Reply;
        let heard = Heard {
            port: ingress,
            address: arp.sender.into(),
            mac: arp.sender_mac,
            reply,
            unicast,
        };
        self.hear(snapshot, heard);
        if reply {
            return self.to_kernel_or_punt(snapshot, ingress);
        }
        let asked_for_ours = snapshot.hosts.get(arp.target.into()).is_some();
        // A probe or announcement for an address of ours from somebody else (RFC 5227) is
        // answered as well: that is how we defend the address.
        if asked_for_ours && arp::reply(frame, arp, own) {
            return self.answered(ingress);
        }
        self.to_kernel(snapshot, ingress, DropReason::NotForUs)
    }

    /// Passes on what a station says of an address. One that says it has a VIP is counted: a
    /// real server that does not hide it, the classic mistake with direct routing.
    pub(super) fn hear(&self, snapshot: &Snapshot, heard: Heard) {
        if heard.mac == self.mac(heard.port) {
            return;
        }
        // What is lost here is said again: questions are repeated, claims too.
        let _ = match snapshot.hosts.get(heard.address) {
            Some(HostAddress::Vip) => {
                if let Some(counters) = self.counters() {
                    counters.vip_claims.add(1);
                }
                self.tell(Event::VipClaimed(heard))
            }
            Some(HostAddress::Own(_)) | None => self.tell(Event::Heard(heard)),
        };
    }
}
