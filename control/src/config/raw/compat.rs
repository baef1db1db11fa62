//! `compat`, of the whole director and of one service, as written.

use crate::config::fields::{Fields, Given};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{Compat, Defaults, Kernel, ServiceCompat};
use crate::config::path::Path;
use crate::config::scalar;
use crate::config::tree::Value;

const DEFAULTS: &[(&str, Defaults)] = &[("safe", Defaults::Safe), ("ipvs", Defaults::Ipvs)];

/// The whole director's: `ipvs`, or a mapping. Whose defaults hold is `None` where that
/// cannot be read.
pub(super) fn of_director(
    file: &Fields<'_, '_>,
    findings: &mut Findings<'_>,
) -> (Compat, Option<Defaults>) {
    let path = Path::Root.key("compat");
    let default = Compat::default();
    let node = match file.find("compat") {
        Given::Absent => return (default, Some(Defaults::default())),
        Given::Bad => return (default, None),
        Given::Good(node) => node,
    };
    if let Value::Plain(_) | Value::Quoted(_) = &node.value
        && !node.is_null()
    {
        let defaults = file.word("compat", findings, DEFAULTS).good();
        return (Compat { defaults: defaults.unwrap_or_default(), ..default }, defaults);
    }
    let Some(fields) = Fields::open(node, &path, &keys::COMPAT, findings) else {
        return (default, None);
    };
    let known = fields.word("defaults", findings, DEFAULTS).known_or(Defaults::default());
    let defaults = known.unwrap_or_default();
    let kernel = fields
        .word("kernel", findings, &[("new", Kernel::New), ("classic", Kernel::Classic)])
        .or(default.kernel);
    let drop_entry = mode(&fields, "drop_entry", findings).unwrap_or(default.drop_entry);
    let am_droprate = fields
        .read("am_droprate", findings, |text| scalar::fitting(text, 1..=1_000_000))
        .or(default.am_droprate);
    let amemthresh = fields
        .read("amemthresh", findings, |text| scalar::fitting(text, 0..=1_000_000_000))
        .or(default.amemthresh);
    let nat_icmp_send = switch(&fields, "nat_icmp_send", findings).unwrap_or(default.nat_icmp_send);
    let ip_forward = switch(&fields, "ip_forward", findings).unwrap_or(default.ip_forward);
    let shared = shared(&fields, findings);
    let written = Compat {
        defaults,
        kernel,
        drop_entry,
        am_droprate,
        amemthresh,
        nat_icmp_send,
        ip_forward,
        ..default
    };
    (written.with(&shared), known)
}

/// One service's: only what it has otherwise.
pub(super) fn of_service(
    service: &Fields<'_, '_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> ServiceCompat {
    let path = path.key("compat");
    let Given::Good(node) = service.find("compat") else { return ServiceCompat::default() };
    match Fields::open(node, &path, &keys::SERVICE_COMPAT, findings) {
        Some(fields) => shared(&fields, findings),
        None => ServiceCompat::default(),
    }
}

fn shared(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> ServiceCompat {
    ServiceCompat {
        sloppy_tcp: switch(fields, "sloppy_tcp", findings),
        sloppy_sctp: switch(fields, "sloppy_sctp", findings),
        conn_reuse_mode: mode(fields, "conn_reuse_mode", findings),
        expire_nodest_conn: switch(fields, "expire_nodest_conn", findings),
        expire_quiescent_template: switch(fields, "expire_quiescent_template", findings),
        schedule_icmp: switch(fields, "schedule_icmp", findings),
        pmtu_disc: switch(fields, "pmtu_disc", findings),
        secure_tcp: mode(fields, "secure_tcp", findings),
        drop_packet: mode(fields, "drop_packet", findings),
        ip_vs_ftp: switch(fields, "ip_vs_ftp", findings),
        renew_extended_templates: switch(fields, "renew_extended_templates", findings),
    }
}

fn switch(fields: &Fields<'_, '_>, key: &str, findings: &mut Findings<'_>) -> Option<bool> {
    fields.read(key, findings, scalar::boolean).good()
}

fn mode(fields: &Fields<'_, '_>, key: &str, findings: &mut Findings<'_>) -> Option<u8> {
    fields.read(key, findings, |text| scalar::fitting(text, 0..=3)).good()
}
