//! SCTP as a director sees it: the first chunk is the event.
//!
//! The transitions are IPVS's; see [`super::tcp`] for what the three directions mean.

use super::{Direction, State};
use State::{
    SctpClosed as CLOSED, SctpCookie as COOKIE, SctpCookieEchoed as ECHOED,
    SctpCookieReplied as REPLIED, SctpCookieSent as SENT, SctpCookieWait as WAIT,
    SctpEstablished as EST, SctpInit as INIT, SctpInit1 as INIT1, SctpNone as NONE,
    SctpRejected as REJECTED, SctpShutdownAckSent as SACK_SENT, SctpShutdownReceived as S_RECV,
    SctpShutdownSent as S_SENT,
};

/// What a packet is to the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// DATA, SACK, HEARTBEAT and everything else that says nothing new.
    Data,
    /// INIT: the client begins.
    Init,
    /// INIT ACK.
    InitAck,
    /// COOKIE ECHO.
    CookieEcho,
    /// COOKIE ACK.
    CookieAck,
    /// SHUTDOWN.
    Shutdown,
    /// SHUTDOWN ACK.
    ShutdownAck,
    /// SHUTDOWN COMPLETE.
    ShutdownComplete,
    /// ERROR.
    Error,
    /// ABORT.
    Abort,
}

impl Event {
    /// The event of a packet with these first two chunk types (RFC 9260, section 3.2). An
    /// ABORT bundled behind a COOKIE ECHO or COOKIE ACK counts as the ABORT.
    pub fn of(chunks: [u8; 2]) -> Self {
        const ABORT: u8 = 6;
        match chunks {
            [10 | 11, ABORT] | [ABORT, _] => Self::Abort,
            [1, _] => Self::Init,
            [2, _] => Self::InitAck,
            [7, _] => Self::Shutdown,
            [8, _] => Self::ShutdownAck,
            [9, _] => Self::Error,
            [10, _] => Self::CookieEcho,
            [11, _] => Self::CookieAck,
            [14, _] => Self::ShutdownComplete,
            _ => Self::Data,
        }
    }
}

/// The state after a packet.
pub fn next(state: State, event: Event, direction: Direction) -> State {
    let next = match direction {
        Direction::In => incoming(state, event),
        Direction::Out => outgoing(state, event),
        Direction::InOnly => incoming_only(state, event),
    };
    next.unwrap_or(state)
}

fn incoming(state: State, event: Event) -> Option<State> {
    Some(match (event, state) {
        (Event::Data, NONE) => EST,
        (Event::Init, NONE) => INIT1,
        (Event::Init, INIT1 | REJECTED | CLOSED) => INIT,
        (Event::InitAck, NONE | INIT1 | INIT) => WAIT,
        (Event::InitAck, WAIT) => COOKIE,
        (Event::CookieEcho, NONE | SENT) => REPLIED,
        (Event::CookieEcho, INIT1) => INIT,
        (Event::CookieAck, NONE | ECHOED) => EST,
        (Event::Shutdown, NONE | EST) => S_RECV,
        (Event::ShutdownAck, NONE | S_SENT | SACK_SENT) => CLOSED,
        (Event::ShutdownAck, INIT1) => INIT,
        (Event::ShutdownComplete, NONE | INIT1 | INIT | SACK_SENT) => CLOSED,
        (Event::Error, NONE | ECHOED) => CLOSED,
        (Event::Abort, WAIT) => REJECTED,
        (Event::Abort, _) => CLOSED,
        _ => return None,
    })
}

fn outgoing(state: State, event: Event) -> Option<State> {
    Some(match (event, state) {
        (Event::Data, NONE) => EST,
        (Event::Init, EST) => return None,
        (Event::Init, _) => WAIT,
        (Event::InitAck, NONE | INIT1 | INIT) => SENT,
        (Event::CookieEcho, NONE | INIT1 | INIT | SENT | REPLIED | WAIT | COOKIE) => ECHOED,
        (Event::CookieAck, NONE | INIT1 | INIT | SENT | REPLIED | WAIT | COOKIE | ECHOED) => EST,
        (Event::Shutdown, NONE | INIT1 | INIT | SENT | REPLIED | WAIT | COOKIE | ECHOED | EST) => {
            S_SENT
        }
        (Event::ShutdownAck, NONE | INIT1 | INIT | SENT | REPLIED | S_SENT | S_RECV) => SACK_SENT,
        (Event::ShutdownComplete, NONE) => CLOSED,
        (Event::Error, NONE | INIT1 | INIT | SENT | REPLIED) => CLOSED,
        (Event::Abort, INIT1) => REJECTED,
        (Event::Abort, _) => CLOSED,
        _ => return None,
    })
}

fn incoming_only(state: State, event: Event) -> Option<State> {
    Some(match (event, state) {
        (Event::Data, NONE | WAIT) => EST,
        (Event::Init, NONE) => INIT1,
        (Event::Init, INIT1 | SENT | REPLIED | WAIT | REJECTED | CLOSED) => INIT,
        (Event::InitAck, NONE | INIT1 | INIT | SENT | REPLIED | WAIT) => ECHOED,
        (Event::CookieEcho, NONE | INIT1 | INIT | SENT | REPLIED | WAIT) => EST,
        (Event::CookieAck, NONE | SENT | REPLIED | COOKIE | ECHOED) => EST,
        (Event::Shutdown, NONE | EST) => S_RECV,
        (Event::ShutdownAck, NONE | EST | S_SENT | SACK_SENT) => CLOSED,
        (Event::ShutdownAck, INIT1) => INIT,
        (Event::ShutdownComplete, NONE | INIT1 | INIT | SENT | REPLIED | S_RECV | SACK_SENT) => {
            CLOSED
        }
        (Event::Error, NONE) => CLOSED,
        (Event::Abort, WAIT) => REJECTED,
        (Event::Abort, _) => CLOSED,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_association_through_a_direct_routing_director() {
        let mut state = NONE;
        for (chunk, expected) in [(1, INIT1), (10, EST), (0, EST), (7, S_RECV), (14, CLOSED)] {
            state = next(state, Event::of([chunk, 0xFF]), Direction::InOnly);
            assert_eq!(state, expected, "after chunk {chunk}");
        }
    }

    #[test]
    fn an_abort_behind_a_cookie_counts_as_the_abort() {
        assert_eq!(Event::of([10, 6]), Event::Abort);
        assert_eq!(Event::of([0, 6]), Event::Data);
        assert_eq!(next(WAIT, Event::Abort, Direction::In), REJECTED);
    }
}
