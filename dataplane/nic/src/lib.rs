//! NIC ports for Director, on DPDK and capsule. Nothing outside this crate names either.
//!
//! ```text
//! NicConfig -> open -> Nic -> take_queues(core) -> Queue (dataplane::port::Port) -> MbufFrame
//!                        |-> handle()  -> NicHandle: statistics, links, mbufs; any thread
//!                        '-> run(turns): one thread per core, until its turn says stop
//! ```
//!
//! DPDK can be started once per process, so [`open`] works once. [`Nic`] stays on the thread
//! that opened it, which is pinned to the main core and sleeps during [`Nic::run`]; a control
//! thread that is started from there runs on the same core.
//!
//! Reading order: [`config`], [`preflight`] (what is checked before DPDK is asked), [`port`],
//! [`frame`], [`queue`], [`run`].

mod batch;
pub mod config;
pub mod error;
pub mod frame;
pub mod handle;
mod interface;
mod log;
pub mod machine;
mod open;
mod plan;
pub mod port;
pub mod preflight;
pub mod queue;
pub mod rss;
pub mod run;

pub use config::{Memory, NicConfig, PortConfig};
pub use error::NicError;
pub use frame::MbufFrame;
pub use handle::{NicHandle, NicStats, PortStats};
pub use interface::{Carrier, Offload};
pub use log::{dpdk_log, dpdk_version};
pub use machine::Machine;
pub use open::{Nic, open};
pub use port::PortInfo;
pub use queue::Queue;
pub use rss::{Rss, Steered};
pub use run::{Totals, Turn, TurnFn};
