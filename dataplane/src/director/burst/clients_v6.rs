//! Plain IPv6 packets of services with `tracking: client`: read, and sent on to the real servers
//! of bound clients.

use super::forms::Forms;
#[cfg(target_arch = "x86_64")]
use super::fours::{self, FOUR};
#[cfg(target_arch = "x86_64")]
use super::fours_v6;
use super::hops::{self, Side};
use super::lane::Kind;
use super::read::TAGGED;
#[cfg(target_arch = "x86_64")]
use super::read::WideForm;
use super::read_v6::{PlainV6, TAGGED_HEAD_V6, TargetV6, UNTAGGED_HEAD_V6, read_v6};
use super::reading::Sight;
use super::services_v6::WayV6;
use super::{Desk, Learned, Reading, rewrite};
use crate::conn::table::{EntryV6, Table};
use crate::cpu::Tier;
use crate::ids::PortIndex;
use crate::port::Frame;
#[cfg(target_arch = "x86_64")]
use crate::table::AimerV6;

impl Reading {
    /// Puts a plain packet to its place.
    fn put_v6<const L3: usize>(
        &mut self,
        at: usize,
        way: &WayV6,
        plain: PlainV6,
        frame: &[u8],
        conns: &Table<EntryV6>,
    ) {
        self.put_nothing(at);
        if let Some(scope) = way.scope {
            self.clients_v6.put(at, way.client(plain.client), scope);
            return self.put_lane(at, way.lane.with_len(plain.total_len));
        }
        if let Kind::ConnTcpV6 | Kind::ConnUdpV6 = way.lane.kind() {
            self.put_conn_v6::<L3>(at, way, plain, frame, conns);
        }
    }

    /// Reads frames from a place on as long as they are plain and go the same way, and answers
    /// how many did.
    fn read_alike_v6<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        at: usize,
        frames: &[F],
        sight: &Sight<'_>,
        way: &WayV6,
        (tier, forms): (Tier, &mut Forms<TargetV6>),
    ) -> usize {
        let looks = (tier, forms);
        match (way.lane.kind(), way.form(sight.gate).is_udp()) {
            (Kind::ConnTcpV6, _) => {
                self.read_conns_v6::<F, L3, HEAD, false>(at, frames, sight, way)
            }
            (Kind::ConnUdpV6, _) => self.read_conns_v6::<F, L3, HEAD, true>(at, frames, sight, way),
            _ if way.scope.is_none() => 0,
            (_, true) => self.read_by_tier_v6::<F, L3, HEAD, true>(at, frames, sight, way, looks),
            (_, false) => self.read_by_tier_v6::<F, L3, HEAD, false>(at, frames, sight, way, looks),
        }
    }

    fn read_by_tier_v6<F: Frame, const L3: usize, const HEAD: usize, const OF_UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        sight: &Sight<'_>,
        way: &WayV6,
        (tier, forms): (Tier, &mut Forms<TargetV6>),
    ) -> usize {
        let read = match (tier, sight.clients.aimer_v6(&mut self.clients_v6)) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            (Tier::Avx512, Some(aimer)) => unsafe {
                let form = forms.of::<L3>(way, sight.gate);
                self.read_fours_v6::<F, L3, HEAD, OF_UDP>(at, frames, form, aimer, way)
            },
            _ => 0,
        };
        let rest = at + read;
        let read = read + self.read_any_v6::<F, L3, HEAD, OF_UDP>(rest, frames, sight, way);
        self.clients.clear_all(at, read);
        read
    }

    /// The same four at a time, as long as all four are alike.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,vaes,aes")]
    #[inline(never)]
    fn read_fours_v6<F: Frame, const L3: usize, const HEAD: usize, const OF_UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        form: &WideForm,
        aimer: AimerV6<'_>,
        way: &WayV6,
    ) -> usize {
        let (Some(scope), Some(lanes)) = (way.scope, self.lanes.get_mut(at..)) else { return 0 };
        let (frames, _) = frames.get(at..).unwrap_or_default().as_chunks::<FOUR>();
        let mut read = 0;
        for (frames, lanes) in frames.iter().zip(lanes.as_chunks_mut::<FOUR>().0) {
            let Some(four) = fours_v6::read::<F, L3, HEAD, OF_UDP>(frames, form) else { break };
            let clients = fours_v6::under(four.clients, way.mask);
            if !aimer.put_four(&mut self.clients_v6, at + read, clients, scope) {
                break;
            }
            *lanes = way.lane.with_lens(fours::total_lens(four.rows));
            read += FOUR;
        }
        read
    }

    /// The same one at a time.
    #[inline(never)]
    fn read_any_v6<F: Frame, const L3: usize, const HEAD: usize, const OF_UDP: bool>(
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
            self.clients_v6.put(at + read, way.client(plain.client), scope);
            *place = lane.with_len(plain.total_len);
            read += 1;
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
            let looks = (self.tier, &mut self.forms_v6);
            at += reading.read_alike_v6::<F, L3, HEAD>(at, frames, sight, &way, looks);
            let frame = frames.get(at).map(F::bytes);
            let read =
                frame.and_then(|frame| Some((frame, read_v6::<L3, HEAD>(frame, sight.gate)?)));
            let Some((frame, (target, plain))) = read else {
                // Of no kind that is read here.
                return (at - from).max(1);
            };
            way = self.services_v6.way(target, sight.snapshot);
            reading.put_v6::<L3>(at, &way, plain, frame, sight.conns_v6);
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

    fn pass_run_v6<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let nowhere = (0, PortIndex::default());
        let side = self.client_hops.side(desk.sources.vlan.unwrap_or(0));
        let lane = reading.lanes.get(reading.done).copied().unwrap_or_default();
        let real = reading.clients_v6.found(reading.done).next().unwrap_or(0);
        if real == 0 {
            return nowhere;
        }
        let place = lane.first_place().wrapping_add(u32::from(real));
        let Some(hop) = self.client_hops.get_or_learn(side, place, &desk.sources) else {
            return nowhere;
        };
        let manner = hop.manner();
        let count = match hops::takes_ttl(manner) {
            true => self.pass_alike_v6::<F, L3, HEAD, true>(reading, desk, frames, side, manner),
            false => self.pass_alike_v6::<F, L3, HEAD, false>(reading, desk, frames, side, manner),
        };
        (count, hops::port_of(manner))
    }

    #[inline(never)]
    fn pass_alike_v6<F: Frame, const L3: usize, const HEAD: usize, const HOPS: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
        side: Side,
        manner: u16,
    ) -> usize {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let found = reading.clients_v6.found(reading.done);
        let Some(incoming) = desk.loads.incoming() else { return 0 };
        let Some(hops) = self.client_hops.alike(side.alike(manner)) else { return 0 };
        let mut count = 0;
        for (frame, (lane, real)) in frames.iter_mut().zip(lanes.iter().zip(found)) {
            if lane.kind() != Kind::ClientV6 || real == 0 {
                break;
            }
            let place = lane.first_place().wrapping_add(u32::from(real));
            // A row that is made first, or another manner, begins another stretch.
            let Some(hop) = hops.get(place) else { break };
            if !hop.takes(lane.total_len())
                || !rewrite::route_v6_by::<L3, HEAD, HOPS>(frame.bytes_mut(), hop)
            {
                break;
            }
            incoming.count(hop.real(), lane.total_len());
            count += 1;
        }
        count
    }
}
