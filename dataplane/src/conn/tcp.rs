//! TCP as a director sees it: one event per segment, three views of the traffic.
//!
//! The tables are IPVS's. A director that sees only the client's side (direct routing,
//! tunnels) guesses the rest: an ACK after a SYN is an established connection, and the
//! real server's FIN is never seen.

use super::{Direction, State};
use crate::wire::TcpFlags;

/// What a segment is, by the priority RST > SYN > FIN > ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Syn,
    Fin,
    Ack,
    Rst,
}

fn event(flags: TcpFlags) -> Option<Event> {
    [
        (TcpFlags::RST, Event::Rst),
        (TcpFlags::SYN, Event::Syn),
        (TcpFlags::FIN, Event::Fin),
        (TcpFlags::ACK, Event::Ack),
    ]
    .into_iter()
    .find(|(flag, _)| flags.contains(*flag))
    .map(|(_, event)| event)
}

/// The state after a segment with these flags. A segment with none of the four flags that
/// matter closes the connection, as in IPVS.
pub fn next(state: State, flags: TcpFlags, direction: Direction, secure: bool) -> State {
    use State::{
        TcpClose as CL, TcpCloseWait as CW, TcpEstablished as ES, TcpFinWait as FW,
        TcpLastAck as LA, TcpListen as LI, TcpNone as NO, TcpSynAck as SA, TcpSynRecv as SR,
        TcpSynSent as SS, TcpTimeWait as TW,
    };
    let Some(event) = event(flags) else { return CL };
    if secure && let Some(next) = secure_exception(state, event, direction) {
        return next;
    }
    match (direction, event, state) {
        (Direction::In | Direction::InOnly, Event::Syn, ES | SR) => state,
        (Direction::In | Direction::InOnly, Event::Syn, SS) => ES,
        (Direction::In | Direction::InOnly, Event::Syn, _) => SR,
        (Direction::In, Event::Fin, NO) => CL,
        (Direction::In, Event::Fin, ES) => CW,
        (Direction::In, Event::Fin, SR | FW | SA) => TW,
        (Direction::InOnly, Event::Fin, NO) => CL,
        (Direction::InOnly, Event::Fin, ES) => FW,
        (Direction::InOnly, Event::Fin, SR | SA) => TW,
        (Direction::In | Direction::InOnly, Event::Ack, NO | SR | SA) => ES,
        (Direction::In | Direction::InOnly, Event::Ack, LA) => CL,
        (Direction::In, Event::Rst, NO | ES | SS | FW | TW | CW) => CL,
        (Direction::In, Event::Rst, SR | CL | LA | LI) => state,
        (Direction::In, Event::Rst, SA) => SR,
        (Direction::InOnly, Event::Rst, NO | ES | SS | FW | TW | CW | SA) => CL,
        (Direction::Out, Event::Syn, NO | FW | TW | CL | CW | LA) => SS,
        (Direction::Out, Event::Syn, SA) => SR,
        (Direction::Out, Event::Fin, NO | SR | CW | SA) => TW,
        (Direction::Out, Event::Fin, ES) => FW,
        (Direction::Out, Event::Ack, NO | SR | LI | SA) => ES,
        (Direction::Out, Event::Rst, TW | CL) => state,
        (Direction::Out, Event::Rst, _) => CL,
        _ => state,
    }
}

/// Where the second table (the secure_tcp defence) differs: a client must send more than
/// its own ACK before the connection counts as established.
fn secure_exception(state: State, event: Event, direction: Direction) -> Option<State> {
    use State::{
        TcpClose as CL, TcpCloseWait as CW, TcpFinWait as FW, TcpLastAck as LA, TcpListen as LI,
        TcpNone as NO, TcpSynAck as SA, TcpSynRecv as SR, TcpTimeWait as TW,
    };
    match (direction, event, state) {
        (Direction::In, Event::Syn | Event::Fin | Event::Ack, SA) => Some(SA),
        (Direction::In, Event::Ack, SR) => Some(SR),
        (Direction::In, Event::Rst, SA) => Some(CL),
        (Direction::Out, Event::Syn, SR | SA) => Some(SA),
        (Direction::InOnly, Event::Syn, NO | FW | TW | CL | CW | LA | LI | SA) => Some(SA),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    fn walk(direction: Direction, secure: bool, flags: &[TcpFlags]) -> State {
        flags.iter().fold(TcpNone, |state, flags| next(state, *flags, direction, secure))
    }

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const FIN: TcpFlags = TcpFlags::FIN;
    const RST: TcpFlags = TcpFlags::RST;

    #[test]
    fn direct_routing_walks_the_recorded_life_cycles() {
        let dr = |flags: &[TcpFlags]| walk(Direction::InOnly, false, flags);
        assert_eq!(dr(&[SYN]), TcpSynRecv);
        assert_eq!(dr(&[SYN, ACK]), TcpEstablished);
        assert_eq!(dr(&[SYN, ACK, FIN | ACK]), TcpFinWait);
        assert_eq!(dr(&[SYN, ACK, FIN | ACK, ACK]), TcpFinWait);
        // A second FIN of the client's is no FIN of the server's (recorded in `fuzz-01`).
        assert_eq!(dr(&[SYN, ACK, FIN | ACK, FIN | ACK]), TcpFinWait);
        assert_eq!(dr(&[SYN, ACK, RST]), TcpClose);
        assert_eq!(dr(&[SYN, RST]), TcpSynRecv);
        assert_eq!(dr(&[SYN, FIN]), TcpTimeWait);
        assert_eq!(dr(&[SYN, ACK, SYN]), TcpEstablished);
        assert_eq!(dr(&[SYN, ACK, FIN | RST]), TcpClose);
        assert_eq!(dr(&[SYN, ACK, SYN | RST]), TcpClose);
        assert_eq!(dr(&[SYN, ACK, SYN | FIN | ACK]), TcpEstablished);
        assert_eq!(dr(&[SYN, ACK, TcpFlags::PSH]), TcpClose);
    }

    #[test]
    fn secure_tcp_holds_a_connection_back_until_more_than_a_syn_came() {
        assert_eq!(walk(Direction::InOnly, true, &[SYN]), TcpSynAck);
        assert_eq!(walk(Direction::InOnly, true, &[SYN, ACK]), TcpEstablished);
        assert_eq!(walk(Direction::InOnly, true, &[SYN, RST]), TcpClose);
    }

    #[test]
    fn masquerading_sees_both_sides() {
        let mut state = TcpNone;
        for (direction, flags, expected) in [
            (Direction::In, SYN, TcpSynRecv),
            (Direction::Out, SYN | ACK, TcpSynRecv),
            (Direction::In, ACK, TcpEstablished),
            (Direction::Out, FIN | ACK, TcpFinWait),
            (Direction::In, FIN | ACK, TcpTimeWait),
        ] {
            state = next(state, flags, direction, false);
            assert_eq!(state, expected);
        }
    }
}
