//! `metrics`: read as it is meant, since its keys stand alone.

use std::net::{IpAddr, SocketAddr};

use crate::config::code::Code;
use crate::config::fields::Fields;
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::Metrics;
use crate::config::path::Path;
use crate::config::scalar::{self, Reject, shown};

/// The section, if there is one that can be read.
pub(super) fn metrics(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<Metrics> {
    let path = Path::Root.key("metrics");
    let node = file.find("metrics").good()?;
    let fields = Fields::open(node, &path, &keys::METRICS, findings)?;
    fields.require("address", "such as `address: 127.0.0.1:9690`", findings);
    let address = fields.read("address", findings, listener).good();
    let ipvs_names = fields.read("ipvs_names", findings, scalar::boolean);
    let series = fields.read("series", findings, |text| scalar::count(text, 0..=1_000_000));
    let default = Metrics::on(address?);
    Some(Metrics {
        ipvs_names: ipvs_names.or(default.ipvs_names),
        series: series.or(default.series),
        ..default
    })
}

/// An address to listen on, with its TCP port.
fn listener(text: &str) -> Result<SocketAddr, Reject> {
    let bad = |hint: String| {
        let what = format!("{} is no address with a port to listen on", shown(text));
        Reject::new(Code::BadValue, what, hint)
    };
    match (text.parse::<SocketAddr>(), text.parse::<IpAddr>(), text.parse::<u16>()) {
        (Ok(address), ..) if address.port() == 0 => Err(bad("the port is 1 to 65535".to_owned())),
        (Ok(address), ..) if address.ip().is_multicast() => {
            Err(bad("write an address of this machine".to_owned()))
        }
        (Ok(address), ..) => Ok(address),
        (_, Ok(ip), _) => Err(bad(format!("write {}", SocketAddr::new(ip, 9690)))),
        (_, _, Ok(port)) => Err(bad(format!("write 127.0.0.1:{port}"))),
        _ => Err(bad("write 127.0.0.1:9690 or [::1]:9690".to_owned())),
    }
}
