//! TCP's states under direct routing, as the table is printed: one row per state, one column
//! per segment.

/// The states that a director sees which sees clients only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    None,
    Established,
    SynRecv,
    FinWait,
    TimeWait,
    Close,
    Udp,
}

impl State {
    pub fn is_active(self) -> bool {
        matches!(self, Self::Established | Self::SynRecv)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    Syn,
    Fin,
    Ack,
    Rst,
    Other,
}

impl Segment {
    /// RST before SYN before FIN before ACK.
    pub fn of(flags: &str) -> Self {
        let order = [('R', Self::Rst), ('S', Self::Syn), ('F', Self::Fin), ('A', Self::Ack)];
        order.into_iter().find(|(flag, _)| flags.contains(*flag)).map_or(Self::Other, |(_, s)| s)
    }
}

pub fn next(state: State, segment: Segment) -> State {
    use State::{Close as CL, Established as ES, FinWait as FW, SynRecv as SR, TimeWait as TW};
    let [syn, fin, ack, rst] = match state {
        State::Udp => return State::Udp,
        State::None => [SR, CL, ES, CL],
        State::Established => [ES, FW, ES, CL],
        State::SynRecv => [SR, TW, ES, SR],
        State::FinWait => [SR, FW, FW, CL],
        State::TimeWait => [SR, TW, TW, CL],
        State::Close => [SR, CL, CL, CL],
    };
    match segment {
        Segment::Syn => syn,
        Segment::Fin => fin,
        Segment::Ack => ack,
        Segment::Rst => rst,
        Segment::Other => CL,
    }
}

pub fn timeout_s(state: State) -> u64 {
    match state {
        State::None => 2,
        State::Established => 900,
        State::SynRecv => 60,
        State::FinWait | State::TimeWait => 120,
        State::Close => 10,
        State::Udp => 300,
    }
}
