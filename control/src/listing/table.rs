//! Services and their real servers: `ipvsadm -ln` and its variants.

use super::row::{Listing, RealRow, ServiceRow, Tunnel, TunnelChecksum};
use super::{address, number};

/// Which columns are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Forwarding, weight and connections.
    #[default]
    Default,
    /// `--thresholds`.
    Thresholds,
    /// `--persistent-conn`.
    PersistentConnections,
    /// `--tun-info`.
    TunnelInfo,
    /// `--stats`.
    Stats {
        /// `--exact`: all digits.
        exact: bool,
    },
    /// `--rate`.
    Rate {
        /// `--exact`: all digits.
        exact: bool,
    },
}

/// All services in the order in which the listing has them (`ipvsadm -ln`).
pub fn services(listing: &Listing, style: Style) -> String {
    let mut text = format!("IP Virtual Server version 1.2.1 (size={})\n", listing.table_size);
    text += &title(style);
    for row in &listing.services {
        push_service(&mut text, row, style);
    }
    text
}

/// One service (`ipvsadm -ln -t VIP:PORT`): without the version's line.
pub fn service(row: &ServiceRow, style: Style) -> String {
    let mut text = title(style);
    push_service(&mut text, row, style);
    text
}

fn title(style: Style) -> String {
    const LOCAL: &str = "Prot LocalAddress:Port";
    const REMOTE: &str = "  -> RemoteAddress:Port";
    let counters = |names: [&str; 5]| {
        let columns: String = names.iter().map(|name| format!(" {name:>8}")).collect();
        format!("{LOCAL:<33}{columns}\n{REMOTE}\n")
    };
    match style {
        Style::Default => {
            format!("{LOCAL} Scheduler Flags\n{REMOTE:<33} Forward Weight ActiveConn InActConn\n")
        }
        Style::TunnelInfo => format!(
            "{LOCAL} Scheduler Flags\n\
             {REMOTE:<33} Forward TunnelInfo    Weight ActiveConn InActConn\n"
        ),
        Style::Thresholds => format!(
            "{LOCAL:<33} {:<10} {:<10} {:<10} {:<10}\n{REMOTE}\n",
            "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
        Style::PersistentConnections => format!(
            "{LOCAL:<33} {:<9} {:<11} {:<10} {:<10}\n{REMOTE}\n",
            "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
        Style::Stats { .. } => counters(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        Style::Rate { .. } => counters(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
    }
}

fn push_service(text: &mut String, row: &ServiceRow, style: Style) {
    *text += &service_line(row, style);
    text.push('\n');
    for real in &row.reals {
        *text += &real_line(real, style);
        text.push('\n');
    }
}

fn service_line(row: &ServiceRow, style: Style) -> String {
    let name = address::service(&row.identity);
    let numbers = |numbers: [u64; 5], exact| {
        let columns: String = numbers.iter().map(|value| number::column(*value, exact)).collect();
        format!("{name:<33}{columns}")
    };
    match style {
        Style::Default | Style::Thresholds | Style::PersistentConnections | Style::TunnelInfo => {
            format!("{name} {}", scheduling(row))
        }
        Style::Stats { exact } => numbers(row.stats.total.columns(), exact),
        Style::Rate { exact } => numbers(row.stats.per_second.columns(), exact),
    }
}

fn scheduling(row: &ServiceRow) -> String {
    let mut text = String::from(row.scheduler_name());
    if let Some(flags) = row.flag_list() {
        text += &format!(" ({flags})");
    }
    if let Some(persistence) = &row.persistence {
        text += &format!(" persistent {}", persistence.timeout_s);
        if let Some(mask) = address::mask(row.identity.family(), persistence.mask) {
            text += &format!(" mask {mask}");
        }
        if let Some(engine) = &row.engine {
            text += &format!(" pe {engine}");
        }
    }
    if row.one_packet {
        text += " ops";
    }
    text
}

fn real_line(row: &RealRow, style: Style) -> String {
    let name = format!("  -> {:<28}", address::join(row.address, row.port));
    let RealRow { forwarding, weight, active, inactive, persistent, .. } = row;
    match style {
        Style::Default => {
            format!("{name} {forwarding:<7} {weight:<6} {active:<10} {inactive:<10}")
        }
        Style::TunnelInfo => format!(
            "{name} {forwarding:<7} {:<13} {weight:<6} {active:<10} {inactive:<10}",
            tunnel_info(row)
        ),
        Style::Thresholds => format!(
            "{name} {:<10} {:<10} {active:<10} {inactive:<10}",
            row.upper_threshold, row.lower_threshold
        ),
        Style::PersistentConnections => {
            format!("{name} {weight:<9} {persistent:<11} {active:<10} {inactive:<10}")
        }
        Style::Stats { exact } => {
            let columns = row.stats.total.columns();
            name + &columns.map(|value| number::column(value, exact)).concat()
        }
        Style::Rate { exact } => {
            // Connections and packets are not abbreviated here, unlike in a service's line.
            let [conns, in_packets, out_packets, in_bytes, out_bytes] =
                row.stats.per_second.columns();
            format!(
                "{name} {conns:>8} {in_packets:>8} {out_packets:>8}{}{}",
                number::column(in_bytes, exact),
                number::column(out_bytes, exact)
            )
        }
    }
}

fn tunnel_info(row: &RealRow) -> String {
    match row.used_tunnel() {
        None => "n/a".into(),
        Some(Tunnel::Ipip) => "ipip".into(),
        Some(Tunnel::Gue { port, checksum }) => format!("gue:{port}:{}", short(checksum)),
        Some(Tunnel::Gre { checksum }) => format!("gre:{}", short(checksum)),
    }
}

fn short(checksum: TunnelChecksum) -> &'static str {
    match checksum {
        TunnelChecksum::Off => "-c",
        TunnelChecksum::On => "+c",
        TunnelChecksum::Remote => "r+c",
    }
}
