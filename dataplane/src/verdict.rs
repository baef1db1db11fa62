//! What happened to a frame, and the one list of reasons why frames are dropped.

use crate::ids::{NeighbourId, PortIndex};
use crate::wire::{Addr, Malformed};

/// What is to be done with a frame that the director has looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it, as it now is, on this port: balanced traffic and the director's own
    /// answers (which reuse the frame that they answer).
    Forward(PortIndex),
    /// Hand it to the control thread or to the kernel-facing port.
    Punt,
    /// Keep it until the next hop's MAC address is known; the worker holds it.
    Hold(NeighbourId, PortIndex),
    /// The same for a neighbour that has no id yet; its packet leaves on this port.
    Seek(Addr, PortIndex),
    /// Split its IPv4 packet into fragments that the port takes, and send those.
    Fragment(PortIndex),
    /// A fragment that came before its first one: keep it, as it is, and hand it in again
    /// when a first fragment was remembered; drop it when it waited too long.
    Early,
    /// Free it.
    Drop(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident, $label:literal, $sentence:literal;)*) => {
        /// Why a frame was dropped. The counter, the metric label and the operator's
        /// sentence of every reason come from this one list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $sentence] $(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// The name in metrics, JSON and listings.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$name => $label,)* }
            }

            /// What happened, for the operator.
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$name => $sentence,)* }
            }
        }
    };
}

drop_reasons! {
    Truncated, "truncated", "The frame ends before its headers do.";
    BadIpHeader, "bad_ip_header", "The IP header contradicts itself (version, lengths or checksum field layout).";
    BadL4Header, "bad_l4_header", "The TCP, UDP, SCTP or ICMP header cannot be read or contradicts itself.";
    BadVlan, "vlan_depth", "The frame carries more than two VLAN tags.";
    BadAddress, "bad_address", "The packet's source or destination address is none that a packet may carry (RFC 1122, RFC 4291).";
    BadExtensionHeader, "bad_extension_header", "An IPv6 extension header cannot be read or contradicts itself.";
    HeaderChain, "header_chain", "The IPv6 extension header chain is too long (RFC 7112).";
    RoutingHeader, "routing_header", "The packet carries an IPv6 routing header of type 0 (RFC 5095).";
    BadFragment, "bad_fragment", "The fragment's offset or length contradicts itself.";
    TinyFragment, "tiny_fragment", "A fragment is shaped to hide its transport header (RFC 1858, RFC 3128).";
    BadArp, "bad_arp", "The ARP message cannot be read.";
    OtherMac, "other_mac", "The frame is addressed to another station's MAC address.";
    OtherVlan, "other_vlan", "The frame carries a VLAN tag that the port is not configured for.";
    NotForUs, "not_for_us", "No service, address or kernel-facing port of the director takes the packet.";
    NoPort, "kernel_port_full", "The kernel-facing port did not take the packet in time.";
    PuntQueueFull, "punt_queue_full", "The control thread did not take the packet in time.";
    AnswerLimited, "answer_limited", "An answer (RST, ICMP) was due, and the rate limit for answers was reached.";
    Unanswerable, "unanswerable", "An answer was due, and the packet must not be answered (RFC 1812, RFC 4443, RFC 9293).";
    NoRealServer, "no_real_server", "The service had no usable real server.";
    RealServerGone, "real_server_gone", "The flow's real server was removed, and the policy keeps its connections.";
    RealServerDown, "real_server_down", "The client's real server is down, and the service's policy is to drop.";
    NoNeighbour, "no_neighbour", "The next hop's MAC address could not be resolved.";
    HoldQueueFull, "hold_queue_full", "Too many packets were already waiting for a next hop's MAC address.";
    TtlExceeded, "ttl_exceeded", "The packet's TTL or hop limit ran out here.";
    TooBig, "too_big", "The packet is longer than the next link takes and may not be fragmented.";
    TableFull, "table_full", "The connection table had no room for a new connection.";
    FrameMemory, "frame_memory", "No memory was left for a frame.";
    FragmentEarly, "fragment_unknown", "A later fragment came, and its first one did not come in time.";
    SctpFragment, "sctp_fragment", "A fragment of an SCTP packet needs another port, and its checksum cannot be redone.";
    FragmentTable, "fragment_table_full", "Too many fragmented packets were in flight at once.";
    DropRate, "drop_packet", "The drop_packet defence took the packet.";
    NoCallId, "no_call_id", "The SIP persistence engine found no Call-ID in the packet.";
    Loop, "loop", "The director would have sent the packet back to where it came from, for ever.";
    Stopping, "stopping", "The director was stopping.";
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether such a packet's real server was chosen, and it was lost on its way there.
    pub const fn is_of_chosen(self) -> bool {
        matches!(
            self,
            Self::RealServerDown
                | Self::NoNeighbour
                | Self::HoldQueueFull
                | Self::TtlExceeded
                | Self::TooBig
                | Self::TableFull
                | Self::FrameMemory
                | Self::SctpFragment
                | Self::AnswerLimited
                | Self::Unanswerable
                | Self::NoPort
                | Self::Loop
                | Self::Stopping
        )
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Truncated => Self::Truncated,
            Malformed::VlanDepth => Self::BadVlan,
            Malformed::BadIpHeader => Self::BadIpHeader,
            Malformed::BadAddress => Self::BadAddress,
            Malformed::BadExtensionHeader => Self::BadExtensionHeader,
            Malformed::HeaderChainTooLong => Self::HeaderChain,
            Malformed::RoutingHeaderZero => Self::RoutingHeader,
            Malformed::BadFragment => Self::BadFragment,
            Malformed::TinyFragment => Self::TinyFragment,
            Malformed::BadTransportHeader => Self::BadL4Header,
            Malformed::BadArp => Self::BadArp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_label_and_a_sentence() {
        let labels: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
            assert!(reason.sentence().ends_with('.'), "{}", reason.label());
        }
    }
}
