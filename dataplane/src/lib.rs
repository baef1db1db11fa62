//! The packet path of Director: bytes and a tick in, a verdict out.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or knows DPDK. The same
//! code runs in the poll loop, under the tests, in `director replay` and in
//! `director explain`.
//!
//! ```text
//! burst -> wire::parse -> classify -> connection table -> template table -> scheduler
//!              |             |              |                   |              |
//!              v             v              v                   v              v
//!          Malformed     host answers    bound: done      bound: connect   pick, bind
//!                                           \___________________|______________/
//!                                                               v
//!                                           forward (Route | Masq | Tunnel | Local) -> tx
//! ```
//!
//! Reading order: [`worker`] (one turn of one core), [`director`] (one frame),
//! [`bindings`] (which real server), [`sched`], [`forward`], [`snapshot`].

pub mod agreements;
pub mod answer;
pub mod bindings;
pub mod block;
pub mod call;
pub mod catalog;
pub mod classify;
pub mod compat;
pub mod conn;
pub mod counters;
mod cpu;
mod datagram;
pub mod director;
pub mod expected;
pub mod explain;
pub mod forward;
pub mod fragments;
mod gathering;
pub mod ids;
pub mod load;
pub mod mailbox;
pub mod neighbour;
pub mod path_mtus;
mod pieces;
pub mod pins;
pub mod port;
pub mod prefetch;
pub mod reply;
pub mod route;
pub mod rss;
pub mod sched;
pub mod shared;
pub mod snapshot;
pub mod table;
pub mod tick;
pub mod timer;
pub mod trace;
pub mod verdict;
mod wide;
pub mod wire;
pub mod worker;
