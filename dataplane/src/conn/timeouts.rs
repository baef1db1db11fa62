//! Protocol states and how long a connection stays in each.

use crate::tick::TICKS_PER_SECOND;

macro_rules! states {
    ($($name:ident, $word:literal, $seconds:literal, $active:literal;)*) => {
        /// The states of connections, of all protocols together.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum State { $(#[doc = concat!("`", $word, "` in the connection listing.")] $name,)* }

        impl State {
            /// Every state, in the order of its number.
            pub const ALL: &'static [State] = &[$(State::$name,)*];

            /// The word in the connection listing.
            pub const fn word(self) -> &'static str {
                match self { $(State::$name => $word,)* }
            }

            /// Whether connections in this state count as ActiveConn.
            pub const fn is_active(self) -> bool {
                match self { $(State::$name => $active,)* }
            }

            const fn default_s(self) -> u32 {
                match self { $(State::$name => $seconds,)* }
            }
        }
    };
}

states! {
    TcpNone, "NONE", 2, false;
    TcpEstablished, "ESTABLISHED", 900, true;
    TcpSynSent, "SYN_SENT", 120, true;
    TcpSynRecv, "SYN_RECV", 60, true;
    TcpFinWait, "FIN_WAIT", 120, false;
    TcpTimeWait, "TIME_WAIT", 120, false;
    TcpClose, "CLOSE", 10, false;
    TcpCloseWait, "CLOSE_WAIT", 60, false;
    TcpLastAck, "LAST_ACK", 30, false;
    TcpListen, "LISTEN", 120, false;
    TcpSynAck, "SYNACK", 120, true;
    Udp, "UDP", 300, false;
    SctpNone, "NONE", 2, false;
    SctpInit1, "INIT1", 4, false;
    SctpInit, "INIT", 61, false;
    SctpCookieSent, "C-SENT", 61, false;
    SctpCookieReplied, "C-REPLIED", 61, false;
    SctpCookieWait, "C-WAIT", 61, false;
    SctpCookie, "COOKIE", 61, false;
    SctpCookieEchoed, "C-ECHOED", 61, false;
    SctpEstablished, "ESTABLISHED", 900, true;
    SctpShutdownSent, "S-SENT", 61, false;
    SctpShutdownReceived, "S-RECEIVED", 61, false;
    SctpShutdownAckSent, "S-ACK-SENT", 61, false;
    SctpRejected, "REJECTED", 4, false;
    SctpClosed, "CLOSED", 61, false;
}

/// Seconds per state. Three of them can be set (`ipvsadm --set`); the rest are IPVS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp_s: u32,
    /// TCP connections after a FIN.
    pub tcp_fin_s: u32,
    /// UDP.
    pub udp_s: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_s: State::TcpEstablished.default_s(),
            tcp_fin_s: State::TcpFinWait.default_s(),
            udp_s: State::Udp.default_s(),
        }
    }
}

impl Timeouts {
    /// A connection that no packet has moved yet: three seconds.
    pub const NEW: u32 = 3 * TICKS_PER_SECOND;

    /// The timeout of a state, in ticks.
    pub fn ticks(&self, state: State) -> u32 {
        let seconds = match state {
            State::TcpEstablished => self.tcp_s,
            State::TcpFinWait => self.tcp_fin_s,
            State::Udp => self.udp_s,
            other => other.default_s(),
        };
        seconds.saturating_mul(TICKS_PER_SECOND)
    }
}
