//! One core's queues of one port: what the packet path receives from and sends to.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capsule_ffi as ffi;
use dataplane::port::{BURST, Burst, Frame, Port};
use dataplane::wire::ethernet::Mac;

#[cfg(target_arch = "x86_64")]
use crate::frame::are_plain;
use crate::frame::{MbufFrame, Oddness, is_plain};
use crate::rss::Watch;

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
    /// Whether the CPU looks at mbufs line by line.
    pub(crate) wide: bool,
    /// While the first frames are looked at.
    pub(crate) watch: Option<Box<Watch>>,
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

    /// What keeps others from the transmit queue, where it is shared.
    #[inline]
    pub(crate) fn alone(&self) -> Option<MutexGuard<'_, ()>> {
        self.tx_lock.as_ref().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A received mbuf as a frame; `None` and counted where it cannot be one.
    ///
    /// # Safety
    /// `mbuf` is owned by the caller, who gives it up.
    #[inline]
    pub(crate) unsafe fn admitted(&self, mbuf: NonNull<ffi::rte_mbuf>) -> Option<MbufFrame> {
        // SAFETY: the caller's promise.
        let frame = unsafe { admit(mbuf, self.pool) };
        if frame.is_none() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    /// Takes received mbufs one by one: what cannot be a frame as it is (several segments,
    /// shared bytes) is copied into one mbuf; what does not fit one is dropped and counted.
    ///
    /// # Safety
    /// Behind the burst's frames lie `count` more mbufs that belong to nobody else.
    #[cold]
    #[inline(never)]
    unsafe fn sort_out(&mut self, burst: &mut Burst<MbufFrame>, count: usize) {
        let mut received = [NonNull::<ffi::rte_mbuf>::dangling(); BURST];
        // SAFETY: the caller's promise; a burst's places are at most BURST, and a frame is
        // one pointer. They are copied out because pushing overwrites them.
        unsafe {
            let slots = burst.as_ptr().add(burst.len()).cast::<NonNull<ffi::rte_mbuf>>();
            ptr::copy_nonoverlapping(slots, received.as_mut_ptr(), count);
        }
        for &mbuf in received.iter().take(count) {
            // SAFETY: the driver handed over each of these mbufs once.
            if let Some(frame) = unsafe { self.admitted(mbuf) }
                && let Err(full) = burst.try_push(frame)
            {
                drop(full);
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
        let count = received.len();
        // SAFETY: what a driver hands over are mbufs; a wide queue's CPU was asked.
        let plain = unsafe {
            match self.wide {
                #[cfg(target_arch = "x86_64")]
                true => are_plain(received),
                _ => {
                    let odd = Oddness::default();
                    received.iter().fold(odd, |odd, mbuf| odd.of(*mbuf)).is_none()
                }
            }
        };
        // SAFETY: `count` places were filled with owned mbufs; all of them may be frames, or
        // they are sorted out.
        unsafe {
            if plain {
                burst.set_len(have + count);
            } else {
                self.sort_out(burst, count);
            }
        }
        if let Some(watch) = &mut self.watch
            && !watch.look(rx, burst.iter().skip(have).map(Frame::bytes))
        {
            self.watch = None;
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<MbufFrame>) {
        let count = burst.len();
        if count == 0 {
            return;
        }
        let _alone = self.alone();
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

    /// Drops all frames of a burst at once, which is cheaper than one at a time.
    fn discard(&mut self, burst: &mut Burst<MbufFrame>) {
        let count = burst.len() as u32;
        // SAFETY: the burst's frames are owned mbufs; after `set_len(0)` nobody else drops
        // them. A burst holds at most BURST, so the count fits.
        unsafe {
            burst.set_len(0);
            ffi::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast(), count);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, NicConfig, PortConfig};

    /// One ring port, the only use of DPDK in this crate's unit tests: it starts once.
    fn ring() -> (crate::Nic, Queue) {
        let file_prefix = format!("nic-unit-{}", std::process::id());
        let mut nic = crate::open(&NicConfig {
            memory: Memory { no_huge: true, mib: 64, file_prefix },
            main_core: 0,
            mbufs: 4095,
            mbuf_cache: 32,
            ports: vec![PortConfig::new("ring", "net_ring0", &[1])],
        })
        .unwrap();
        let queue = nic.take_queues(1).unwrap().remove(0);
        (nic, queue)
    }

    fn mbuf(queue: &Queue, bytes: &[u8]) -> NonNull<ffi::rte_mbuf> {
        // SAFETY: the pool is alive and its mbufs have room for what the tests write.
        unsafe {
            let mut mbuf = NonNull::new(ffi::_rte_pktmbuf_alloc(queue.pool.as_ptr())).unwrap();
            let start = mbuf.as_ref().buf_addr.cast::<u8>().add(128);
            ptr::copy_nonoverlapping(bytes.as_ptr(), start, bytes.len());
            mbuf.as_mut().data_len = bytes.len() as u16;
            mbuf.as_mut().pkt_len = bytes.len() as u32;
            mbuf
        }
    }

    fn chain(queue: &Queue, parts: &[&[u8]]) -> NonNull<ffi::rte_mbuf> {
        let mut whole: Option<NonNull<ffi::rte_mbuf>> = None;
        for part in parts.iter().rev() {
            let mut first = mbuf(queue, part);
            // SAFETY: both are owned by this test.
            unsafe {
                if let Some(next) = whole {
                    first.as_mut().next = next.as_ptr();
                    first.as_mut().nb_segs = next.as_ref().nb_segs + 1;
                    first.as_mut().pkt_len += next.as_ref().pkt_len;
                }
            }
            whole = Some(first);
        }
        whole.unwrap()
    }

    /// What the queue makes of these mbufs between two plain ones.
    fn received(queue: &mut Queue, odd: &[NonNull<ffi::rte_mbuf>]) -> Vec<Vec<u8>> {
        let mut all = vec![mbuf(queue, b"first plain one")];
        all.extend(odd);
        all.push(mbuf(queue, b"last plain one"));
        // SAFETY: all of them are owned, and the ring takes them over.
        let sent = unsafe {
            ffi::_rte_eth_tx_burst(queue.port, 0, all.as_mut_ptr().cast(), all.len() as u16)
        };
        assert_eq!(usize::from(sent), all.len());
        let mut burst = Burst::new();
        queue.rx(&mut burst);
        let mut frames: Vec<_> = burst.iter().map(|frame| frame.bytes().to_vec()).collect();
        assert_eq!(frames.remove(0), b"first plain one");
        assert_eq!(frames.pop().unwrap(), b"last plain one");
        frames
    }

    #[test]
    fn mbufs_of_every_kind_become_frames_or_are_counted_and_none_is_lost() {
        let (nic, mut queue) = ring();
        let handle = nic.handle();
        let refused = || handle.stats().ports[0].rx_refused;

        let parts = chain(&queue, &[b"three ", b"", b"segments ", b"and an empty one"]);
        assert_eq!(received(&mut queue, &[parts]), [b"three segments and an empty one"]);
        assert_eq!(refused(), 0);

        let long = chain(&queue, &[&[1; 1500], &[2; 1500]]);
        assert!(received(&mut queue, &[long]).is_empty(), "3,000 bytes do not fit 2,048");
        assert_eq!(refused(), 1);

        let (mut short, mut many) = (mbuf(&queue, b"lies"), chain(&queue, &[b"a", b"b"]));
        let empty = mbuf(&queue, b"");
        // SAFETY: owned by this test; the lies are in fields that only `rx` reads.
        unsafe {
            short.as_mut().pkt_len = 9000;
            many.as_mut().nb_segs = 3;
        }
        let plain = received(&mut queue, &[short, empty, many]);
        assert_eq!(plain, [b""], "an empty frame is one; the parser refuses it");
        assert_eq!(refused(), 3);

        let mut shared = mbuf(&queue, b"shared");
        // SAFETY: owned by this test, twice from here on.
        unsafe { shared.as_mut().refcnt = 2 };
        assert_eq!(received(&mut queue, &[shared]), [b"shared"]);
        // SAFETY: the second reference.
        unsafe {
            assert_eq!(shared.as_ref().refcnt, 1, "the queue copied it and gave up its share");
            ffi::_rte_pktmbuf_free(shared.as_ptr());
        }
        assert_eq!(handle.stats().mbufs_in_use, 0);
        drop(queue);
        drop(nic);
        assert_eq!(ffi::held_mbufs(), 0);
    }
}
