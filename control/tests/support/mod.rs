//! What the end-to-end tests need: network namespaces joined by wires, real servers and
//! clients in them, raw frames, and the program itself.
//!
//! Everything needs root and fails without it; nothing is skipped.

#![allow(dead_code, reason = "every test file uses a part of this")]

pub mod farm;
pub mod frame;
pub mod node;
pub mod program;
pub mod server;
pub mod socket;

use std::time::{Duration, Instant};

/// How long anything may take on a machine that is busy with other things. Nobody waits so long
/// but for what never comes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Looks again and again until there is something to see, or panics.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
