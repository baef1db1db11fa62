//! One core's queues of one port: what the packet path receives from and sends to.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use capsule_ffi as ffi;
use dataplane::port::{BURST, Burst, Frame, Port};
use dataplane::wire::ethernet::Mac;

use crate::frame::{MbufFrame, is_plain};

/// Kept by every queue; memory stays while one exists.
pub(crate) type Alive = Arc<()>;

/// A receive queue (except on ports that other cores receive from) and a transmit queue.
pub struct Queue {
    pub(crate) port: u16,
    pub(crate) rx: Option<u16>,
    pub(crate) tx: u16,
    pub(crate) pool: NonNull<ffi::rte_mempool>,
    /// Held for a burst where the device has fewer transmit queues than there are cores.
    pub(crate) tx_lock: Option<Arc<Mutex<()>>>,
    pub(crate) mac: Mac,
    pub(crate) mtu: u16,
    pub(crate) refused: Arc<AtomicU64>,
    pub(crate) _alive: Alive,
}

// SAFETY: the queue numbers belong to this value alone (the transmit queue is shared only
// behind its lock), and DPDK lets any one thread at a time use a queue; pools are thread-safe.
unsafe impl Send for Queue {}

impl Queue {
    /// Whether this core receives from the port; every core transmits.
    pub fn receives(&self) -> bool {
        self.rx.is_some()
    }

    /// Drops all frames of a burst at once, which is cheaper than one at a time.
    pub fn discard(&mut self, burst: &mut Burst<MbufFrame>) {
        let count = burst.len() as u32;
        // SAFETY: the burst's frames are owned mbufs; after `set_len(0)` nobody else drops
        // them. A burst holds at most BURST, so the count fits.
        unsafe {
            burst.set_len(0);
            ffi::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast(), count);
        }
    }

    /// Takes received mbufs one by one: what cannot be a frame as it is (several segments,
    /// shared bytes) is copied into one mbuf; what does not fit one is dropped and counted.
    #[cold]
    fn sort_out(&mut self, burst: &mut Burst<MbufFrame>, received: &[NonNull<ffi::rte_mbuf>]) {
        for &mbuf in received {
            // SAFETY: the driver handed over each of these mbufs once.
            match unsafe { admit(mbuf, self.pool) } {
                Some(frame) => {
                    if let Err(full) = burst.try_push(frame) {
                        drop(full);
                    }
                }
                None => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A frame out of any mbuf, or `None`, and the mbuf is freed.
///
/// # Safety
/// `mbuf` is owned by the caller, who gives it up.
unsafe fn admit(
    mbuf: NonNull<ffi::rte_mbuf>,
    pool: NonNull<ffi::rte_mempool>,
) -> Option<MbufFrame> {
    // SAFETY: an owned mbuf; each of these reads it, copies it or gives it back.
    unsafe {
        if is_plain(mbuf) {
            return Some(MbufFrame::from_raw(mbuf));
        }
        let copy = if chain_is_sound(mbuf) {
            ffi::rte_pktmbuf_copy(mbuf.as_ptr(), pool.as_ptr(), 0, u32::MAX)
        } else {
            ptr::null_mut()
        };
        ffi::_rte_pktmbuf_free(mbuf.as_ptr());
        let copy = NonNull::new(copy)?;
        if !is_plain(copy) {
            ffi::_rte_pktmbuf_free(copy.as_ptr());
            return None;
        }
        Some(MbufFrame::from_raw(copy))
    }
}

/// Whether the segments are as many as the first one says, and as long together.
///
/// # Safety
/// `first` points to an mbuf whose chain ends with a null pointer.
unsafe fn chain_is_sound(first: NonNull<ffi::rte_mbuf>) -> bool {
    // SAFETY: the caller's promise, here and for every `next` below.
    let head = unsafe { first.as_ref() };
    let (mut segments, mut bytes, mut next) = (0u32, 0u64, Some(first));
    while let Some(mbuf) = next {
        // SAFETY: see above.
        let mbuf = unsafe { mbuf.as_ref() };
        segments += 1;
        bytes += u64::from(mbuf.data_len);
        next = NonNull::new(mbuf.next);
        if segments > u32::from(head.nb_segs) {
            return false;
        }
    }
    segments == u32::from(head.nb_segs) && bytes == u64::from(head.pkt_len) && bytes > 0
}

impl Port for Queue {
    type Frame = MbufFrame;

    #[inline]
    fn rx(&mut self, burst: &mut Burst<MbufFrame>) {
        let Some(rx) = self.rx else { return };
        let have = burst.len();
        // SAFETY: `have <= BURST`; the slots from there to BURST are the burst's own, and
        // the driver writes at most as many. A frame is one pointer (`repr(transparent)`).
        let received = unsafe {
            let slots = burst.as_mut_ptr().add(have).cast::<NonNull<ffi::rte_mbuf>>();
            let room = (BURST - have) as u16;
            let count = ffi::_rte_eth_rx_burst(self.port, rx, slots.cast(), room);
            std::slice::from_raw_parts(slots, usize::from(count))
        };
        // SAFETY: what a driver hands over are mbufs.
        if received.iter().all(|mbuf| unsafe { is_plain(*mbuf) }) {
            let count = received.len();
            // SAFETY: `count` slots were filled with owned mbufs that may be frames.
            unsafe { burst.set_len(have + count) };
        } else {
            let mut copy = [NonNull::dangling(); BURST];
            let taken = copy.iter_mut().zip(received).map(|(slot, mbuf)| *slot = *mbuf).count();
            self.sort_out(burst, copy.get(..taken).unwrap_or_default());
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<MbufFrame>) {
        let count = burst.len();
        if count == 0 {
            return;
        }
        let _alone = self.tx_lock.as_ref().map(|l| l.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: the frames are owned mbufs; the driver owns the first `sent` of them
        // afterwards, so the rest moves to the front and the length shrinks before anybody
        // can drop them.
        unsafe {
            let slots = burst.as_mut_ptr();
            let sent = ffi::_rte_eth_tx_burst(self.port, self.tx, slots.cast(), count as u16);
            let left = count - usize::from(sent);
            burst.set_len(0);
            ptr::copy(slots.add(usize::from(sent)), slots, left);
            burst.set_len(left);
        }
    }

    #[inline]
    fn alloc(&mut self, len: usize) -> Option<MbufFrame> {
        // SAFETY: the pool lives while this queue does; a fresh mbuf is empty, of one
        // segment and one reference.
        let mut frame = unsafe {
            MbufFrame::from_raw(NonNull::new(ffi::_rte_pktmbuf_alloc(self.pool.as_ptr()))?)
        };
        frame.set_len(len).then_some(frame)
    }

    #[inline]
    fn mac(&self) -> Mac {
        self.mac
    }

    #[inline]
    fn mtu(&self) -> u16 {
        self.mtu
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("port", &self.port)
            .field("rx", &self.rx)
            .field("tx", &self.tx)
            .finish_non_exhaustive()
    }
}
