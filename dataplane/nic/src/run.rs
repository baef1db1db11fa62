//! The cores at work: capsule's threads run one pipeline each, whose single poll makes every
//! turn from the first to the last.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use capsule::batch::Pipeline;

use crate::error::NicError;
use crate::handle::{NicStats, Shared};

/// How long capsule's main thread waits before it asks the cores to end. They notice when
/// their only poll returns, so this bounds nothing but the time to start.
pub(crate) const START: Duration = Duration::from_secs(1);
/// When a core gives up on others that have not begun.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a NIC gets to send what its transmit queues hold.
const DRAIN: Duration = Duration::from_millis(10);

/// What a core does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another turn.
    Continue,
    /// This core is done; it makes no further turn.
    Stop,
}

/// One turn of a core's loop: receive, decide, send. It owns its core's queues, is called
/// until it answers [`Turn::Stop`], and is dropped on its core.
pub type TurnFn = Box<dyn FnMut() -> Turn + Send>;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The counters after the last turn.
    pub stats: NicStats,
    /// Mbufs that did not come back: the program kept frames. Their memory stays valid
    /// until the process ends.
    pub mbufs_held: u32,
}

/// A core's pipeline.
pub(crate) struct Turns {
    core: usize,
    turn: Option<TurnFn>,
    shared: Arc<Shared>,
}

impl Turns {
    pub fn new(core: usize, turn: Option<TurnFn>, shared: Arc<Shared>) -> Self {
        Self { core, turn, shared }
    }

    fn run_to_the_end(&mut self) {
        let Some(mut turn) = self.turn.take() else { return };
        self.shared.running.fetch_add(1, Ordering::AcqRel);
        self.shared.started.fetch_add(1, Ordering::AcqRel);
        let shared = Arc::clone(&self.shared);
        let ended = catch_unwind(AssertUnwindSafe(move || {
            if everyone_starts(&shared, &mut turn, PATIENCE) == Turn::Continue {
                while !shared.stop.load(Ordering::Relaxed) {
                    if turn() == Turn::Stop {
                        break;
                    }
                }
            }
            drop(turn);
        }));
        if let Err(panic) = ended {
            let message = message(panic.as_ref());
            self.shared.fail(NicError::Panicked { core: self.core, message });
        }
        std::thread::sleep(DRAIN);
        if self.shared.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.refresh();
        }
    }
}

/// Makes turns until all cores have begun. capsule drops a pipeline that was not polled
/// before its end was asked for; then this core must not go on alone.
fn everyone_starts(shared: &Shared, turn: &mut TurnFn, patience: Duration) -> Turn {
    let begun = Instant::now();
    while shared.started.load(Ordering::Acquire) < shared.cores {
        if begun.elapsed() > patience {
            shared.fail(NicError::NotStarted { seconds: patience.as_secs() });
        }
        if shared.stop.load(Ordering::Acquire) || turn() == Turn::Stop {
            return Turn::Stop;
        }
    }
    Turn::Continue
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.run_to_the_end();
        Poll::Ready(())
    }
}

impl Pipeline for Turns {
    fn name(&self) -> &str {
        "turns"
    }

    fn run_once(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(cores: usize, started: usize) -> Shared {
        let shared = Shared::new(cores, Vec::new());
        shared.started.store(started, Ordering::Release);
        shared
    }

    #[test]
    fn a_core_works_while_it_waits_for_the_others_and_goes_on_when_they_have_begun() {
        let all = Arc::new(shared(2, 1));
        let other = Arc::clone(&all);
        let mut turns = 0;
        let mut turn: TurnFn = Box::new(move || {
            turns += 1;
            if turns == 3 {
                other.started.store(2, Ordering::Release);
            }
            Turn::Continue
        });
        assert_eq!(everyone_starts(&all, &mut turn, Duration::MAX), Turn::Continue);
        assert_eq!(all.take_fault(), None);
    }

    #[test]
    fn a_core_whose_fellows_never_begin_stops_all_and_says_so() {
        let all = shared(2, 1);
        let mut turn: TurnFn = Box::new(|| Turn::Continue);
        assert_eq!(everyone_starts(&all, &mut turn, Duration::ZERO), Turn::Stop);
        assert_eq!(all.take_fault(), Some(NicError::NotStarted { seconds: 0 }));
        assert!(all.stop.load(Ordering::Acquire));
    }
}
