//! The names and labels of node_exporter's IPVS collector, for dashboards that there are.

use super::services::{OfReal, Series, as_in_ipvs};
use crate::metrics::board::Facts;
use crate::metrics::exposition::Exposition;

/// Series of one real server.
pub(super) const OF_REAL: usize = GAUGES.len();

type Gauge = (&'static str, &'static str, fn(&OfReal) -> u64);

const GAUGES: [Gauge; 3] = [
    (
        "node_ipvs_backend_connections_active",
        "The current active connections by local and remote address.",
        |of| of.load.active,
    ),
    (
        "node_ipvs_backend_connections_inactive",
        "The current inactive connections by local and remote address.",
        |of| of.load.inactive,
    ),
    ("node_ipvs_backend_weight", "The current backend weight by local and remote address.", |of| {
        u64::from(of.real.effective_weight())
    }),
];

pub(super) fn write(page: &mut Exposition, facts: &Facts, series: &Series) {
    let all = &facts.all;
    page.counter("node_ipvs_connections", "The total number of connections made.").only(all.conns);
    page.counter("node_ipvs_incoming_packets", "The total number of incoming packets.")
        .only(all.in_packets);
    page.counter("node_ipvs_outgoing_packets", "The total number of outgoing packets.")
        .only(all.out_packets);
    page.counter("node_ipvs_incoming_bytes", "The total amount of incoming data.")
        .only(all.in_bytes);
    page.counter("node_ipvs_outgoing_bytes", "The total amount of outgoing data.")
        .only(all.out_bytes);
    if !series.has_reals() {
        return;
    }
    for (name, help, value) in GAUGES {
        let mut family = page.gauge(name, help);
        for (service, of) in series.reals() {
            let side = as_in_ipvs(&service.identity);
            let (address, port) = (of.real.address.to_string(), of.real.port.to_string());
            let labels = [
                ("local_address", side.address.as_str()),
                ("local_port", side.port.as_str()),
                ("remote_address", address.as_str()),
                ("remote_port", port.as_str()),
                ("proto", side.protocol),
                ("local_mark", side.mark.as_str()),
            ];
            family.sample(&labels, value(of));
        }
    }
}
