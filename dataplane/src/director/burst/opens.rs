//! Plain packets that open connections which are directly routed.

use super::lane::{Kind, Opens};
use super::{Desk, Learned, Reading, rewrite};
use crate::ids::PortIndex;
use crate::port::Frame;

impl Learned {
    /// Opens connections of one service and sends their first packets on, from the first frame,
    /// as long as they leave on one port.
    #[inline(never)]
    pub(super) fn pass_opens<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let nowhere = (0, PortIndex::default());
        let (sources, now) = (desk.sources, desk.now);
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let Some(who) = lanes.first().map(|lane| lane.first_place()) else { return nowhere };
        let opener = Opens::unpack(who).and_then(|Opens { service, own_port }| {
            let service = sources.snapshot.service(service)?;
            desk.bindings.opener((service, own_port), sources.snapshot, now)
        });
        let Some(mut opener) = opener else { return nowhere };
        let side = self.conn_hops.side(sources.vlan.unwrap_or(0));
        let (mut count, mut leaving) = nowhere;
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            if lane.kind() != Kind::Open || lane.first_place() != who {
                break;
            }
            let at = reading.done + count;
            let Some(flow) = reading.conns.wanted(at) else { break };
            let Some(opened) = opener.look(&reading.templates, at, flow) else { break };
            let Some(hop) = self.conn_hops.get_or_learn(side, opened.real.id.0, &sources) else {
                break;
            };
            if !hop.takes(lane.total_len()) || count > 0 && hop.port() != leaving {
                break;
            }
            let bytes = frame.bytes_mut();
            if bytes.len() < HEAD || !opener.open(opened, flow, lane.total_len()) {
                break;
            }
            rewrite::route_v4::<L3, HEAD>(bytes, hop);
            leaving = hop.port();
            count += 1;
        }
        (count, leaving)
    }
}
