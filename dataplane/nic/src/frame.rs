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
    unsafe { Oddness::default().of(mbuf) }.is_none()
}

/// What is odd about some mbufs, gathered without a branch: whole bursts are asked, and hardly
/// any mbuf is odd.
#[derive(Clone, Copy, Default)]
pub(crate) struct Oddness {
    /// Or of all segment counts, which are 1 or more, and of all reference counts.
    counts: u16,
    /// Other bits than 0 where lengths do not agree.
    lengths: u32,
    /// The highest bit is set where bytes go past their buffer's end.
    beyond: u32,
    flags: u64,
}

impl Oddness {
    /// Adds an mbuf.
    ///
    /// # Safety
    /// `mbuf` points to an mbuf.
    #[inline(always)]
    pub(crate) unsafe fn of(self, mbuf: NonNull<ffi::rte_mbuf>) -> Self {
        // SAFETY: the caller says that it is one; it was just written, so it is in the cache.
        let mbuf = unsafe { mbuf.as_ref() };
        let end = u32::from(mbuf.data_off) + u32::from(mbuf.data_len);
        Self {
            counts: self.counts | mbuf.nb_segs | mbuf.refcnt,
            lengths: self.lengths | mbuf.pkt_len ^ u32::from(mbuf.data_len),
            beyond: self.beyond | u32::from(mbuf.buf_len).wrapping_sub(end),
            flags: self.flags | mbuf.ol_flags,
        }
    }

    /// Whether every one of them [`is_plain`].
    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.counts <= 1
            && self.lengths == 0
            && self.beyond >> 31 == 0
            && self.flags & (ffi::SHIM_MBUF_INDIRECT | ffi::SHIM_MBUF_EXTERNAL) == 0
    }
}

/// Whether this CPU takes [`are_plain`].
pub(crate) fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512bw")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// [`Oddness::is_none`] of some mbufs, for CPUs that look at a whole line of them: from what is
/// largest and smallest in all of them together. May be `false` where none is odd.
///
/// # Safety
/// All of them point to mbufs.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) unsafe fn are_plain(mbufs: &[NonNull<ffi::rte_mbuf>]) -> bool {
    use std::arch::x86_64::{
        __m512i, _mm512_load_si512, _mm512_max_epu16, _mm512_min_epu16, _mm512_set1_epi16,
        _mm512_setzero_si512, _mm512_shuffle_epi32, _mm512_ternarylogic_epi64,
    };
    use std::mem::offset_of;
    /// a | (b ^ c)
    const OR_DIFFERENT: i32 = 0xF6;
    /// Of each four double words: the third one in the place of the second.
    const THIRD_TO_SECOND: i32 = 0b11_10_10_00;
    const fn word(offset: usize) -> usize {
        offset / 2
    }
    const DATA_OFF: usize = word(offset_of!(ffi::rte_mbuf, data_off));
    const REFCNT: usize = word(offset_of!(ffi::rte_mbuf, refcnt));
    const SEGMENTS: usize = word(offset_of!(ffi::rte_mbuf, nb_segs));
    const FLAGS: usize = word(offset_of!(ffi::rte_mbuf, ol_flags));
    const PKT_LEN: usize = word(offset_of!(ffi::rte_mbuf, pkt_len));
    const DATA_LEN: usize = word(offset_of!(ffi::rte_mbuf, data_len));
    const BUF_LEN: usize = word(offset_of!(ffi::rte_mbuf, buf_len));
    const { assert!(PKT_LEN % 8 == 2 && DATA_LEN == PKT_LEN + 2 && BUF_LEN < 32) };
    /// The flags' highest word.
    const ODD_FLAGS: u16 = ((ffi::SHIM_MBUF_INDIRECT | ffi::SHIM_MBUF_EXTERNAL) >> 48) as u16;
    const LEAST_ODD_FLAG: u16 = 1 << ODD_FLAGS.trailing_zeros();
    const { assert!(ODD_FLAGS != 0) };
    let (mut most, mut least) = (_mm512_setzero_si512(), _mm512_set1_epi16(-1));
    let mut other = _mm512_setzero_si512();
    for mbuf in mbufs {
        // SAFETY: the first 64 bytes of an mbuf, which is aligned to 64.
        let line = unsafe { _mm512_load_si512(mbuf.as_ptr().cast()) };
        most = _mm512_max_epu16(most, line);
        least = _mm512_min_epu16(least, line);
        let moved = _mm512_shuffle_epi32::<THIRD_TO_SECOND>(line);
        other = _mm512_ternarylogic_epi64::<OR_DIFFERENT>(other, line, moved);
    }
    // SAFETY: 32 words, whatever their bits.
    let [most, least, other] = [most, least, other]
        .map(|words| unsafe { std::mem::transmute::<__m512i, [u16; 32]>(words) });
    let end = u32::from(most[DATA_OFF]) + u32::from(most[DATA_LEN]);
    most[SEGMENTS] <= 1
        && most[REFCNT] <= 1
        && most[FLAGS + 3] < LEAST_ODD_FLAG
        && other[PKT_LEN] == 0
        && most[PKT_LEN + 1] == 0
        && end <= u32::from(least[BUF_LEN])
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
