//! What the CPU can do, what a thread has had of it, and what it waited for.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The kernel's file about the calling thread: time on the CPU, time waited for it, both in
/// nanoseconds, and how often it got it.
const OWN: &str = "/proc/thread-self/schedstat";

/// A moment as the scheduler and the clock on the wall tell it.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    on_cpu: Duration,
    at: Instant,
}

impl CpuTime {
    /// Now, for the calling thread, to the nanosecond. The kernel's file about it may be
    /// as old as the scheduler's last tick.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = Duration::from_secs(time.tv_sec.unsigned_abs());
        let on_cpu = seconds + Duration::from_nanos(time.tv_nsec.unsigned_abs());
        Self { on_cpu, at: Instant::now() }
    }

    /// Now, for the thread whose `schedstat` file this is, and which sleeps. One that cannot
    /// be read has had nothing.
    pub fn of(schedstat: &str) -> Self {
        let text = fs::read_to_string(schedstat).unwrap_or_default();
        let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok());
        Self { on_cpu: Duration::from_nanos(nanos.unwrap_or(0)), at: Instant::now() }
    }

    /// Time on the CPU from `self` until `later`.
    pub fn on_cpu(&self, later: &Self) -> Duration {
        later.on_cpu.saturating_sub(self.on_cpu)
    }

    /// Time on the wall from `self` until `later`.
    pub fn wall(&self, later: &Self) -> Duration {
        later.at.saturating_duration_since(self.at)
    }
}

/// Whether this CPU takes the ways that are made for AVX-512.
#[cfg(target_arch = "x86_64")]
pub fn is_wide() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl")
}

/// How long the calling thread has been ready to run and was not, since it began.
pub fn time_waited() -> Duration {
    let text = fs::read_to_string(OWN).unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeping_thread_has_less_cpu_than_time() {
        let before = CpuTime::now();
        std::thread::sleep(Duration::from_millis(30));
        let after = CpuTime::now();
        assert!(before.wall(&after) >= Duration::from_millis(30));
        assert!(before.on_cpu(&after) < before.wall(&after));
    }
}
