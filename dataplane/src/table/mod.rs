//! The tables that bind a client to a real server, shared by all cores without a lock.
//!
//! - [`TemplateTable`]: persistence templates as IPVS has them, with timers, counts and marks.
//! - [`ClientTable`]: client -> real server and nothing else, for services that keep no connections.
//!
//! Both keep one promise: however many cores ask for a new client at once, one real server is
//! chosen and every core gets that one (`assign.rs`).

// Places are computed from a bucket's number and a constant width, both in range by how a
// row is built; a checked access on every slot of the hot lookups would cost a branch each.
#![allow(clippy::indexing_slicing)]

mod assign;
mod cells;
mod cells_v4;
mod client;
mod client_bind;
mod client_burst;
mod client_burst_wide;
mod client_dense;
mod client_slots;
mod client_view;
mod client_wide;
mod counters;
mod grace;
mod hash;
mod key;
#[cfg(all(test, not(loom)))]
mod laws;
mod life;
mod line;
mod seat;
mod segments;
mod sync;
mod template;
mod template_burst;
mod value;
mod view;

pub use client::{ClientSeat, ClientTable, MAX_TIMEOUT_AGES};
pub use client_bind::BoundAt;
pub(crate) use client_bind::SoleClients;
pub(crate) use client_burst::Aimer;
pub use client_burst::{ClientBurst, ClientPlace};
pub(crate) use client_burst_wide::AimerV6;
pub use client_burst_wide::ClientBurstV6;
pub use client_view::{Bound, ClientScope, Freed, Hit as ClientHit, Rebound, ServiceReal, Vacancy};
pub use counters::Stats;
pub use key::{ClientKey, Handle, Probe, TemplateKey};
pub use seat::Seat;
pub(crate) use template::EXTENSION_S;
pub use template::{Cursor, GrowError, Renewal, Sizes, TemplateTable};
pub use template_burst::TemplateBurst;
pub(crate) use template_burst::{SoleTemplates, VacantSlot};
pub use view::{Candidate, Full, Gone, Outcome, Swept, View};
