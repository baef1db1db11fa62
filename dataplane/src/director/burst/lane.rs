//! One frame's part of a burst.

/// What was found out about one frame before its turn, in one word: 0 for the reference path.
///
/// ```text
/// place of the service's real server number 0 32 | bytes of the IP packet 16 | kind 16
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane(u64);

const CLIENT_V4: u64 = 1;

impl Lane {
    /// The lane of packets without a length.
    #[inline(always)]
    pub(super) fn client_v4(first_place: u32) -> Self {
        Self(u64::from(first_place) << 32 | CLIENT_V4)
    }

    #[inline(always)]
    pub(super) fn with_len(self, total_len: u16) -> Self {
        Self(self.0 | u64::from(total_len) << 16)
    }

    #[inline(always)]
    pub(super) fn is_by_the_book(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub(super) fn total_len(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    pub(super) fn first_place(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
