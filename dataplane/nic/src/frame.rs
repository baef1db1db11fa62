//! A frame in an mbuf.

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use capsule_ffi as ffi;
use dataplane::port::Frame;

/// One frame in DPDK's memory: a whole mbuf, owned. Goes back to its pool when dropped.
///
/// Invariant: one segment, one reference, its bytes inside its own buffer.
#[repr(transparent)]
pub struct MbufFrame(NonNull<ffi::rte_mbuf>);

// SAFETY: the mbuf is owned alone, and DPDK's pools take it back from any thread.
unsafe impl Send for MbufFrame {}

impl MbufFrame {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// `mbuf` is owned by the caller, lies in DPDK's memory and [`is_plain`] holds for it.
    pub(crate) unsafe fn from_raw(mbuf: NonNull<ffi::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    #[inline(always)]
    fn mbuf(&self) -> &ffi::rte_mbuf {
        // SAFETY: the frame owns the mbuf, which lives as long as DPDK's memory; that is
        // kept while any mbuf is outside its pool.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn mbuf_mut(&mut self) -> &mut ffi::rte_mbuf {
        // SAFETY: as in `mbuf`, and `&mut self` is the only way to it.
        unsafe { self.0.as_mut() }
    }
}

/// Whether an mbuf is what a frame may be made of: one segment, one reference, bytes inside
/// its own buffer, lengths that agree.
///
/// # Safety
/// `mbuf` points to an mbuf.
#[inline(always)]
pub(crate) unsafe fn is_plain(mbuf: NonNull<ffi::rte_mbuf>) -> bool {
    // SAFETY: the caller's promise.
    unsafe { oddness(mbuf) == 0 }
}

/// Zero for an mbuf that [`is_plain`]. No branches: whole bursts are asked, and hardly any
/// mbuf is odd.
///
/// # Safety
/// `mbuf` points to an mbuf.
#[inline(always)]
pub(crate) unsafe fn oddness(mbuf: NonNull<ffi::rte_mbuf>) -> u64 {
    // SAFETY: the caller says that it is one; it was just written, so it is in the cache.
    let mbuf = unsafe { mbuf.as_ref() };
    let end = u64::from(mbuf.data_off) + u64::from(mbuf.data_len);
    let lengths = mbuf.pkt_len ^ u32::from(mbuf.data_len);
    u64::from(mbuf.nb_segs ^ 1)
        | u64::from(mbuf.refcnt ^ 1)
        | u64::from(lengths)
        | mbuf.ol_flags & (ffi::SHIM_MBUF_INDIRECT | ffi::SHIM_MBUF_EXTERNAL)
        // Below zero, so not zero, where the bytes go past the buffer's end.
        | u64::from(mbuf.buf_len).wrapping_sub(end) >> 63
}

impl Frame for MbufFrame {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        let mbuf = self.mbuf();
        // SAFETY: `data_off + data_len <= buf_len` by the invariant, and the buffer is
        // initialised memory (mapped, zeroed by the kernel) that only this frame reads.
        unsafe {
            let start = mbuf.buf_addr.cast::<u8>().add(usize::from(mbuf.data_off));
            slice::from_raw_parts(start, usize::from(mbuf.data_len))
        }
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let mbuf = self.mbuf_mut();
        // SAFETY: as in `bytes`; one reference, so nobody else has these bytes.
        unsafe {
            let start = mbuf.buf_addr.cast::<u8>().add(usize::from(mbuf.data_off));
            slice::from_raw_parts_mut(start, usize::from(mbuf.data_len))
        }
    }

    #[inline]
    fn push_front(&mut self, n: usize) -> bool {
        let mbuf = self.mbuf_mut();
        let Ok(n) = u16::try_from(n) else { return false };
        let (Some(start), Some(len)) = (mbuf.data_off.checked_sub(n), mbuf.data_len.checked_add(n))
        else {
            return false;
        };
        mbuf.data_off = start;
        mbuf.data_len = len;
        mbuf.pkt_len = u32::from(len);
        true
    }

    #[inline]
    fn set_len(&mut self, len: usize) -> bool {
        let mbuf = self.mbuf_mut();
        let Ok(len) = u16::try_from(len) else { return false };
        if len > mbuf.buf_len.saturating_sub(mbuf.data_off) {
            return false;
        }
        mbuf.data_len = len;
        mbuf.pkt_len = u32::from(len);
        true
    }
}

impl Drop for MbufFrame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned, so given back once.
        unsafe { ffi::_rte_pktmbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for MbufFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MbufFrame").field("len", &self.bytes().len()).finish_non_exhaustive()
    }
}

const _: () = assert!(size_of::<MbufFrame>() == size_of::<*const u8>());
const _: () = assert!(size_of::<Option<MbufFrame>>() == size_of::<*const u8>());
