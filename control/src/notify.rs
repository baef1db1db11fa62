//! What systemd is told: that the director is ready, reloads or stops, how it is, and
//! that every core moves (`sd_notify(3)`, `Type=notify`).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is said. A message that cannot be
//! sent is lost: whoever asked for it sees that it does not come.

use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tracing::{error, info, warn};

/// The line to the service manager.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
    status: String,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!("NOTIFY_SOCKET {} cannot be used: {error}", name.display());
                None
            }
        });
        let number = |name| env::var(name).ok()?.parse::<u64>().ok();
        let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC").filter(|_| mine).map(Duration::from_micros);
        let watchdog = limit.filter(|_| socket.is_some()).map(Watchdog::new);
        Self { socket, watchdog, status: String::new() }
    }

    /// The ports are up and every core runs the configuration.
    pub fn ready(&mut self, status: &str) {
        status.clone_into(&mut self.status);
        self.send(&format!("READY=1\nMAINPID={}\nSTATUS={}", std::process::id(), line(status)));
    }

    /// The configuration is being read again; [`Notify::ready`] says that it is done.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// How the director is, in a line; said only when it changes.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.send(&format!("STATUS={}", line(status)));
        }
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    /// Feeds the watchdog when it is time and every core has moved. `turns` counts the
    /// turns that each core has made.
    pub fn beat(&mut self, now: Instant, turns: &mut dyn Iterator<Item = u64>) {
        let Some(watchdog) = &mut self.watchdog else { return };
        match watchdog.look(now, turns) {
            Look::Early => {}
            Look::Moves { again } => {
                if again {
                    info!("every core moves again");
                }
                self.send("WATCHDOG=1");
            }
            Look::Stands { cores, first } if first => {
                error!("{}; the watchdog is not fed", standing(&cores));
            }
            Look::Stands { .. } => {}
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// A path, or a name in the abstract namespace after `@`.
fn connect(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read must not hold up the control thread.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The protocol has one fact a line.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn standing(cores: &[usize]) -> String {
    let mut text = String::from(if cores.len() == 1 { "core" } else { "cores" });
    for (index, core) in cores.iter().enumerate() {
        let _ = write!(text, "{} {core}", if index == 0 { "" } else { "," });
    }
    text + if cores.len() == 1 { " stands still" } else { " stand still" }
}

/// Watches that every core makes turns.
#[derive(Debug)]
struct Watchdog {
    /// Half of what the manager allows, as `sd_watchdog_enabled(3)` recommends.
    every: Duration,
    looked: Option<Instant>,
    /// Every core's turns at the last look.
    turns: Vec<u64>,
    stood: bool,
}

/// What a look at the cores showed.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It is not time to look again.
    Early,
    /// Every core has moved; `again`: one had not, the last time.
    Moves {
        /// Whether a core had stood still before.
        again: bool,
    },
    /// These have not moved since the last look.
    Stands {
        /// Their numbers.
        cores: Vec<usize>,
        /// Whether all moved at the last look.
        first: bool,
    },
}

impl Watchdog {
    fn new(limit: Duration) -> Self {
        Self { every: limit / 2, looked: None, turns: Vec::new(), stood: false }
    }

    fn look(&mut self, now: Instant, turns: &mut dyn Iterator<Item = u64>) -> Look {
        if self.looked.is_some_and(|looked| now.duration_since(looked) < self.every) {
            return Look::Early;
        }
        self.looked = Some(now);
        let turns: Vec<u64> = turns.collect();
        let before = self.turns.iter().copied().chain(std::iter::repeat(0));
        let cores: Vec<usize> = turns
            .iter()
            .zip(before)
            .enumerate()
            .filter(|(_, (now, before))| **now == *before)
            .map(|(core, _)| core)
            .collect();
        self.turns = turns;
        let stood = std::mem::replace(&mut self.stood, !cores.is_empty());
        if cores.is_empty() {
            Look::Moves { again: stood }
        } else {
            Look::Stands { cores, first: !stood }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watchdog of two seconds and the moment at which it begins.
    fn watchdog() -> (Watchdog, Instant) {
        (Watchdog::new(Duration::from_secs(2)), Instant::now())
    }

    fn look(watchdog: &mut Watchdog, now: Instant, turns: &[u64]) -> Look {
        watchdog.look(now, &mut turns.iter().copied())
    }

    #[test]
    fn it_is_fed_at_half_its_time_while_every_core_moves() {
        let (mut dog, start) = watchdog();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(look(&mut dog, at(0), &[5, 7]), Look::Moves { again: false });
        assert_eq!(look(&mut dog, at(999), &[50, 70]), Look::Early);
        assert_eq!(look(&mut dog, at(1_000), &[51, 71]), Look::Moves { again: false });
        assert_eq!(look(&mut dog, at(1_999), &[52, 72]), Look::Early);
        assert_eq!(look(&mut dog, at(2_000), &[52, 72]), Look::Moves { again: false });
    }

    #[test]
    fn one_core_that_stands_still_is_enough_to_starve_it() {
        let (mut dog, start) = watchdog();
        let at = |s| start + Duration::from_secs(s);
        look(&mut dog, at(0), &[5, 7, 9]);
        let stands = |first| Look::Stands { cores: vec![1], first };
        assert_eq!(look(&mut dog, at(1), &[6, 7, 10]), stands(true));
        assert_eq!(look(&mut dog, at(2), &[7, 7, 11]), stands(false));
        assert_eq!(look(&mut dog, at(3), &[8, 8, 12]), Look::Moves { again: true });
    }

    #[test]
    fn a_core_that_never_began_stands_still() {
        let (mut dog, start) = watchdog();
        assert_eq!(look(&mut dog, start, &[0]), Look::Stands { cores: vec![0], first: true });
        assert_eq!(standing(&[0]), "core 0 stands still");
        assert_eq!(standing(&[0, 3]), "cores 0, 3 stand still");
    }

    #[test]
    fn a_status_is_one_line_and_is_said_when_it_changes() {
        let (reader, writer) = UnixDatagram::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        let mut notify = Notify { socket: Some(writer), watchdog: None, status: String::new() };
        let heard = || {
            let mut bytes = [0; 256];
            let length = reader.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        };
        notify.status("fine\nreally");
        assert_eq!(heard().as_deref(), Some("STATUS=fine really"));
        notify.status("fine\nreally");
        assert_eq!(heard(), None);
        notify.reloading();
        assert!(heard().unwrap().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    }

    #[test]
    fn a_socket_in_the_abstract_namespace_is_found() {
        let name = format!("director-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let reader = UnixDatagram::bind_addr(&address).unwrap();
        connect(OsStr::new(&format!("@{name}"))).unwrap().send(b"READY=1").unwrap();
        let mut bytes = [0; 16];
        assert_eq!(reader.recv(&mut bytes).unwrap(), 7);
        assert!(connect(OsStr::new("/nonexistent/notify")).is_err());
    }
}
