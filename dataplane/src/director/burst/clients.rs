//! Plain packets of bound clients: `tracking: client`.

use super::hops::{self, Side};
use super::{Desk, Learned, Reading, rewrite};
use crate::ids::PortIndex;
use crate::port::Frame;

impl Learned {
    /// Sends plain frames of bound clients on, from the first one, as long as they leave on
    /// one port and in one manner.
    pub(super) fn pass_clients<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let nowhere = (0, PortIndex::default());
        let side = self.client_hops.side(desk.sources.vlan.unwrap_or(0));
        let lane = reading.lanes.get(reading.done).copied().unwrap_or_default();
        let first = match (reading.clients.found(reading.done).next(), frames.first()) {
            (Some(0), Some(frame)) => desk.bind_client::<F, L3, HEAD>(reading, reading.done, frame),
            (found, _) => found.unwrap_or(0),
        };
        if first == 0 {
            return nowhere;
        }
        let place = lane.first_place().wrapping_add(u32::from(first));
        let Some(hop) = self.client_hops.get_or_learn(side, place, &desk.sources) else {
            return nowhere;
        };
        let manner = hop.manner();
        let count = match hops::takes_ttl(manner) {
            true => {
                self.pass_alike::<F, L3, HEAD, true>(reading, desk, frames, side, (first, manner))
            }
            false => {
                self.pass_alike::<F, L3, HEAD, false>(reading, desk, frames, side, (first, manner))
            }
        };
        (count, hops::port_of(manner))
    }

    /// `first` is the first frame's real server, which may have been bound just now.
    #[inline(never)]
    fn pass_alike<F: Frame, const L3: usize, const HEAD: usize, const TTL: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
        side: Side,
        (first, manner): (u16, u16),
    ) -> usize {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let found = reading.clients.found(reading.done);
        let Some(mut loads) = desk.loads.shelf() else { return 0 };
        let mut count = 0;
        for (frame, (lane, real)) in frames.iter_mut().zip(lanes.iter().zip(found)) {
            let real = match real {
                0 if count == 0 => first,
                0 => desk.bind_client::<F, L3, HEAD>(reading, reading.done + count, frame),
                bound => bound,
            };
            if real == 0 {
                break;
            }
            let place = lane.first_place().wrapping_add(u32::from(real));
            let Some(hop) = self.client_hops.get_or_learn(side, place, &desk.sources) else {
                break;
            };
            if hop.manner() != manner || !hop.takes(lane.total_len()) {
                break;
            }
            if !rewrite::route::<L3, HEAD, TTL>(frame.bytes_mut(), hop) {
                break;
            }
            if let Some(load) = loads.of(hop.real()) {
                load.incoming(1, u64::from(lane.total_len()));
            }
            count += 1;
        }
        count
    }
}
