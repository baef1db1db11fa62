//! Plain packets of bound clients: `tracking: client`.

use super::{Desk, Learned, Reading, rewrite};
use crate::ids::PortIndex;
use crate::port::Frame;

impl Learned {
    /// Sends plain frames of bound clients on, from the first one, as long as they leave on
    /// one port.
    #[inline(never)]
    pub(super) fn pass_clients<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let side = self.client_hops.side(desk.sources.vlan.unwrap_or(0));
        let mut loads = desk.loads.shelf();
        let mut leaving = PortIndex::default();
        let mut count = 0;
        for (frame, (lane, number)) in
            frames.iter_mut().zip(lanes.iter().zip(reading.clients.found(reading.done)))
        {
            if number == 0 {
                break;
            }
            let place = lane.first_place().wrapping_add(u32::from(number));
            let Some(hop) = self.client_hops.get_or_learn(side, place, &desk.sources) else {
                break;
            };
            if hop.port() != leaving {
                if count > 0 {
                    break;
                }
                leaving = hop.port();
            }
            if !hop.takes(lane.total_len())
                || !rewrite::route_v4::<L3, HEAD>(frame.bytes_mut(), hop)
            {
                break;
            }
            if let Some(load) = loads.of(hop.real()) {
                load.incoming(1, u64::from(lane.total_len()));
            }
            count += 1;
        }
        (count, leaving)
    }
}
