//! Services as the commands that would add them: `ipvsadm -Sn`.

use dataplane::snapshot::RealState;

use super::address;
use super::row::{Listing, RealRow, ServiceRow, Tunnel, TunnelChecksum};

/// The listing's services and real servers, one `-A` or `-a` line each. Thresholds, timeouts
/// and daemons are not in it, as they are not in ipvsadm's. Services that ipvsadm cannot name
/// are named in comments at the end, which `ipvsadm-restore` skips.
pub fn save(listing: &Listing) -> String {
    let mut text = String::new();
    let mut comments = String::new();
    for service in &listing.services {
        let Some(option) = address::service_option(&service.identity) else {
            let name = address::service(&service.identity);
            comments += &format!("# ipvsadm has no service like: {name}\n");
            continue;
        };
        text += &format!("-A {option} -s {}\n", scheduling(service));
        for real in &service.reals {
            text += &format!("-a {option} -r {}\n", destination(real));
        }
    }
    text + &comments
}

/// What ipvsadm has no words for and its text has as weight 0, a line for each. It is not in the
/// text itself: `ipvsadm -R` takes no comments.
pub fn unsaid(listing: &Listing) -> String {
    let mut text = String::new();
    for service in &listing.services {
        let Some(option) = address::service_option(&service.identity) else { continue };
        for real in &service.reals {
            let state = match real.state {
                RealState::Up => continue,
                RealState::Drain => "drains",
                RealState::Down => "is down",
            };
            let server = address::join(real.address, real.port);
            text += &format!(
                "{option} -r {server} {state}, which is saved as weight 0; 'director get' keeps it\n"
            );
        }
    }
    text
}

fn scheduling(row: &ServiceRow) -> String {
    let mut text = String::from(row.scheduler_name());
    if let Some(persistence) = &row.persistence {
        text += &format!(" -p {}", persistence.timeout_s);
        if let Some(mask) = address::mask(row.identity.family(), persistence.mask) {
            text += &format!(" -M {mask}");
        }
    }
    if let Some(engine) = &row.engine {
        text += &format!(" --pe {engine}");
    }
    if row.one_packet {
        text += " -o";
    }
    if let Some(flags) = row.flag_list() {
        text += &format!(" -b {flags}");
    }
    text
}

fn destination(row: &RealRow) -> String {
    // ipvsadm has no option for a local server (it finds that out by itself), and none for
    // FullNat, whose nearest relative is masquerading.
    let method = match row.forwarding {
        "Masq" | "FullNat" => "-m",
        "Tunnel" => "-i",
        _ => "-g",
    };
    let server = address::join(row.address, row.port);
    let tunnel = match row.used_tunnel() {
        None => String::new(),
        Some(Tunnel::Ipip) => " --tun-type ipip".into(),
        Some(Tunnel::Gue { port, checksum }) => {
            format!(" --tun-type gue --tun-port {port} {}", option(checksum))
        }
        Some(Tunnel::Gre { checksum }) => format!(" --tun-type gre {}", option(checksum)),
    };
    format!("{server} {method} -w {}{tunnel}", row.weight)
}

fn option(checksum: TunnelChecksum) -> &'static str {
    match checksum {
        TunnelChecksum::Off => "--tun-nocsum",
        TunnelChecksum::On => "--tun-csum",
        TunnelChecksum::Remote => "--tun-remcsum",
    }
}
