//! What whole heads of frames are compared with, kept from burst to burst: a form that was just
//! written byte by byte is not read as 64 bytes before all its stores are done.

use super::read::{Gate, TargetV4, WideForm};
use super::read_v6::TargetV6;
use super::services::Way;
use super::services_v6::WayV6;
use crate::wire::Protocol;

/// The wide forms of packets to one destination.
pub(super) struct Forms<T> {
    /// Where packets are read, and to which destination they go.
    of: Option<(Gate, T)>,
    /// All of them, and those that neither open nor close anything.
    pub wide: [WideForm; 2],
}

impl<T> Default for Forms<T> {
    fn default() -> Self {
        Self { of: None, wide: Default::default() }
    }
}

impl Forms<TargetV4> {
    /// Whether they are those of a way's packets.
    #[inline(always)]
    pub(super) fn are_of(&self, way: &Way, gate: Gate) -> bool {
        self.of == Some((gate, way.target()))
    }

    /// Makes them those of a way's packets, if they are another's.
    #[inline(always)]
    pub(super) fn follow<const L3: usize>(&mut self, way: &Way, gate: Gate) {
        if !self.are_of(way, gate) {
            self.change::<L3>(way, gate);
        }
    }

    #[inline(never)]
    fn change<const L3: usize>(&mut self, way: &Way, gate: Gate) {
        let form = way.form(gate);
        let of_acks = if form.is_udp() { form.wide::<L3>() } else { form.wide_of_acks::<L3>() };
        *self = Self { of: Some((gate, way.target())), wide: [form.wide::<L3>(), of_acks] };
    }
}

/// All destinations.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Anywhere;

/// Packets that neither open nor close anything, wherever they go: TCP's and UDP's.
impl Forms<Anywhere> {
    /// Those of packets that are read at a gate.
    #[inline(always)]
    pub(super) fn of<const L3: usize>(&mut self, gate: Gate) -> &[WideForm; 2] {
        if self.of != Some((gate, Anywhere)) {
            let wide = [Protocol::Tcp, Protocol::Udp];
            let wide = wide.map(|protocol| WideForm::to_anywhere::<L3>(gate, protocol));
            *self = Self { of: Some((gate, Anywhere)), wide };
        }
        &self.wide
    }
}

impl Forms<TargetV6> {
    /// That of all of a way's packets.
    #[inline(always)]
    pub(super) fn of<const L3: usize>(&mut self, way: &WayV6, gate: Gate) -> &WideForm {
        if self.of != Some((gate, way.target())) {
            self.change::<L3>(way, gate);
        }
        let [form, _] = &self.wide;
        form
    }

    #[inline(never)]
    fn change<const L3: usize>(&mut self, way: &WayV6, gate: Gate) {
        let form = way.form(gate).wide::<L3>();
        *self = Self { of: Some((gate, way.target())), wide: [form; 2] };
    }
}
