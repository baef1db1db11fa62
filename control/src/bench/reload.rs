//! What a reload takes besides the cores' part: the services of a measurement as a
//! configuration file, and that file read, checked and compiled again.

use std::fmt::Write as _;
use std::net::IpAddr;

use benches::disturb::Configuration;
use benches::plan;
use dataplane::catalog::spec::Farm;
use dataplane::snapshot::{Identity, Tracking};
use dataplane::wire::Family;

use crate::{compile, config};

/// From services to text and back, as `director apply` has it.
pub const CONFIGURATION: Configuration = Configuration { write, read };

/// A real server that no load has; its address is the director's own among them.
const NOBODY: u32 = 65_000;

/// The services as an operator would write them. Only what a measurement makes of them has a
/// word here; what reads back otherwise is refused.
fn write(farms: &[Farm]) -> Result<String, String> {
    let mut text = format!(
        "ports:\n  - name: wire\n    device: net_null0\n    addresses: [{}/16, {}/16, \"{}/48\"]\n\
         services:\n",
        plan::OWN_V4,
        IpAddr::from(plan::server(Family::V4, NOBODY)),
        plan::OWN_V6
    );
    for farm in farms {
        service(farm, &mut text);
    }
    match read(&text)? == farms {
        true => Ok(text),
        false => Err("the services of this load cannot be written as a configuration".to_owned()),
    }
}

fn service(farm: &Farm, text: &mut String) {
    let Farm { service, reals } = farm;
    let Identity::Address { protocol, vip, vip_port } = service.identity else { return };
    let protocol = protocol.to_string().to_lowercase();
    let scheduler = service.scheduler.map_or("wlc", |scheduler| scheduler.name());
    let persistence = service.persistence.map_or(0, |persistence| persistence.timeout_s);
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "  - name: {}\n    vip: \"{vip}\"\n    protocol: {protocol}\n    vip_port: {vip_port}\n    \
         scheduler: {scheduler}\n    tracking: {}\n",
        service.name,
        match service.tracking {
            Tracking::Client => "client",
            Tracking::Full => "full",
        }
    );
    if persistence > 0 {
        let _ = writeln!(text, "    persistence: {persistence}");
    }
    text.push_str("    real_servers:\n");
    for real in reals {
        let mac = real.mac.map(|mac| format!(", mac: \"{mac}\"")).unwrap_or_default();
        let _ = writeln!(
            text,
            "      - {{ address: \"{}\", weight: {}{mac} }}",
            real.address, real.weight
        );
    }
}

fn read(text: &str) -> Result<Vec<Farm>, String> {
    let model = config::parse(text, "the measured services").map_err(|all| all.to_string())?;
    Ok(compile::plan(&model).farms)
}
