//! Plain IPv6 packets of established connections that are directly routed, as `conns` has them for
//! IPv4.

use super::lane::{Kind, Lane};
use super::read::TAGGED;
use super::read_v6::{PlainV6, TAGGED_HEAD_V6, UNTAGGED_HEAD_V6};
use super::reading::Sight;
use super::services_v6::WayV6;
use super::{Desk, Learned, Reading, rewrite};
use crate::conn::State;
use crate::conn::table::{EntryV6, Table};
use crate::forward::Forwarding;
use crate::ids::PortIndex;
use crate::port::Frame;
use crate::wire::field::u16_at;
use crate::wire::{Protocol, TcpFlags, ipv6, tcp};

/// What the segment of a frame that was read does; `None` for a frame that ends before it says.
#[inline(always)]
fn flags_v6<const L3: usize>(frame: &[u8]) -> Option<TcpFlags> {
    let flags = TcpFlags::from_bits_retain(*frame.get(L3 + ipv6::HEADER_LEN + tcp::FLAGS)?);
    let telling = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
    Some(flags.intersection(telling))
}

impl Reading {
    /// Puts the flow of a plain packet, of a frame that was read, to its place.
    #[inline(always)]
    pub(super) fn put_conn_v6<const L3: usize>(
        &mut self,
        at: usize,
        way: &WayV6,
        plain: PlainV6,
        frame: &[u8],
        conns: &Table<EntryV6>,
    ) {
        let Some(client_port) = u16_at(frame, L3 + ipv6::HEADER_LEN).filter(|port| *port != 0)
        else {
            return;
        };
        let udp = way.lane.kind() == Kind::ConnUdpV6;
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let (addresses, ports) = ([plain.client, way.vip()], [client_port, way.vip_port()]);
        self.conns_v6.put(at, EntryV6::key_of(addresses, ports, protocol), conns);
        let stays = udp || flags_v6::<L3>(frame) == Some(TcpFlags::ACK);
        self.put_lane(at, if stays { way.lane.with_len(plain.total_len) } else { Lane::BIND });
    }

    /// Reads frames from a place on as long as they are plain and go the same way, and answers
    /// how many did.
    #[inline(never)]
    pub(super) fn read_conns_v6<
        F: Frame,
        const L3: usize,
        const HEAD: usize,
        const OF_UDP: bool,
    >(
        &mut self,
        from: usize,
        frames: &[F],
        sight: &Sight<'_>,
        way: &WayV6,
    ) -> usize {
        let (form, mut at) = (way.form(sight.gate), from);
        for frame in frames.get(from..).unwrap_or_default() {
            let frame = frame.bytes();
            let Some(plain) = form.read::<L3, HEAD, OF_UDP>(frame) else { break };
            self.put_nothing(at);
            self.put_conn_v6::<L3>(at, way, plain, frame, sight.conns_v6);
            at += 1;
        }
        at - from
    }
}

impl Learned {
    /// Sends plain IPv6 frames of established connections on, from the first one, as long as they
    /// leave on one port; the connections are counted and live on.
    pub(super) fn pass_conns_v6<F: Frame, const L3: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        match L3 {
            TAGGED => self.pass_conn_run_v6::<F, L3, TAGGED_HEAD_V6>(reading, desk, frames),
            _ => self.pass_conn_run_v6::<F, L3, UNTAGGED_HEAD_V6>(reading, desk, frames),
        }
    }

    #[inline(never)]
    fn pass_conn_run_v6<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let side = self.conn_hops.side(desk.sources.vlan.unwrap_or(0));
        let timeouts = &desk.sources.snapshot.timeouts;
        let [tcp, udp] =
            [State::TcpEstablished, State::Udp].map(|state| (state, timeouts.ticks(state)));
        let (mut count, mut leaving) = (0, PortIndex::default());
        let Some(incoming) = desk.loads.incoming() else { return (0, leaving) };
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            let (state, timeout) = match lane.kind() {
                Kind::ConnTcpV6 => tcp,
                Kind::ConnUdpV6 => udp,
                _ => break,
            };
            let at = reading.done + count;
            let table = desk.bindings.table_v6_mut();
            let Some(slot) = reading.conns_v6.entry(at, table) else { break };
            let Some(entry) = table.packed_mut(slot) else { break };
            // An expired entry may live on by its timer's slack: the reference path knows.
            if !entry.is_in(state)
                || entry.expires().has_come(desk.now)
                || entry.forwarding() != Forwarding::Route
            {
                break;
            }
            let real = entry.real();
            let Some(hop) = self.conn_hops.get_or_learn(side, real.0, &desk.sources) else {
                break;
            };
            if !hop.takes(lane.total_len()) || (count > 0 && hop.port() != leaving) {
                break;
            }
            if !rewrite::route_v6::<L3, HEAD>(frame.bytes_mut(), hop) {
                break;
            }
            leaving = hop.port();
            let expires = desk.now.plus(timeout);
            if entry.keep(timeout, expires) {
                table.ends_at(slot, expires);
            }
            incoming.count(real, lane.total_len());
            count += 1;
        }
        (count, leaving)
    }
}
