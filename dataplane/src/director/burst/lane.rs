//! One frame's part of a burst.

/// What was found out about one frame before its turn, in one word: 0 for the reference path.
///
/// ```text
/// place of the service's real server number 0 32 | bytes of the IP packet 16 | kind 16
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane(u64);

/// How a packet goes on, as far as that is known before tables are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As the reference path has it.
    ByTheBook,
    /// A plain packet that opens, closes or moves something: as the reference path has it once
    /// its frame was read.
    Bind,
    /// By its client's binding.
    Client,
    /// By its connection, which it moves only if it is not established yet: TCP with ACK and
    /// without SYN, FIN and RST.
    ConnTcp,
    /// By its connection.
    ConnUdp,
    /// From a masqueraded real server: TCP, as for `ConnTcp`.
    ReplyTcp,
    /// From a masqueraded real server: UDP.
    ReplyUdp,
    /// As `Client`, over IPv6.
    ClientV6,
}

impl Lane {
    pub(super) const BY_THE_BOOK: Self = Self(0);
    pub(super) const BIND: Self = Self(Kind::Bind as u64);

    /// The lane of a service's packets, but for their length. `first_place` counts for clients.
    pub(super) fn new(kind: Kind, first_place: u32) -> Self {
        Self(u64::from(first_place) << 32 | kind as u64)
    }

    #[inline(always)]
    pub(super) fn with_len(self, total_len: u16) -> Self {
        Self(self.0 | u64::from(total_len) << 16)
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        match self.0 as u16 {
            1 => Kind::Bind,
            2 => Kind::Client,
            3 => Kind::ConnTcp,
            4 => Kind::ConnUdp,
            5 => Kind::ReplyTcp,
            6 => Kind::ReplyUdp,
            7 => Kind::ClientV6,
            _ => Kind::ByTheBook,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_holds_what_was_put_into_it() {
        let conns = [Kind::ConnTcp, Kind::ConnUdp, Kind::ReplyTcp, Kind::ReplyUdp];
        let others = [Kind::ByTheBook, Kind::Bind, Kind::Client, Kind::ClientV6];
        for kind in others.into_iter().chain(conns) {
            let lane = Lane::new(kind, u32::MAX).with_len(u16::MAX);
            assert_eq!((lane.kind(), lane.first_place(), lane.total_len()), (kind, !0, !0));
        }
        assert_eq!(Lane::default(), Lane::BY_THE_BOOK);
        assert_eq!(Lane::BY_THE_BOOK.kind(), Kind::ByTheBook);
    }
}
