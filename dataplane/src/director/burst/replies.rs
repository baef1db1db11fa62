//! Plain packets of masqueraded real servers to their clients.

use super::Desk;
use super::lane::{Kind, Lane};
use super::read::{HeaderV4, client_port_v4, is_ack_v4};
use crate::conn::table::{EntryV4, Flow};
use crate::conn::{Signal, State};
use crate::forward::Forwarding;
use crate::forward::ftp;
use crate::mailbox::Seen;
use crate::reply::{Origin, Place, ReplyBurst, ReplyKeyV4, ReplyTable};
use crate::wire::{Addr, Family, NO_CHUNK, Protocol, TcpFlags, ipv4, tcp};

/// Puts a packet that no service takes to a place among the replies, and answers its lane.
#[inline(never)]
pub(super) fn read_reply_v4<const L3: usize, const HEAD: usize>(
    replies: &mut ReplyBurst,
    at: usize,
    header: &HeaderV4,
    head: &[u8; HEAD],
    table: &ReplyTable,
) -> Lane {
    let protocol = Protocol::of(header.target.protocol(), Family::V4);
    let real = (header.client, client_port_v4::<L3, HEAD>(head));
    let client = (header.target.vip(), header.target.vip_port());
    let key = ReplyKeyV4::new(real, client, protocol);
    replies.put(at, key, table);
    let kind = match protocol {
        Protocol::Udp => Kind::ReplyUdp,
        Protocol::Tcp if is_ack_v4::<L3, HEAD>(head) => Kind::ReplyTcp,
        _ => return Lane::BIND,
    };
    Lane::new(kind, 0).with_len(header.total_len)
}

impl Desk<'_> {
    /// Whether a reply to a connection of this core changes nothing but timers: it was taken
    /// down if so.
    #[inline(always)]
    pub(super) fn keeps<const UDP: bool>(
        &mut self,
        key: &ReplyKeyV4,
        origin: &Origin,
        timeout: u32,
    ) -> bool {
        let (state, protocol) = match UDP {
            true => (State::Udp, Protocol::Udp),
            false => (State::TcpEstablished, Protocol::Tcp),
        };
        if origin.vip_port == ftp::CONTROL_PORT {
            return false;
        }
        let addresses = [key.client(), origin.vip.v4_number()];
        let ports = [key.client_port(), origin.vip_port];
        let own_key = EntryV4::key_of(addresses, ports, protocol);
        let table = self.bindings.table_v4_mut();
        let Some(entry) = table.entry_of(origin.slot, &own_key) else { return false };
        // A reply over UDP assures the template.
        let news = UDP && entry.template().is_some()
            || !entry.is_in(state)
            || entry.expires().has_come(self.now);
        let same = entry.real() == origin.real
            && entry.real_port() == key.real_port()
            && entry.forwarding() == Forwarding::Masq;
        if !same || news {
            return false;
        }
        let expires = self.now.plus(timeout);
        if entry.keep_by_reply(timeout, expires) {
            table.ends_at(origin.slot, expires);
        }
        true
    }

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
