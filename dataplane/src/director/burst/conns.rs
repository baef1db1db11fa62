//! Plain packets of established connections, directly routed or masqueraded.

use super::lane::Kind;
use super::{Desk, Learned, Reading, rewrite};
use crate::conn::State;
use crate::forward::Forwarding;
use crate::forward::masq::End;
use crate::ids::PortIndex;
use crate::port::Frame;

impl Learned {
    /// Sends plain frames of established connections on, from the first one, as long as they
    /// leave on one port; the connections are counted and live on.
    #[inline(never)]
    pub(super) fn pass_conns<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let Some(kind) = lanes.first().map(|lane| lane.kind()) else { return Default::default() };
        let state = if kind == Kind::ConnUdp { State::Udp } else { State::TcpEstablished };
        let timeout = desk.sources.snapshot.timeouts.ticks(state);
        let (now, expires) = (desk.now, desk.now.plus(timeout));
        let side = self.conn_hops.side(desk.sources.vlan.unwrap_or(0));
        let Some(mut loads) = desk.loads.shelf() else { return Default::default() };
        let mut leaving = PortIndex::default();
        let mut count = 0;
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            if lane.kind() != kind {
                break;
            }
            let table = desk.bindings.table_v4_mut();
            let Some(entry) = reading.conns.entry(reading.done + count, table) else { break };
            // An expired entry may live on by its timer's slack: the reference path knows.
            if !entry.is_in(state) || entry.expires().has_come(now) {
                break;
            }
            let real = entry.real();
            let Some(hop) = self.conn_hops.get_or_learn(side, real.0, &desk.sources) else { break };
            if hop.port() != leaving {
                if count > 0 {
                    break;
                }
                leaving = hop.port();
            }
            if !hop.takes(lane.total_len()) {
                break;
            }
            let bytes = frame.bytes_mut();
            let rewritten = match (entry.forwarding(), hop.rip()) {
                (Forwarding::Route, _) => true,
                (Forwarding::Masq, Some(rip)) => {
                    let (end, to) = (End::Destination, (rip, entry.real_port()));
                    rewrite::masquerade_v4::<L3, HEAD>(bytes, end, to, state == State::Udp)
                }
                (Forwarding::Masq | Forwarding::Tunnel | Forwarding::Local, _) => false,
            };
            if !rewritten || !rewrite::route_v4::<L3, HEAD>(bytes, hop) {
                break;
            }
            entry.keep(timeout, expires);
            if let Some(load) = loads.of(real) {
                load.incoming(1, u64::from(lane.total_len()));
            }
            count += 1;
        }
        (count, leaving)
    }
}
