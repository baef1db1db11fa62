//! `director generate`: traffic for any other program or box, and a close look at what comes
//! back from it.
//!
//! ```text
//! Offer (who sends what to whom) -> flows (which flow is next) -> forge (its frame, stamped)
//! station (one core: sends in time, receives, answers neighbours) <- trial (orders, counts)
//! sight (a received frame: whose, to which server) -> verify (invariants) , histogram (latency)
//! search (the no-drop rate) -> report (text, JSON, plots)
//! ```
//!
//! Every frame has a stamp: its flow, its place in that flow and when it was made. So the
//! receiving side knows by the frame alone whose it is, whether another one overtook it and
//! how long it took, whatever the box in between did to its addresses.

pub mod flows;
pub mod forge;
pub mod histogram;
pub mod neighbours;
pub mod offer;
pub mod pace;
pub mod report;
pub mod run;
pub mod search;
pub mod sight;
pub mod stamp;
pub mod station;
pub mod trial;
pub mod verify;
