//! `pins` of a service as written.

use std::net::IpAddr;

use crate::config::fields::{Fields, Given};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::Cidr;
use crate::config::path::Path;
use crate::config::scalar::{self, Reject};

/// A pin as written.
#[derive(Clone, Copy)]
pub(in crate::config) struct Pin {
    pub(in crate::config) client: Given<Cidr>,
    pub(in crate::config) real_server: Given<IpAddr>,
}

/// The service's pins; an item that is no mapping is `None`.
pub(super) fn pins(
    service: &Fields<'_, '_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Option<Pin>> {
    let path = path.key("pins");
    let items = service.list("pins", findings).good().unwrap_or_default();
    let mut all = Vec::new();
    for (index, node) in items.iter().enumerate() {
        if findings.full() {
            break;
        }
        let item = path.item(index);
        let fields = Fields::open(node, &item, &keys::PIN, findings);
        all.push(fields.map(|fields| {
            fields.require("client", "such as `client: 198.18.0.7`", findings);
            fields.require("real_server", "such as `real_server: 198.18.10.11`", findings);
            Pin {
                client: fields.read("client", findings, client),
                real_server: fields
                    .read("real_server", findings, |text| scalar::address(text, "real_server")),
            }
        }));
    }
    all
}

/// An address, or a network.
fn client(text: &str) -> Result<Cidr, Reject> {
    if text.contains('/') {
        return scalar::cidr(text);
    }
    let address = scalar::address(text, "client")?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    // The prefix length of a single address is always one of its family.
    Cidr::new(address, whole).map_or_else(|| scalar::cidr(text), Ok)
}
