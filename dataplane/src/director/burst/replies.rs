//! Plain packets of masqueraded real servers to their clients.

use super::Desk;
use super::lane::{Kind, Lane};
use super::read::{HeaderV4, client_port_v4, is_ack_v4};
use crate::conn::Signal;
use crate::conn::table::{EntryV4, Flow, Table};
use crate::forward::ftp;
use crate::mailbox::Seen;
use crate::reply::{Origin, Place, ReplyBurst, ReplyKeyV4, ReplyTable};
use crate::wire::{Addr, Family, NO_CHUNK, Protocol, TcpFlags, ipv4, tcp};

/// Puts a packet that no service takes to a place among the replies, and answers its lane.
#[inline(always)]
pub(super) fn read_reply_v4<const L3: usize, const HEAD: usize>(
    replies: &mut ReplyBurst,
    at: usize,
    header: &HeaderV4,
    head: &[u8; HEAD],
    (table, conns): (&ReplyTable, &Table<EntryV4>),
) -> Lane {
    let protocol = Protocol::of(header.target.protocol(), Family::V4);
    let real = (header.client, client_port_v4::<L3, HEAD>(head));
    let client = (header.target.vip(), header.target.vip_port());
    let key = ReplyKeyV4::new(real, client, protocol);
    replies.put(at, key, table, conns);
    let kind = match protocol {
        Protocol::Udp => Kind::ReplyUdp,
        Protocol::Tcp if is_ack_v4::<L3, HEAD>(head) => Kind::ReplyTcp,
        _ => return Lane::BIND,
    };
    Lane::new(kind, 0).with_len(header.total_len)
}

impl Desk<'_> {
    /// Tells another core of a reply to one of its connections, if it is time to.
    #[inline(never)]
    pub(super) fn notes<const L3: usize>(
        &self,
        key: &ReplyKeyV4,
        place: Place,
        origin: &Origin,
        frame: &[u8],
    ) -> bool {
        if origin.vip_port == ftp::CONTROL_PORT {
            return false;
        }
        let Some(signal) = signal_of::<L3>(frame, key.protocol()) else { return false };
        if self.replies.note_is_due(place, self.now) {
            let flow = Flow {
                client: Addr::v4(key.client()),
                vip: origin.vip,
                client_port: key.client_port(),
                vip_port: origin.vip_port,
                protocol: key.protocol(),
            };
            self.note(origin, Seen { slot: origin.slot, flow, real: origin.real, signal });
        }
        true
    }
}

/// What a plain frame says to the state machine.
fn signal_of<const L3: usize>(frame: &[u8], protocol: Protocol) -> Option<Signal> {
    let flags = match protocol {
        Protocol::Tcp => *frame.get(L3 + ipv4::HEADER_LEN + tcp::FLAGS)?,
        _ => 0,
    };
    let tcp_flags = TcpFlags::from_bits_retain(flags);
    Some(Signal { protocol, tcp_flags, sctp_chunks: [NO_CHUNK; 2] })
}
