//! Plain packets of masqueraded real servers to their clients.

use super::lane::{Kind, Lane};
use super::read::{HeaderV4, client_port_v4, is_ack_v4};
use super::{Desk, Learned, Reading, rewrite};
use crate::conn::table::{EntryV4, Flow};
use crate::conn::{ConnFlags, Signal, State};
use crate::forward::Forwarding;
use crate::forward::ftp;
use crate::forward::masq::End;
use crate::ids::PortIndex;
use crate::mailbox::Seen;
use crate::port::Frame;
use crate::reply::{Origin, Place, ReplyBurst, ReplyKey, ReplyTable};
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
    let key = ReplyKey {
        real: Addr::v4(header.client),
        real_port: client_port_v4::<L3, HEAD>(head),
        client: Addr::v4(header.target.vip()),
        client_port: header.target.vip_port(),
        protocol,
    };
    replies.put(at, key, table);
    let kind = match protocol {
        Protocol::Udp => Kind::ReplyUdp,
        Protocol::Tcp if is_ack_v4::<L3, HEAD>(head) => Kind::ReplyTcp,
        _ => return Lane::BIND,
    };
    Lane::new(kind, 0).with_len(header.total_len)
}

impl Desk<'_> {
    /// Whether a reply changes nothing but timers: it was taken down if so.
    fn takes_reply(
        &mut self,
        key: &ReplyKey,
        place: Place,
        origin: Origin,
        signal: Signal,
    ) -> bool {
        let flow = Flow {
            client: key.client,
            vip: origin.vip,
            client_port: key.client_port,
            vip_port: origin.vip_port,
            protocol: key.protocol,
        };
        if origin.vip_port == ftp::CONTROL_PORT {
            return false;
        }
        if usize::from(origin.core) != self.core {
            if self.replies.note_is_due(place, self.now) {
                self.note(&origin, Seen { slot: origin.slot, flow, signal });
            }
            return true;
        }
        let state = match key.protocol {
            Protocol::Tcp => State::TcpEstablished,
            _ => State::Udp,
        };
        let timeout = self.sources.snapshot.timeouts.ticks(state);
        let own_key = EntryV4::key_of(
            [flow.client.v4_number(), flow.vip.v4_number()],
            [flow.client_port, flow.vip_port],
            flow.protocol,
        );
        let table = self.bindings.table_v4_mut();
        if !table.is_of(origin.slot, &own_key) {
            return false;
        }
        let Some(entry) = table.entry_mut(origin.slot) else { return false };
        let same = entry.real() == origin.real
            && entry.real_port() == key.real_port
            && entry.forwarding() == Forwarding::Masq;
        // A reply over UDP assures the template, and the first one of all is remembered.
        let news = state == State::Udp && entry.template().is_some()
            || entry.flags().contains(ConnFlags::NO_OUTPUT)
            || entry.state() != state
            || entry.expires().has_come(self.now);
        if !same || news {
            return false;
        }
        entry.renew_by_reply(state, timeout, self.now);
        true
    }
}

impl Learned {
    /// Sends plain frames of real servers on, from the first one, as long as they leave on one
    /// port.
    #[inline(never)]
    pub(super) fn pass_replies<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let side = self.exit_hops.side(desk.sources.vlan.unwrap_or(0));
        let (mut count, mut leaving) = (0, None);
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            let udp = match lane.kind() {
                Kind::ReplyTcp => false,
                Kind::ReplyUdp => true,
                _ => break,
            };
            let at = reading.done + count;
            // Where a frame before this one has made or ended a connection, another one may be
            // answered by now.
            let found = match desk.reply_changes == reading.reply_changes {
                true => reading.replies.found(at),
                false => reading.replies.find_again(at, desk.replies),
            };
            let Some((key, place, origin)) = found else { break };
            let Some(exit) = desk.sources.snapshot.exits.place(key.client) else { break };
            let Some(hop) = self.exit_hops.get_or_learn(side, exit as u32, &desk.sources) else {
                break;
            };
            if *leaving.get_or_insert(hop.port()) != hop.port() || !hop.takes(lane.total_len()) {
                break;
            }
            let bytes = frame.bytes_mut();
            let Some(signal) = signal_of::<L3>(bytes, key.protocol) else { break };
            if !desk.takes_reply(key, place, origin, signal) {
                break;
            }
            let to = (origin.vip.v4_number(), origin.vip_port);
            rewrite::masquerade_v4::<L3, HEAD>(bytes, End::Source, to, udp);
            rewrite::route_v4::<L3, HEAD>(bytes, hop);
            if let Some(load) = desk.loads.of(origin.real) {
                load.outgoing(1, u64::from(lane.total_len()));
            }
            count += 1;
        }
        (count, leaving.unwrap_or_default())
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
