//! Plain IPv6 packets of services with `tracking: client`: read, and sent on to the real servers
//! of bound clients.

use super::lane::Kind;
use super::read::TAGGED;
use super::read_v6::{PlainV6, TAGGED_HEAD_V6, UNTAGGED_HEAD_V6, read_v6};
use super::reading::Sight;
use super::services_v6::WayV6;
use super::{Desk, Learned, Reading, rewrite};
use crate::ids::PortIndex;
use crate::port::Frame;

impl Reading {
    /// Puts a plain packet to its place.
    fn put_v6(&mut self, at: usize, way: &WayV6, plain: PlainV6) {
        self.put_nothing(at);
        if let Some(scope) = way.scope {
            self.clients_v6.push(at, way.client(plain.client), scope);
            self.put_lane(at, way.lane.with_len(plain.total_len));
        }
    }

    /// Reads frames from a place on as long as they are plain and go the same way, and answers
    /// how many did.
    #[inline(never)]
    fn read_alike_v6<F: Frame, const L3: usize, const HEAD: usize, const OF_UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        sight: &Sight<'_>,
        way: &WayV6,
    ) -> usize {
        let (Some(scope), Some(lanes)) = (way.scope, self.lanes.get_mut(at..)) else { return 0 };
        let (form, lane) = (way.form(sight.gate), way.lane);
        let mut read = 0;
        for (frame, place) in frames.get(at..).unwrap_or_default().iter().zip(lanes) {
            let Some(plain) = form.read::<L3, HEAD, OF_UDP>(frame.bytes()) else { break };
            self.clients_v6.push(at + read, way.client(plain.client), scope);
            *place = lane.with_len(plain.total_len);
            read += 1;
        }
        for at in at..at + read {
            self.clients.clear(at);
        }
        read
    }
}

impl Learned {
    /// Reads the frame at a place, which is no plain IPv4 one, and as many plain IPv6 ones behind
    /// it as there are; answers how many it read, at least that one.
    pub(super) fn read_v6<F: Frame, const L3: usize>(
        &mut self,
        reading: &mut Reading,
        at: usize,
        frames: &[F],
        sight: &Sight<'_>,
    ) -> usize {
        match L3 {
            TAGGED => self.read_run_v6::<F, L3, TAGGED_HEAD_V6>(reading, at, frames, sight),
            _ => self.read_run_v6::<F, L3, UNTAGGED_HEAD_V6>(reading, at, frames, sight),
        }
    }

    #[inline(never)]
    fn read_run_v6<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        from: usize,
        frames: &[F],
        sight: &Sight<'_>,
    ) -> usize {
        let mut way = self.services_v6.last();
        let mut at = from;
        loop {
            at += match way.form(sight.gate).is_udp() {
                true => reading.read_alike_v6::<F, L3, HEAD, true>(at, frames, sight, &way),
                false => reading.read_alike_v6::<F, L3, HEAD, false>(at, frames, sight, &way),
            };
            let frame = frames.get(at).map(F::bytes);
            let read = frame.and_then(|frame| read_v6::<L3, HEAD>(frame, sight.gate));
            let Some((target, plain)) = read else {
                // Of no kind that is read here.
                return (at - from).max(1);
            };
            way = self.services_v6.way(target, sight.snapshot);
            reading.put_v6(at, &way, plain);
            at += 1;
        }
    }

    /// Sends plain IPv6 frames of bound clients on, from the first one, as long as they leave on
    /// one port.
    pub(super) fn pass_clients_v6<F: Frame, const L3: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        match L3 {
            TAGGED => self.pass_run_v6::<F, L3, TAGGED_HEAD_V6>(reading, desk, frames),
            _ => self.pass_run_v6::<F, L3, UNTAGGED_HEAD_V6>(reading, desk, frames),
        }
    }

    #[inline(never)]
    fn pass_run_v6<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let side = self.client_hops.side(desk.sources.vlan.unwrap_or(0));
        let mut leaving = PortIndex::default();
        let Some(mut loads) = desk.loads.shelf() else { return (0, leaving) };
        let mut count = 0;
        for (frame, (lane, number)) in
            frames.iter_mut().zip(lanes.iter().zip(reading.clients_v6.found(reading.done)))
        {
            if lane.kind() != Kind::ClientV6 || number == 0 {
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
                || !rewrite::route_v6::<L3, HEAD>(frame.bytes_mut(), hop)
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
