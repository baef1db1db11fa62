//! Where frames come from and go to: the [`Port`] and [`Frame`] traits.
//!
//! A port here is one queue pair of a NIC port as one core sees it. Three kinds
//! exist: [`memory`] (tests, replay, explain), and in the `nic` crate the DPDK queue.

pub mod memory;

use arrayvec::ArrayVec;

use crate::wire::ethernet::Mac;

/// The most frames that one receive or transmit call moves.
pub const BURST: usize = 32;

/// Up to [`BURST`] frames.
pub type Burst<F> = ArrayVec<F, BURST>;

/// The numbers of the bits that are set: of a burst's places.
#[inline(always)]
pub(crate) fn places(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (place < BURST).then_some(place)
    })
}

/// One Ethernet frame that can be changed in place.
pub trait Frame {
    /// The frame's bytes, from the destination MAC to the last byte before the FCS.
    fn bytes(&self) -> &[u8];
    /// The same bytes, to be changed.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Makes room for `n` bytes (contents unspecified) before the first one.
    /// Answers `false`, and changes nothing, where there is no headroom for them.
    fn push_front(&mut self, n: usize) -> bool;
    /// Makes the frame `len` bytes long by cutting or extending its end (new bytes
    /// are unspecified). Answers `false`, and changes nothing, where there is no room.
    fn set_len(&mut self, len: usize) -> bool;
}

/// One receive queue and one transmit queue of a NIC port.
pub trait Port {
    /// What this port receives and sends.
    type Frame: Frame;
    /// Appends up to the burst's free places of received frames; never waits.
    fn rx(&mut self, burst: &mut Burst<Self::Frame>);
    /// Sends from the front of the burst and removes what was taken; what remains in
    /// the burst was refused (queue full) and is the caller's to count and drop.
    fn tx(&mut self, burst: &mut Burst<Self::Frame>);
    /// Frees all frames of the burst at once.
    fn discard(&mut self, burst: &mut Burst<Self::Frame>) {
        burst.clear();
    }
    /// A new frame of `len` bytes (contents unspecified), or `None` when memory is out.
    fn alloc(&mut self, len: usize) -> Option<Self::Frame>;
    /// The port's own MAC address.
    fn mac(&self) -> Mac;
    /// The largest IP packet that the port sends, in bytes (1500 on plain Ethernet).
    fn mtu(&self) -> u16;
}
