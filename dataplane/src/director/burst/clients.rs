//! Plain packets of bound clients: `tracking: client`.

use super::bind::Binding;
use super::hops::{self, Alike, Hop, Hops, Side, Sources};
use super::lane::Lane;
use super::{Desk, Learned, Reading, rewrite};
use crate::ids::PortIndex;
use crate::load::{CoreLoads, LoadShelf};
use crate::port::Frame;
use crate::tick::Tick;

/// What frames that go on together have in common.
#[derive(Clone, Copy)]
struct Like {
    side: Side,
    /// The first frame's real server, which may have been bound just now.
    first: u16,
    manner: u16,
}

/// The [`Desk`] without what clients are bound with.
#[derive(Clone, Copy)]
struct Others<'a> {
    sources: Sources<'a>,
    loads: CoreLoads<'a>,
    now: Tick,
}

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
        let mut binding = Binding::Idle(&mut *desk.bindings);
        let at = (desk.sources.snapshot, desk.now);
        let first = match (reading.clients.found(reading.done).next(), frames.first()) {
            (Some(0), Some(frame)) => binding.bind::<F, L3, HEAD>(reading, reading.done, frame, at),
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
        let like = Like { side, first, manner };
        let others = Others { sources: desk.sources, loads: desk.loads, now: desk.now };
        let binding = &mut binding;
        let count = match hops::takes_ttl(manner) {
            true => self.pass_alike::<F, L3, HEAD, true>(reading, binding, others, frames, like),
            false => self.pass_alike::<F, L3, HEAD, false>(reading, binding, others, frames, like),
        };
        (count, hops::port_of(manner))
    }

    #[inline(never)]
    fn pass_alike<'a, F: Frame, const L3: usize, const HEAD: usize, const TTL: bool>(
        &mut self,
        reading: &'a Reading,
        binding: &mut Binding<'a>,
        others: Others<'a>,
        frames: &mut [F],
        Like { side, first, manner }: Like,
    ) -> usize {
        let Others { sources, loads, now } = others;
        let Some(mut loads) = loads.shelf() else { return 0 };
        let alike = side.alike(manner);
        let (mut real, mut count) = (first, 0);
        loop {
            // A frame about which there is more to be found out than that it goes on.
            let at = reading.done + count;
            let (Some(lane), Some(frame)) = (reading.lanes.get(at), frames.get_mut(count)) else {
                return count;
            };
            if real == 0 {
                real = binding.bind::<F, L3, HEAD>(reading, at, frame, (sources.snapshot, now));
            }
            let place = lane.first_place().wrapping_add(u32::from(real));
            if real == 0 || self.client_hops.get_or_learn(side, place, &sources).is_none() {
                return count;
            }
            let hops = &self.client_hops;
            if !pass::<L3, HEAD, TTL>(hops, alike, *lane, real, frame, &mut loads) {
                return count;
            }
            count += 1;
            real = 0;
            // New clients mostly come in a row.
            if reading.clients.found(at + 1).next() == Some(0) {
                continue;
            }
            let lanes = reading.lanes.get(at + 1..).unwrap_or_default();
            let found = reading.clients.found(at + 1);
            let rest = frames.get_mut(count..).unwrap_or_default();
            let hops = &self.client_hops;
            for (frame, (lane, bound)) in rest.iter_mut().zip(lanes.iter().zip(found)) {
                if !pass::<L3, HEAD, TTL>(hops, alike, *lane, bound, frame, &mut loads) {
                    real = bound;
                    break;
                }
                count += 1;
            }
        }
    }
}

/// Sends one bound client's frame on, if it goes like the others.
#[inline(always)]
fn pass<const L3: usize, const HEAD: usize, const TTL: bool>(
    hops: &Hops,
    alike: Alike,
    lane: Lane,
    real: u16,
    frame: &mut impl Frame,
    loads: &mut LoadShelf<'_>,
) -> bool {
    let place = lane.first_place().wrapping_add(u32::from(real));
    let Some(hop) = hops.get_alike(alike, place) else { return false };
    // Read once, before bytes are written that it might lie in for all that the compiler knows.
    let words = hop.words();
    let hop = Hop::of(&words);
    let passed = real != 0
        && hop.takes(lane.total_len())
        && rewrite::route::<L3, HEAD, TTL>(frame.bytes_mut(), hop);
    if passed && let Some(load) = loads.of(hop.real()) {
        load.incoming(1, u64::from(lane.total_len()));
    }
    passed
}
