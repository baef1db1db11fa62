//! Many frames at once, for programs that make traffic: some devices (`net_memif`) are fast
//! only when far more than a burst is handed over in one call.

use std::ptr::{self, NonNull};

use capsule_ffi as ffi;

use crate::frame::MbufFrame;
use crate::queue::Queue;

impl Queue {
    /// Adds so many empty frames to `frames`. False, and nothing changes, where the pool has
    /// not so many left.
    pub fn alloc_many(&mut self, frames: &mut Vec<MbufFrame>, count: usize) -> bool {
        frames.reserve(count);
        // SAFETY: a frame is one pointer (`repr(transparent)`) and the vector has room for
        // `count` more. Fresh mbufs have one segment, one reference and no bytes.
        unsafe {
            let room = frames.as_mut_ptr().add(frames.len()).cast();
            if ffi::_rte_pktmbuf_alloc_bulk(self.pool.as_ptr(), room, count as u32) != 0 {
                return false;
            }
            frames.set_len(frames.len() + count);
        }
        true
    }

    /// Sends frames in one call, at most 65,535; those that found no place stay in `frames`,
    /// in their order. Answers how many were sent.
    pub fn tx_many(&mut self, frames: &mut Vec<MbufFrame>) -> usize {
        let count = frames.len().min(usize::from(u16::MAX));
        if count == 0 {
            return 0;
        }
        let _alone = self.alone();
        let all = frames.len();
        // SAFETY: the frames are owned mbufs. The driver owns the first `sent` of them
        // afterwards, so the others move to the front before anybody can drop them.
        unsafe {
            let slots = frames.as_mut_ptr();
            let sent = ffi::_rte_eth_tx_burst(self.port, self.tx, slots.cast(), count as u16);
            let sent = usize::from(sent);
            frames.set_len(0);
            ptr::copy(slots.add(sent), slots, all - sent);
            frames.set_len(all - sent);
            sent
        }
    }

    /// Receives in one call as many frames as `frames` has room for, at most 65,535. Answers
    /// how many were received.
    pub fn rx_many(&mut self, frames: &mut Vec<MbufFrame>) -> usize {
        let Some(rx) = self.rx else { return 0 };
        let have = frames.len();
        let room = (frames.capacity() - have).min(usize::from(u16::MAX)) as u16;
        // SAFETY: the driver writes at most `room` owned mbufs behind those that are there.
        // Each is a frame as it is, or was made one, or is gone; what stays moves together.
        unsafe {
            let slots = frames.as_mut_ptr().add(have).cast::<NonNull<ffi::rte_mbuf>>();
            let count = ffi::_rte_eth_rx_burst(self.port, rx, slots.cast(), room);
            let mut kept = 0;
            for at in 0..usize::from(count) {
                if let Some(frame) = self.admitted(*slots.add(at)) {
                    slots.add(kept).cast::<MbufFrame>().write(frame);
                    kept += 1;
                }
            }
            frames.set_len(have + kept);
            kept
        }
    }

    /// Frees all of these frames, which is cheaper than one at a time.
    pub fn discard_many(&mut self, frames: &mut Vec<MbufFrame>) {
        let count = frames.len() as u32;
        // SAFETY: the frames are owned mbufs; after `set_len(0)` nobody else drops them.
        unsafe {
            frames.set_len(0);
            ffi::rte_pktmbuf_free_bulk(frames.as_mut_ptr().cast(), count);
        }
    }
}
