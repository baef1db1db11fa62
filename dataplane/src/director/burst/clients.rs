//! Plain packets of bound clients: `tracking: client`.

use super::bind::Binding;
use super::hops::{self, Alike, AlikeHops, Hop, Hops, Side, Sources};
use super::lane::Lane;
use super::{Desk, Learned, Reading, rewrite};
use crate::ids::PortIndex;
use crate::load::{CoreLoads, Incoming};
use crate::port::{BURST, Frame, places};
use crate::tick::Tick;

/// What frames that go on together have in common.
#[derive(Clone, Copy)]
struct Like {
    side: Side,
    alike: Alike,
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
        let like = Like { side, alike: side.alike(manner) };
        let others = Others { sources: desk.sources, loads: desk.loads, now: desk.now };
        let mut bound;
        let (mut reals, mut frames) = (reading.clients.words(reading.done), frames);
        if reading.clients.has_absent(reading.done) {
            bound = reading.clients.copied(reading.done);
            bound[0] = u32::from(first);
            let binding = &mut binding;
            let ready =
                self.bind_ahead::<F, L3, HEAD>(reading, binding, others, frames, like, &mut bound);
            (reals, frames) = (&bound, frames.get_mut(..ready).unwrap_or_default());
        }
        let count = match hops::takes_ttl(manner) {
            true => self.pass_alike::<F, L3, HEAD, true>(reading, reals, others, frames, like),
            false => self.pass_alike::<F, L3, HEAD, false>(reading, reals, others, frames, like),
        };
        (count, hops::port_of(manner))
    }

    /// Binds new clients among the frames, in their order, and writes their real servers to those
    /// that were found. Answers how many frames go on together, as far as it can be told: up to
    /// the first one about which more is to be found out, which may change what clients behind
    /// it get.
    #[inline(never)]
    fn bind_ahead<'a, F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &'a Reading,
        binding: &mut Binding<'a>,
        Others { sources, now, .. }: Others<'a>,
        frames: &[F],
        Like { side, alike }: Like,
        reals: &mut [u32; BURST],
    ) -> usize {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let goes = |hops: &Hops, lane: Lane, real: u32| {
            let place = lane.first_place().wrapping_add(real & u32::from(u16::MAX));
            hops.takes_alike(alike, place, lane.total_len())
        };
        // Nobody can predict where new clients stand among the others: no branches.
        let (mut new, mut odd, mut at) = (0u32, 0u32, 0);
        for (_, (lane, real)) in frames.iter().zip(lanes.iter().zip(&*reals)) {
            new |= u32::from(*real & u32::from(u16::MAX) == 0) << at;
            odd |= u32::from(!goes(&self.client_hops, *lane, *real)) << at;
            at += 1;
        }
        let end = frames.len().min((odd & !new).trailing_zeros() as usize);
        for at in places(new).take_while(|at| *at < end) {
            let (Some(lane), Some(frame), Some(to)) =
                (lanes.get(at), frames.get(at), reals.get_mut(at))
            else {
                return at;
            };
            let real = u32::from(binding.bind::<F, L3, HEAD>(
                reading,
                reading.done + at,
                frame,
                (sources.snapshot, now),
            ));
            let place = lane.first_place().wrapping_add(real);
            if real == 0
                || self.client_hops.get_or_learn(side, place, &sources).is_none()
                || !goes(&self.client_hops, *lane, real)
            {
                return at;
            }
            *to = real;
        }
        end
    }

    #[inline(never)]
    fn pass_alike<'a, F: Frame, const L3: usize, const HEAD: usize, const TTL: bool>(
        &mut self,
        reading: &'a Reading,
        reals: &[u32],
        Others { sources, loads, .. }: Others<'a>,
        frames: &mut [F],
        Like { side, alike }: Like,
    ) -> usize {
        let Some(incoming) = loads.incoming() else { return 0 };
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let mut count = 0;
        loop {
            let found = lanes.iter().zip(reals).skip(count);
            let rest = frames.get_mut(count..).unwrap_or_default();
            let Some(hops) = self.client_hops.alike(alike) else { return count };
            for (frame, (lane, real)) in rest.iter_mut().zip(found) {
                if !pass::<L3, HEAD, TTL>(hops, (*lane, *real as u16), frame, incoming) {
                    break;
                }
                count += 1;
            }
            // A frame about which there is more to be found out than that it goes on.
            let (Some(lane), Some(real), Some(frame)) =
                (lanes.get(count), reals.get(count), frames.get_mut(count))
            else {
                return count;
            };
            let real = *real as u16;
            let place = lane.first_place().wrapping_add(u32::from(real));
            if real == 0 || self.client_hops.get_or_learn(side, place, &sources).is_none() {
                return count;
            }
            let Some(hops) = self.client_hops.alike(alike) else { return count };
            if !pass::<L3, HEAD, TTL>(hops, (*lane, real), frame, incoming) {
                return count;
            }
            count += 1;
        }
    }
}

/// Sends one bound client's frame on, if it goes like the others.
#[inline(always)]
fn pass<const L3: usize, const HEAD: usize, const TTL: bool>(
    hops: AlikeHops<'_>,
    (lane, real): (Lane, u16),
    frame: &mut impl Frame,
    incoming: Incoming<'_>,
) -> bool {
    let place = lane.first_place().wrapping_add(u32::from(real));
    let Some(hop) = hops.get(place) else { return false };
    // Read once, before bytes are written that it might lie in for all that the compiler knows.
    let words = hop.words();
    let hop = Hop::of(&words);
    let passed = real != 0
        && hop.takes(lane.total_len())
        && rewrite::route::<L3, HEAD, TTL>(frame.bytes_mut(), hop);
    if passed {
        incoming.count(hop.real(), lane.total_len());
    }
    passed
}
