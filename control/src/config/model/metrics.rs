//! `metrics`: Prometheus metrics and health over HTTP.

use std::net::SocketAddr;

use documented::{Documented, DocumentedFields};
use serde::Serialize;

/// `metrics`: where Prometheus metrics and health are offered over HTTP. Taken over by a
/// reload. Without this section nothing listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Metrics {
    /// `address`: address and TCP port of the listener, in the network namespace that the
    /// director was started in: `127.0.0.1:9690`, `[::]:9690`. Nobody is asked for a
    /// password there, so it belongs to an address that only the monitoring reaches.
    pub address: SocketAddr,
    /// `ipvs_names`: offers services and real servers also under the names and labels of
    /// node_exporter's IPVS collector (`node_ipvs_...`), for dashboards that there are.
    pub ipvs_names: bool,
    /// `series`: how many series about services and real servers there may be; 11 for each, and 3
    /// more for a real server with `ipvs_names`. Services come first, in the order in which they
    /// were configured, then real servers, all of a service or none; the metric
    /// `director_left_out` says how many have none.
    pub series: u32,
}

impl Metrics {
    /// The defaults, on this address.
    pub fn on(address: SocketAddr) -> Self {
        Self { address, ipvs_names: false, series: 20_000 }
    }
}
