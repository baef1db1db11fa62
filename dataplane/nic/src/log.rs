//! DPDK's own log: taken off the terminal, kept for errors and `--verbose`.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::raw::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Detail, NicError};

/// How lines begin that DPDK and its drivers' libraries print past the log.
const FOREIGN: [&str; 3] = ["EAL:", "libbpf:", "libxdp:"];
/// Lines kept.
const KEPT: usize = 256;

/// How lines begin that never say what went wrong.
const CHATTER: [&str; 8] = [
    "EAL: Detected",
    "EAL: Static memory",
    "EAL: Multi-process",
    "EAL: Physical addresses",
    "EAL: Selected IOVA",
    "EAL: VFIO support",
    "EAL: No free",
    "EAL: Bus (",
];

struct Log {
    lines: VecDeque<String>,
    /// The lines since the current step began.
    step: Vec<String>,
    partial: String,
}

static LOG: Mutex<Log> = Mutex::new(Log::new());

fn log() -> MutexGuard<'static, Log> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last lines that DPDK has logged, oldest first. Each was also a `tracing` event of the
/// target `dpdk` at debug level.
pub fn dpdk_log() -> Vec<String> {
    log().lines.iter().cloned().collect()
}

/// The version of the DPDK that is loaded, as `DPDK 22.11.11`.
pub fn dpdk_version() -> String {
    // SAFETY: the answer is a constant C string inside DPDK.
    let version = unsafe { CStr::from_ptr(capsule_ffi::rte_version()) };
    version.to_string_lossy().into_owned()
}

/// Sends DPDK's log here from now on.
pub(crate) fn capture() -> Result<(), NicError> {
    // SAFETY: `sink` matches the declared signature and lives as long as the program.
    if unsafe { capsule_ffi::shim_capture_log(Some(sink)) } == 0 {
        return Ok(());
    }
    Err(NicError::Eal { detail: Detail("no stream for its log".to_owned()) })
}

/// What is logged from here on belongs to another step than what was logged before.
pub(crate) fn begin_step() {
    log().step.clear();
}

/// The step's line that says most, for the end of an error's sentence.
pub(crate) fn cause() -> Detail {
    log().cause()
}

/// Whether a line of the step contains this text.
pub(crate) fn mentions(text: &str) -> bool {
    log().mentions(text)
}

impl Log {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), step: Vec::new(), partial: String::new() }
    }

    /// Takes a piece of text and answers with the lines that it completes.
    fn append(&mut self, text: &str) -> Vec<String> {
        let mut complete = Vec::new();
        self.partial.push_str(text);
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            let line = line.trim().to_owned();
            if line.is_empty() {
                continue;
            }
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(line.clone());
            if self.step.len() < KEPT {
                self.step.push(line.clone());
            }
            complete.push(line);
        }
        complete
    }

    /// Drivers give the cause first; what those say that called them follows.
    fn cause(&self) -> Detail {
        let chatter = |line: &str| CHATTER.iter().any(|begin| line.starts_with(begin));
        let line = self.step.iter().find(|line| !chatter(line)).or(self.step.last());
        Detail(line.cloned().unwrap_or_default())
    }

    fn mentions(&self, text: &str) -> bool {
        self.step.iter().any(|line| line.contains(text))
    }
}

unsafe extern "C" fn sink(text: *const c_char, length: usize) {
    // SAFETY: the C library hands over `length` readable bytes.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    let complete = log().append(&String::from_utf8_lossy(bytes));
    for line in complete {
        tracing::debug!(target: "dpdk", "{line}");
    }
}

/// Runs `work` with standard error caught: DPDK prints its fatal messages there, past its
/// log. What others printed meanwhile is printed afterwards.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let Some(caught) = CaughtStderr::begin() else { return work() };
    let answer = work();
    caught.end();
    answer
}

struct CaughtStderr {
    caught: File,
    original: OwnedFd,
}

impl CaughtStderr {
    fn begin() -> Option<Self> {
        // SAFETY: a constant C string; the answer is checked before it is owned.
        let caught = unsafe { libc::memfd_create(c"stderr".as_ptr(), libc::MFD_CLOEXEC) };
        if caught < 0 {
            return None;
        }
        // SAFETY: a new descriptor that nobody else owns.
        let caught = unsafe { File::from_raw_fd(caught) };
        // SAFETY: duplicates a number; a closed one answers -1.
        let original = unsafe { libc::fcntl(libc::STDERR_FILENO, libc::F_DUPFD_CLOEXEC, 3) };
        if original < 0 {
            return None;
        }
        // SAFETY: a new descriptor that nobody else owns.
        let original = unsafe { OwnedFd::from_raw_fd(original) };
        // SAFETY: both are open; standard error is put back in `end`.
        let set = unsafe { libc::dup2(caught.as_raw_fd(), libc::STDERR_FILENO) };
        (set >= 0).then_some(Self { caught, original })
    }

    fn end(mut self) {
        // SAFETY: both are open.
        unsafe { libc::dup2(self.original.as_raw_fd(), libc::STDERR_FILENO) };
        let mut text = String::new();
        if self.caught.seek(SeekFrom::Start(0)).is_err()
            || self.caught.read_to_string(&mut text).is_err()
        {
            return;
        }
        for line in text.lines() {
            if FOREIGN.iter().any(|of| line.starts_with(of)) {
                tracing::debug!(target: "dpdk", "{line}");
            } else {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_a_step_has_one_cause() {
        let mut log = Log::new();
        assert!(log.append("EAL: Selected IOVA half ").is_empty());
        let complete = log.append("a line\ndriver: the cause\nvdev: the consequence\n\n");
        assert_eq!(complete.len(), 3);
        assert_eq!(log.cause(), Detail("driver: the cause".to_owned()));
        assert!(log.mentions("half a line"));
        log.step.clear();
        assert_eq!(log.cause(), Detail::default());
        assert!(!log.mentions("half a line"));
        log.append("EAL: Detected CPU lcores: 2\n");
        assert_eq!(log.cause(), Detail("EAL: Detected CPU lcores: 2".to_owned()));
        for n in 0..2 * KEPT {
            log.append(&format!("line {n}\n"));
        }
        assert_eq!((log.lines.len(), log.step.len()), (KEPT, KEPT));
    }
}
