//! Everything that measures Director.
//!
//! ```text
//! Load -> farm (tables, snapshot, workers)      plan (addresses by number)
//!      -> draw (who sends next) -> template -> synthesis (a port that writes headers)
//! bench -> core_at_work (one core, job by job) <- conduct (fill, rounds, reference) -> outcome
//! table -> rows (names, loads, marks), one process of `director bench` each
//! ```
//!
//! A figure is the time that a core's thread was on its CPU, divided by packets: it stays
//! what it is when somebody else takes the CPU away for a while. Rounds of the director and
//! of DPDK's testpmd alternate, so that their ratio stays, too, when the machine as a whole
//! is slower for a while.
//!
//! Reading order: [`mod@bench`], [`conduct`], [`core_at_work`], [`synthesis`].

pub mod bare;
pub mod bench;
pub mod capture;
pub mod choice;
pub mod conduct;
pub mod core_at_work;
pub mod cpu;
pub mod disturb;
pub mod draw;
#[cfg(target_arch = "x86_64")]
pub mod ends;
pub mod error;
pub mod farm;
pub mod gap;
pub mod generate;
pub mod l3fwd;
pub mod load;
pub mod machine;
pub mod memif;
pub mod outcome;
pub mod plan;
pub mod plot;
pub mod recycle;
pub mod reference;
pub mod results;
pub mod round;
pub mod rows;
pub mod sample;
pub mod synthesis;
pub mod table;
pub mod template;
pub mod witness;
