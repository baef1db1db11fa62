//! Asks the CPU for a cache line ahead of its use: the one place that may, and it is safe to call.

/// Requests the cache line that holds `item`, for reading soon. Has no effect on meaning, and
/// none at all on machines other than x86-64.
#[inline(always)]
pub fn prefetch<T>(item: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that neither reads nor faults, and the address comes from a
        // live reference; SSE is part of every x86-64.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast::<i8>());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefetched_value_is_unchanged() {
        let line = [7u64; 8];
        prefetch(&line);
        assert_eq!(line, [7; 8]);
    }
}
