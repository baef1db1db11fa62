//! Plain packets of bound clients: `tracking: client`.

use super::hops::{self, Side};
use super::lane::Lane;
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
        let side = self.client_hops.side(desk.sources.vlan.unwrap_or(0));
        let found = reading.clients.found(reading.done);
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let Some(place) =
            lanes.iter().zip(found).next().and_then(|(lane, real)| place(*lane, real))
        else {
            return (0, PortIndex::default());
        };
        let Some(hop) = self.client_hops.get_or_learn(side, place, &desk.sources) else {
            return (0, PortIndex::default());
        };
        let manner = hop.manner();
        let count = match hops::takes_ttl(manner) {
            true => self.pass_alike::<F, L3, HEAD, true>(reading, desk, frames, side, manner),
            false => self.pass_alike::<F, L3, HEAD, false>(reading, desk, frames, side, manner),
        };
        (count, hops::port_of(manner))
    }

    #[inline(never)]
    fn pass_alike<F: Frame, const L3: usize, const HEAD: usize, const TTL: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
        side: Side,
        manner: u16,
    ) -> usize {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let found = reading.clients.found(reading.done);
        let Some(mut loads) = desk.loads.shelf() else { return 0 };
        let mut count = 0;
        for (frame, (lane, real)) in frames.iter_mut().zip(lanes.iter().zip(found)) {
            let near = lane.first_place().wrapping_add(u32::from(real));
            let hop = match self.client_hops.get(side, near) {
                Some(hop) => hop,
                None => {
                    let place = place(*lane, real);
                    let hops = &mut self.client_hops;
                    match place.and_then(|place| hops.get_or_learn(side, place, &desk.sources)) {
                        Some(hop) => hop,
                        None => break,
                    }
                }
            };
            // The row of nobody, if there is one, takes no packets.
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

/// The place of a client's real server; `None` for a client that was not found.
fn place(lane: Lane, real: u16) -> Option<u32> {
    (real != 0).then(|| lane.first_place().wrapping_add(u32::from(real)))
}
