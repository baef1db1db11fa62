//! The parts of the program `director` that tests and benches use, too.
//!
//! ```text
//! file, signal, socket -> config (YAML -> Model) -> compile (Model -> plan)
//!     -> catalog (ids, order) -> Snapshot -> publish -> one mailbox per core
//! cores -> events -> neighbour (ARP, ND)        cores -> counters, tables -> listing, status
//! ```
//!
//! Reading order: `main`, [`run`], [`control_thread`], [`compile`].

pub mod api;
pub mod bench;
pub mod calls;
pub mod cli;
pub mod compile;
pub mod config;
pub mod control_thread;
pub mod cores;
mod counted;
pub mod difference;
pub mod doctor;
pub mod flow;
pub mod generate;
pub mod get;
pub mod guests;
pub mod history;
pub mod import;
pub mod ipvsadm;
pub mod link;
pub mod listing;
pub mod log;
pub mod manual;
pub mod metrics;
pub mod neighbour;
pub mod notify;
pub mod offline;
pub mod output;
pub mod page;
pub mod peers;
pub mod preview;
pub mod privileges;
pub mod publish;
mod reason;
pub mod remote;
pub mod replay;
pub mod request;
pub mod restate;
pub mod run;
pub mod server_name;
mod service_name;
pub mod simulate;
pub mod status;
pub mod story;
pub mod trace;
pub mod watch;
