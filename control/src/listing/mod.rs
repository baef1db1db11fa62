//! Listings: what `ipvsadm` prints about IPVS, printed byte for byte about Director.
//!
//! Operators, scripts and exporters read these texts by column, so widths, trailing blanks,
//! abbreviations and the order of lines are the interface. Everything here is a pure function
//! of rows; [`gather`] makes the rows from a snapshot, the loads and the tables. The rows
//! serialise to JSON with the field names of `json.rs`.

mod address;
mod connections;
pub mod gather;
mod json;
mod meter;
mod number;
mod order;
mod row;
mod save;
mod settings;
mod table;

pub use address::{endpoint_text, identity_text};
pub use connections::{connection, connections, connections_head};
pub use meter::Meters;
pub use row::{
    ConnectionRow, Endpoint, EngineData, Listing, RealRow, ServiceRow, Stats, SyncDaemon, SyncRole,
    Traffic, Tunnel, TunnelChecksum,
};
pub use save::{save, unsaid};
pub use settings::{daemons, timeouts};
pub use table::{Style, service, services};
