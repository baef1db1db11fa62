//! Clients' headers, written into frames that some port delivers: the stand-in for a NIC.
//!
//! Costs 1 to 2 ns a packet, which every figure includes; `director bench --bare` measures it. TCP checksums are left as they are
//! in the template: the packet path only ever changes them by differences. So are IPv4
//! header checksums, for the same reason.

use dataplane::port::{BURST, Burst, Frame, Port};
use dataplane::wire::Family;
use dataplane::wire::ethernet::Mac;

use crate::draw::{AT_ONCE, Draw, Flow};
#[cfg(target_arch = "x86_64")]
use crate::ends::Ends;
use crate::load::{FCS, Load};
use crate::plan;
use crate::template::Template;

/// A port whose received frames get a drawn client's header.
pub struct Synthesis<P> {
    inner: P,
    draw: Option<Draw>,
    templates: Vec<Template>,
    place: usize,
    bursts: u64,
    family: Family,
    many_services: bool,
    wide: bool,
    /// While this is set nothing is received.
    pub paused: bool,
    /// While this is there, the real servers of the first clients are written into it.
    learned: Option<Vec<u16>>,
}

impl<P: Port> Synthesis<P> {
    /// A port over `inner`; without a `draw` its frames are left as they are.
    pub fn new(inner: P, load: &Load, draw: Option<Draw>) -> Self {
        let director = inner.mac();
        let pattern = load.size.pattern();
        let template = |bytes: &u16| Template::new(load.family, director, bytes - FCS);
        Self {
            templates: pattern.iter().map(template).collect(),
            inner,
            draw,
            place: 0,
            bursts: 0,
            family: load.family,
            many_services: load.services_in_use > 1,
            #[cfg(target_arch = "x86_64")]
            wide: crate::cpu::is_wide(),
            #[cfg(not(target_arch = "x86_64"))]
            wide: false,
            paused: false,
            learned: None,
        }
    }

    /// Notes from now on which real servers the first `clients` clients get.
    pub fn learn(&mut self, clients: usize) {
        self.learned = Some(vec![0; clients]);
    }

    /// What was noted.
    pub fn learned(&mut self) -> Option<Vec<u16>> {
        self.learned.take()
    }

    #[cold]
    fn note(&mut self, burst: &Burst<P::Frame>) {
        let Some(learned) = &mut self.learned else { return };
        for frame in burst {
            let client = plan::client_of(self.family, frame.bytes());
            let place = client.and_then(|client| learned.get_mut(client as usize));
            if let (Some(place), Some(server)) = (place, plan::server_of_mac(frame.bytes())) {
                *place = server as u16;
            }
        }
    }

    /// Polls so far that received something.
    pub fn bursts(&self) -> u64 {
        self.bursts
    }

    /// The port that delivers the frames.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// Who is drawn, if anybody is.
    pub fn draw_mut(&mut self) -> Option<&mut Draw> {
        self.draw.as_mut()
    }
}

/// Makes a frame this flow's; with a family the flow's service is one of many.
#[inline(always)]
fn write(template: &Template, frame: &mut impl Frame, flow: Flow, many: Option<Family>) {
    let vip = many.map(|family| plan::vip_bytes(family, flow.service));
    match flow.server {
        None => template.write(frame, flow, vip),
        Some(server) => template.write_answer(frame, flow, server),
    }
}

/// Makes frames those of known clients.
#[inline(always)]
fn write_known<F: Frame>(
    template: &Template,
    frames: &mut [[F; AT_ONCE]],
    draw: &mut Draw,
    wide: bool,
) {
    #[cfg(target_arch = "x86_64")]
    if wide {
        // SAFETY: the CPU was asked.
        return unsafe { write_known_wide(template, frames, draw) };
    }
    let head = template.known();
    for frames in frames {
        template.write_known(&head, frames, draw.known());
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn write_known_wide<F: Frame>(template: &Template, frames: &mut [[F; AT_ONCE]], draw: &mut Draw) {
    for frames in frames {
        template.write_known_wide(frames, draw.known_wide());
    }
}

/// Makes frames those of known clients or their real servers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn write_ends_wide<F: Frame>(template: &Template, frames: &mut [[F; AT_ONCE]], draw: &mut Draw) {
    let mut ends = [None; BURST / AT_ONCE];
    // All of them first: the servers stand in a table that no near cache holds.
    for place in ends.iter_mut().take(frames.len()) {
        let (known, servers, answers) = draw.either_way_at_once();
        *place = Some(Ends::new(known, servers, answers));
    }
    for (frames, ends) in frames.iter_mut().zip(ends.iter().flatten()) {
        template.write_ends_wide(frames, ends);
    }
}

impl<P: Port> Port for Synthesis<P> {
    type Frame = P::Frame;

    #[inline]
    fn rx(&mut self, burst: &mut Burst<P::Frame>) {
        if self.paused {
            return;
        }
        let have = burst.len();
        self.inner.rx(burst);
        self.bursts += u64::from(burst.len() > have);
        let Self { draw: Some(draw), templates, place, many_services, family, wide, .. } = self
        else {
            return;
        };
        draw.begin_burst();
        match &templates[..] {
            [template] if draw.is_plain() || draw.is_asking() => {
                let received = burst.get_mut(have..).unwrap_or_default();
                let (together, last) = received.as_chunks_mut::<AT_ONCE>();
                write_known(template, together, draw, *wide);
                for frame in last {
                    template.write(frame, draw.next(), None);
                }
            }
            [template] if draw.is_answered() => {
                let received = burst.get_mut(have..).unwrap_or_default();
                #[cfg(target_arch = "x86_64")]
                let received = match *wide && *family == Family::V4 {
                    true => {
                        let (together, last) = received.as_chunks_mut::<AT_ONCE>();
                        // SAFETY: the CPU was asked.
                        unsafe { write_ends_wide(template, together, draw) };
                        last
                    }
                    false => received,
                };
                let mut flows = [None; BURST];
                // All of them first: the servers stand in a table that no near cache holds.
                for flow in flows.iter_mut().take(received.len()) {
                    *flow = Some(draw.either_way());
                }
                for (frame, flow) in received.iter_mut().zip(flows.iter().flatten()) {
                    template.write_either_way(frame, *flow);
                }
            }
            templates => {
                for frame in burst.iter_mut().skip(have) {
                    *place = if *place + 1 < templates.len() { *place + 1 } else { 0 };
                    let Some(template) = templates.get(*place) else { return };
                    write(template, frame, draw.next(), (*many_services).then_some(*family));
                }
            }
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<P::Frame>) {
        if self.learned.is_some() {
            self.note(burst);
        }
        self.inner.tx(burst);
    }

    #[inline]
    fn discard(&mut self, burst: &mut Burst<P::Frame>) {
        self.inner.discard(burst);
    }

    fn alloc(&mut self, len: usize) -> Option<P::Frame> {
        self.inner.alloc(len)
    }

    fn mac(&self) -> Mac {
        self.inner.mac()
    }

    fn mtu(&self) -> u16 {
        self.inner.mtu()
    }
}
