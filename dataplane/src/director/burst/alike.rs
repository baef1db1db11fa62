//! Frames that are like the last one, to the same destination: read in a short loop that compares
//! four words of each, or four frames at a time.

#[cfg(target_arch = "x86_64")]
use super::fours::{self, FOUR};
use super::lane::Kind;
use super::read::{Form, Gate, WideForm};
use super::reading::Reading;
use super::services::Way;
use crate::conn::table::{EntryV4, Table};
use crate::cpu::Tier;
use crate::port::Frame;
use crate::table::{Aimer, ClientPlace};
#[cfg(target_arch = "x86_64")]
use crate::wire::Protocol;

/// What [`Reading::read_alike`]'s loops are made for.
const CLIENT: bool = false;
const CONN: bool = true;
const TCP: bool = false;
const UDP: bool = true;

/// With what frames that are alike are looked at.
#[derive(Clone, Copy)]
pub(super) struct Eyes<'a> {
    pub gate: Gate,
    pub tier: Tier,
    pub aimer: Option<Aimer<'a>>,
    pub conns: &'a Table<EntryV4>,
    pub forms: &'a [WideForm; 2],
    /// Whether four frames of connections in a row are likely to go the same way.
    pub by_fours: bool,
}

impl Reading {
    /// Reads frames from a place on as long as they are plain and go the same way, and answers
    /// how many did.
    pub(super) fn read_alike<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        at: usize,
        frames: &[F],
        eyes: Eyes<'_>,
        way: &Way,
    ) -> usize {
        let frames = frames.get(at..).unwrap_or_default();
        let form = way.form(eyes.gate);
        match (way.lane.kind(), form.is_udp()) {
            (Kind::Client, false) => {
                self.read_by_tier::<F, L3, HEAD, CLIENT, TCP>(at, frames, form, eyes, way)
            }
            (Kind::Client, true) => {
                self.read_by_tier::<F, L3, HEAD, CLIENT, UDP>(at, frames, form, eyes, way)
            }
            (Kind::ConnTcp, _) => {
                self.read_by_tier::<F, L3, HEAD, CONN, TCP>(at, frames, form, eyes, way)
            }
            (Kind::ConnUdp, _) => {
                self.read_by_tier::<F, L3, HEAD, CONN, UDP>(at, frames, form, eyes, way)
            }
            (Kind::ByTheBook | Kind::Bind | Kind::Open, _)
            | (Kind::ReplyTcp | Kind::ReplyUdp, _)
            | (Kind::ClientV6 | Kind::ConnTcpV6 | Kind::ConnUdpV6, _) => 0,
        }
    }

    fn read_by_tier<
        F: Frame,
        const L3: usize,
        const HEAD: usize,
        const CONN: bool,
        const UDP: bool,
    >(
        &mut self,
        at: usize,
        frames: &[F],
        form: Form,
        eyes: Eyes<'_>,
        way: &Way,
    ) -> usize {
        match (eyes.tier, eyes.aimer) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            (Tier::Avx512, Some(aimer)) => unsafe {
                let looks = (aimer, eyes.conns, eyes.by_fours);
                self.read_avx512::<F, L3, HEAD, CONN, UDP>(at, frames, eyes.forms, looks, way)
            },
            _ => self.read_any::<F, L3, HEAD, CONN, UDP>(at, frames, form, eyes.conns, way),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512ifma,vaes,aes")]
    #[inline(never)]
    fn read_avx512<
        F: Frame,
        const L3: usize,
        const HEAD: usize,
        const CONN: bool,
        const UDP: bool,
    >(
        &mut self,
        at: usize,
        frames: &[F],
        [form, of_acks]: &[WideForm; 2],
        (aimer, conns, by_fours): (Aimer<'_>, &Table<EntryV4>, bool),
        way: &Way,
    ) -> usize {
        let alike = |head: &[u8; HEAD]| form.is_alike(head);
        match (CONN, way.scope) {
            (false, Some(scope)) => {
                let fours = self.read_fours::<F, L3, HEAD, UDP>(at, frames, form, aimer, way);
                let rest = frames.get(fours..).unwrap_or_default();
                let put = |place: ClientPlace<'_>, client| aimer.put(place, client, scope);
                fours + self.read_clients::<F, L3, HEAD, UDP>(at + fours, rest, way, alike, put)
            }
            (false, None) => 0,
            (true, _) if !by_fours => {
                self.read_conns::<F, L3, HEAD, UDP>(at, frames, conns, way, alike)
            }
            (true, _) => {
                let mut read = 0;
                loop {
                    let rest = frames.get(read..).unwrap_or_default();
                    read += self.read_four_conns::<F, L3, HEAD, UDP>(
                        at + read,
                        rest,
                        of_acks,
                        conns,
                        way,
                    );
                    // One among them may be another: one by one, as far as it may be.
                    let rest = frames.get(read..).unwrap_or_default();
                    let few = rest.get(..FOUR).unwrap_or(rest);
                    let alone =
                        self.read_conns::<F, L3, HEAD, UDP>(at + read, few, conns, way, alike);
                    read += alone;
                    if alone < FOUR {
                        return read;
                    }
                }
            }
        }
    }

    /// Reads frames of connections four at a time, as long as all four are alike; TCP's, as
    /// long as they neither open nor close anything.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512ifma,vaes,aes")]
    #[inline]
    fn read_four_conns<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        from: usize,
        frames: &[F],
        form: &WideForm,
        conns: &Table<EntryV4>,
        way: &Way,
    ) -> usize {
        let protocol = if UDP { Protocol::Udp } else { Protocol::Tcp };
        let mut read = 0;
        for frames in frames.as_chunks::<FOUR>().0 {
            let at = from + read;
            let Some(rows) = fours::read::<F, L3, HEAD, UDP>(frames, form) else { break };
            let flows = fours::flows(rows, way.vip(), way.vip_port(), protocol);
            let lanes = self.lanes.get_mut(at..).and_then(|lanes| lanes.first_chunk_mut::<FOUR>());
            let (Some(flows), Some(lanes)) = (flows, lanes) else { break };
            *lanes = way.lane.with_lens(fours::total_lens(rows));
            let homes = conns.request_homes(fours::ends(rows, protocol));
            self.conns.put_four(at, flows, homes);
            self.clients.clear_all(at, FOUR);
            read += FOUR;
        }
        read
    }

    /// Reads clients' frames four at a time, as long as all four are alike.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512ifma,vaes,aes")]
    #[inline]
    fn read_fours<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        form: &WideForm,
        aimer: Aimer<'_>,
        way: &Way,
    ) -> usize {
        let (Some(scope), Some(lanes)) = (way.scope, self.lanes.get_mut(at..)) else { return 0 };
        let (frames, _) = frames.as_chunks::<FOUR>();
        let places = lanes.as_chunks_mut::<FOUR>().0.iter_mut().zip(self.clients.fours(at));
        let mut read = 0;
        for (frames, (lanes, clients)) in frames.iter().zip(places) {
            let Some(rows) = fours::read::<F, L3, HEAD, UDP>(frames, form) else { break };
            aimer.put_four(clients, fours::names(rows, way.mask, scope.number()));
            *lanes = way.lane.with_lens(fours::total_lens(rows));
            read += FOUR;
        }
        self.seeks_clients |= read > 0;
        read
    }

    #[inline(never)]
    fn read_any<F: Frame, const L3: usize, const HEAD: usize, const CONN: bool, const UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        form: Form,
        conns: &Table<EntryV4>,
        way: &Way,
    ) -> usize {
        let alike = |head: &[u8; HEAD]| form.is_alike::<L3, HEAD>(head);
        match (CONN, way.scope) {
            (false, Some(scope)) => {
                self.has_unaimed = true;
                let put = |place: ClientPlace<'_>, client| place.put(client, scope);
                self.read_clients::<F, L3, HEAD, UDP>(at, frames, way, alike, put)
            }
            (false, None) => 0,
            (true, _) => self.read_conns::<F, L3, HEAD, UDP>(at, frames, conns, way, alike),
        }
    }

    #[inline(always)]
    fn read_clients<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        way: &Way,
        alike: impl Fn(&[u8; HEAD]) -> bool,
        put: impl Fn(ClientPlace<'_>, u32),
    ) -> usize {
        let Some(lanes) = self.lanes.get_mut(at..) else { return 0 };
        let (lane, mask) = (way.lane, way.mask);
        let mut read = 0;
        let places = lanes.iter_mut().zip(self.clients.places(at));
        for (frame, (place, client)) in frames.iter().zip(places) {
            let Some((plain, _)) = Form::read::<L3, HEAD, UDP>(frame.bytes(), &alike) else {
                break;
            };
            put(client, plain.client & mask);
            *place = lane.with_len(plain.total_len);
            read += 1;
        }
        self.seeks_clients |= read > 0;
        read
    }

    #[inline(always)]
    fn read_conns<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        from: usize,
        frames: &[F],
        conns: &Table<EntryV4>,
        way: &Way,
        alike: impl Fn(&[u8; HEAD]) -> bool,
    ) -> usize {
        let mut at = from;
        for frame in frames {
            let Some((plain, head)) = Form::read::<L3, HEAD, UDP>(frame.bytes(), &alike) else {
                break;
            };
            self.put_nothing(at);
            self.put_conn::<L3, HEAD>(at, way, plain.client, plain.total_len, head, conns);
            at += 1;
        }
        at - from
    }
}
