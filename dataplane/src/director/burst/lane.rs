//! One frame's part of a burst.

use crate::ids::ServiceId;

/// What was found out about one frame before its turn, in one word: 0 for the reference path.
///
/// ```text
/// place of the service's real server number 0, or who opens 32 | bytes of the IP packet 16 | kind 16
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
    /// It opens a connection: TCP with SYN and without ACK, FIN and RST, to a service for which
    /// nothing but connection, template and scheduler is to be asked.
    Open,
    /// As `Client`, over IPv6.
    ClientV6,
    /// As `ConnTcp`, over IPv6.
    ConnTcpV6,
    /// As `ConnUdp`, over IPv6.
    ConnUdpV6,
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

    /// [`Self::with_len`] for several packets.
    #[inline(always)]
    pub(super) fn with_lens<const N: usize>(self, lens: [u64; N]) -> [Self; N] {
        lens.map(|len| Self(self.0 | len << 16))
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
            7 => Kind::Open,
            8 => Kind::ClientV6,
            9 => Kind::ConnTcpV6,
            10 => Kind::ConnUdpV6,
            _ => Kind::ByTheBook,
        }
    }

    /// Whether it is of this kind.
    #[inline(always)]
    pub(super) fn is(self, kind: Kind) -> bool {
        self.0 as u16 == kind as u16
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

/// A service whose connections are opened plainly, in the place of a lane's first place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opens {
    pub service: ServiceId,
    /// As [`Hit::own_port`](crate::classify::Hit::own_port).
    pub own_port: bool,
}

impl Opens {
    /// As a number; 0 for a service that has none.
    pub(super) fn pack(self) -> u32 {
        let number = self.service.0.checked_mul(2).and_then(|n| n.checked_add(2));
        number.map_or(0, |number| number | u32::from(self.own_port))
    }

    #[inline(always)]
    pub(super) fn unpack(number: u32) -> Option<Self> {
        let service = ServiceId((number >> 1).checked_sub(1)?);
        Some(Self { service, own_port: number & 1 == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_opens_is_a_number_and_none_is_0() {
        assert_eq!(Opens::unpack(0), None);
        for (service, own_port) in [(0, false), (0, true), (1, true), (65_535, false)] {
            let opens = Opens { service: ServiceId(service), own_port };
            assert_eq!(Opens::unpack(opens.pack()), Some(opens));
        }
        assert_eq!(Opens { service: ServiceId(u32::MAX), own_port: true }.pack(), 0);
    }

    #[test]
    fn a_lane_holds_what_was_put_into_it() {
        let conns = [Kind::ConnTcp, Kind::ConnUdp, Kind::ReplyTcp, Kind::ReplyUdp];
        let others = [Kind::ByTheBook, Kind::Bind, Kind::Client, Kind::Open, Kind::ClientV6];
        let wide = [Kind::ConnTcpV6, Kind::ConnUdpV6];
        for kind in others.into_iter().chain(conns).chain(wide) {
            let lane = Lane::new(kind, u32::MAX).with_len(u16::MAX);
            assert_eq!((lane.kind(), lane.first_place(), lane.total_len()), (kind, !0, !0));
            assert!(lane.is(kind) && !Lane::BY_THE_BOOK.is(Kind::Bind));
            assert_eq!(lane.is(Kind::Open), kind == Kind::Open);
        }
        assert_eq!(Lane::default(), Lane::BY_THE_BOOK);
        assert_eq!(Lane::BY_THE_BOOK.kind(), Kind::ByTheBook);
    }
}
