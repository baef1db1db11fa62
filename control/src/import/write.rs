//! The configuration as text, with the lines that everything comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use crate::config::MAX_BYTES;
use crate::config::model::{
    Engine, Forwarding, GueChecksum, HashFlags, Netmask, Persistence, Scheduler, Selector, Tunnel,
};

use super::Imported;
use super::draft::{Origin, RealServer, width};
use super::note::Notes;
use super::settle::{Plan, Settled};

/// Room for the services; the rest of the largest file is for the notes.
const MOST_SERVICES: usize = MAX_BYTES / 8 * 5;
/// Room for the notes.
const MOST_NOTES: usize = MAX_BYTES / 4;
/// Networks of real servers that are guessed.
const MOST_NETWORKS: usize = 16;
/// Where remarks begin, unless the line is longer.
const COLUMN: usize = 68;
/// The same in `ports`.
const PORTS_COLUMN: usize = 34;

/// Writes everything.
pub(super) fn write(plan: &Plan, mut notes: Notes) -> Imported {
    let writer = Writer { names: plan.files.iter().map(|name| short(name)).collect() };
    let mut services = String::new();
    let (mut count, mut remarks) = (0, 0);
    for (place, service) in plan.services.iter().enumerate() {
        let text = writer.service(service);
        if services.len() + text.len() > MOST_SERVICES {
            let what = match plan.services.len() - place - 1 {
                0 => "this service".to_owned(),
                behind => format!("this service and {behind} behind it"),
            };
            let why = format!(
                "a configuration has {MAX_BYTES} bytes at the most, and services that are imported \
                 {MOST_SERVICES} of them"
            );
            let hint = "import fewer services, or write YAML for the others that is shorter";
            notes.add_first(service.origin, &what, &why, hint);
            break;
        }
        services.push_str(&text);
        match service.selectors.is_empty() {
            true => remarks += 1,
            false => count += 1,
        }
    }
    let more = notes.more();
    let notes = notes.finish(&plan.files);
    // One of them says how many are not among them.
    let lost = notes.len() + more.saturating_sub(1);
    let mut yaml = format!(
        "# Imported from {}.\n# Fill in `ports`, then let `director check` look at it.\n\n",
        writer.names.join(", ")
    );
    yaml.push_str(&ports(plan));
    yaml.push_str(&timeouts(plan.timeouts_s));
    yaml.push_str("services:\n");
    yaml.push_str(&services);
    if !notes.is_empty() {
        yaml.push_str("\n# Not carried over, or not as it was:\n");
        let limit = yaml.len() + MOST_NOTES;
        for note in &notes {
            if yaml.len() > limit {
                yaml.push_str("# - ... and more\n");
                break;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(yaml, "# - {note}");
        }
    }
    let found = !plan.services.is_empty() || plan.timeouts_s != [0; 3];
    Imported { yaml, notes, lost, services: count, remarks, found }
}

/// A file's name without its folders, and not too long to stand on every line.
fn short(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.chars().take(40).collect()
}

/// A part of the configuration that has to be filled in: nobody but the operator knows the NICs.
fn ports(plan: &Plan) -> String {
    let servers = || plan.services.iter().flat_map(|service| &service.real_servers);
    let mut networks: BTreeMap<IpAddr, BTreeSet<IpAddr>> = BTreeMap::new();
    for server in servers() {
        if let Forwarding::Route | Forwarding::Masq = server.forwarding {
            networks.entry(network(server.address)).or_default().insert(server.address);
        }
    }
    let mut text = String::from(
        "# ports:\n\
         #   - name: lan0\n\
         #     device: 0000:3b:00.0        # the NIC's PCI address, or a DPDK vdev such as\n\
         #                                 # net_af_packet0,iface=eth0\n\
         #     cores: [1]                  # the CPUs that poll it\n\
         #     addresses:                  # the director's own, in the networks of the real servers\n",
    );
    let more = networks.len().saturating_sub(MOST_NETWORKS);
    if networks.is_empty() {
        text.push_str("#       - ?.?.?.?/24\n");
    }
    for (network, servers) in networks.iter().take(MOST_NETWORKS) {
        let line = match network {
            IpAddr::V4(v4) => format!("#       - {}?/24", v4.to_string().trim_end_matches('0')),
            IpAddr::V6(v6) => format!("#       - \"{v6}?/64\""),
        };
        let count = servers.len();
        let servers = if count == 1 { "real server" } else { "real servers" };
        remark(&mut text, PORTS_COLUMN, &line, &format!("{count} {servers}"));
    }
    if more > 0 {
        let _ = writeln!(text, "#                                 # and {more} more networks");
    }
    let tunnelled = |six| {
        servers().any(|one| {
            matches!(one.forwarding, Forwarding::Tunnel(_)) && one.address.is_ipv6() == six
        })
    };
    let masqueraded = |six| {
        servers().any(|one| one.forwarding == Forwarding::Masq && one.address.is_ipv6() == six)
    };
    for (six, line) in [(false, "#     gateway: ?.?.?.?"), (true, "#     gateway6: \"?::?\"")] {
        let what = match (masqueraded(six), tunnelled(six)) {
            (false, false) => continue,
            (true, false) => "the way back to clients (masq)",
            (false, true) => "the way to tunnels' ends",
            (true, true) => "the way back to clients (masq), and to tunnels' ends",
        };
        remark(&mut text, PORTS_COLUMN, line, what);
    }
    if servers().any(|one| one.forwarding == Forwarding::Local) {
        let line = "#     kernel_port: net_tap0,iface=dlan0";
        remark(&mut text, PORTS_COLUMN, line, "for `forwarding: local`");
    }
    text.push('\n');
    text
}

/// The network that a real server is probably in.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & !0xFF).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

fn timeouts([tcp, tcp_fin, udp]: [u32; 3]) -> String {
    let mut text = String::new();
    for (key, seconds) in [("tcp", tcp), ("tcp_fin", tcp_fin), ("udp", udp)] {
        if seconds > 0 {
            let _ = writeln!(text, "  {key}: {seconds}");
        }
    }
    if text.is_empty() { text } else { format!("timeouts:\n{text}\n") }
}

/// A line with a remark behind it.
fn remark(text: &mut String, column: usize, line: &str, remark: &str) {
    let pad = column.saturating_sub(line.chars().count() + 1);
    let _ = writeln!(text, "{line}{:pad$} # {remark}", "");
}

struct Writer {
    names: Vec<String>,
}

impl Writer {
    fn at(&self, origin: Origin) -> String {
        let name = self.names.get(origin.file()).map_or("", String::as_str);
        format!("{name}:{}", origin.line())
    }

    fn service(&self, service: &Settled) -> String {
        let mut text = String::new();
        self.head(service, &mut text);
        let _ = match service.scheduler.flags() {
            HashFlags { fallback: false, port: false } => {
                writeln!(text, "    scheduler: {}", service.scheduler.name())
            }
            flags => writeln!(text, "    scheduler: {}", with_flags(service.scheduler, flags)),
        };
        if let Some(persistence) = &service.persistence {
            let _ = writeln!(text, "    persistence: {}", persistent(*persistence, service));
        }
        if service.one_packet {
            text.push_str("    one_packet: true\n");
        }
        if service.real_servers.is_empty() {
            text.push_str("    real_servers: []\n");
        } else {
            text.push_str("    real_servers:\n");
        }
        for server in &service.real_servers {
            let line = format!("      - {{ {} }}", real_server(server, service.vip_port()));
            remark(&mut text, COLUMN, &line, &self.at(server.origin));
        }
        if service.selectors.is_empty() {
            return text
                .lines()
                .map(|line| format!("  # {}\n", line.get(2..).unwrap_or(line)))
                .collect();
        }
        text
    }

    /// Its name, and what belongs to it.
    fn head(&self, service: &Settled, text: &mut String) {
        let origin = self.at(service.origin);
        let mut first = "  - ";
        if let Some(name) = &service.name {
            remark(text, COLUMN, &format!("{first}name: {name}"), &origin);
            first = "    ";
        }
        if let Some(mark) = service.mark {
            remark(text, COLUMN, &format!("{first}mark: {mark}"), &origin);
            text.push_str("    selectors:\n");
            for (selector, origin) in &service.selectors {
                let Selector { vip, protocol, vip_ports } = selector;
                let line = format!(
                    "      - {{ vip: {}, protocol: {protocol}, vip_port: {vip_ports} }}",
                    quoted(*vip)
                );
                remark(text, COLUMN, &line, &self.at(*origin));
            }
            if service.selectors.is_empty() {
                text.push_str("      - { vip: ?, protocol: tcp, vip_port: ? }\n");
            }
            return;
        }
        for (selector, _) in &service.selectors {
            remark(text, COLUMN, &format!("{first}vip: {}", quoted(selector.vip)), &origin);
            let _ = writeln!(text, "    protocol: {}", selector.protocol);
            let _ = writeln!(text, "    vip_port: {}", selector.vip_ports);
        }
    }
}

fn with_flags(scheduler: Scheduler, HashFlags { fallback, port }: HashFlags) -> String {
    format!("{{ name: {}, fallback: {fallback}, port: {port} }}", scheduler.name())
}

fn persistent(persistence: Persistence, service: &Settled) -> String {
    let Persistence { timeout_s, mask, engine } = persistence;
    let mut more = String::new();
    match mask {
        Netmask::Prefix(prefix) if prefix < width(service.family) => {
            more += &format!(", prefix: {prefix}");
        }
        Netmask::Prefix(_) => {}
        Netmask::Holes(netmask) => more += &format!(", netmask: {netmask}"),
    }
    if let Some(Engine::Sip) = engine {
        more += ", engine: sip";
    }
    match more.as_str() {
        "" => timeout_s.to_string(),
        more => format!("{{ timeout: {timeout_s}{more} }}"),
    }
}

/// An IPv6 address has colons, which YAML wants in quotes.
fn quoted(address: IpAddr) -> String {
    if address.is_ipv4() { address.to_string() } else { format!("\"{address}\"") }
}

/// A real server's keys; those that have their default are left out, except the weight.
fn real_server(server: &RealServer, vip_port: u16) -> String {
    let mut text = format!("address: {}", quoted(server.address));
    let RealServer { real_port, weight, forwarding, thresholds, .. } = server;
    if *real_port != vip_port {
        let _ = write!(text, ", real_port: {real_port}");
    }
    let _ = write!(text, ", weight: {weight}");
    if *forwarding != Forwarding::Route {
        let _ = write!(text, ", forwarding: {}", forwarding.name());
    }
    let _ = match forwarding {
        Forwarding::Route | Forwarding::Masq | Forwarding::Local => Ok(()),
        Forwarding::Tunnel(Tunnel::Ipip) => Ok(()),
        Forwarding::Tunnel(Tunnel::Gre { checksum }) => {
            write!(text, ", tunnel: {{ type: gre, checksum: {checksum} }}")
        }
        Forwarding::Tunnel(Tunnel::Gue { port, checksum }) => {
            let checksum = match checksum {
                GueChecksum::None => "none",
                GueChecksum::Full => "full",
                GueChecksum::Remote => "remote",
            };
            write!(text, ", tunnel: {{ type: gue, port: {port}, checksum: {checksum} }}")
        }
    };
    if thresholds.upper > 0 {
        let _ = write!(text, ", upper_threshold: {}", thresholds.upper);
    }
    if thresholds.lower > 0 {
        let _ = write!(text, ", lower_threshold: {}", thresholds.lower);
    }
    text
}
