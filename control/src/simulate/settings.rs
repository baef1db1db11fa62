//! Kernel settings (`sysctl`), as far as they decide anything here.

use dataplane::catalog::spec::ServiceSpec;
use dataplane::compat::{Compat, Defence};

use super::world::{FREE_PAGES, World};
use crate::ipvsadm::Reply;

const IPVS: &str = "net.ipv4.vs.";
const FIRST_UNPRIVILEGED: &str = "net.ipv4.ip_unprivileged_port_start";

/// IPVS's settings with the values of an untouched kernel.
const DEFAULTS: &[(&str, &str)] = &[
    ("am_droprate", "10"),
    ("amemthresh", "1024"),
    ("backup_only", "0"),
    ("cache_bypass", "0"),
    ("conn_reuse_mode", "1"),
    ("conntrack", "0"),
    ("drop_entry", "0"),
    ("drop_packet", "0"),
    ("expire_nodest_conn", "0"),
    ("expire_quiescent_template", "0"),
    ("ignore_tunneled", "0"),
    ("lblc_expiration", "86400"),
    ("lblcr_expiration", "86400"),
    ("nat_icmp_send", "0"),
    ("pmtu_disc", "1"),
    ("run_estimation", "1"),
    ("schedule_icmp", "0"),
    ("secure_tcp", "0"),
    ("sloppy_sctp", "0"),
    ("sloppy_tcp", "0"),
    ("snat_reroute", "1"),
    ("sync_persist_mode", "0"),
    ("sync_ports", "1"),
    ("sync_refresh_period", "0"),
    ("sync_retries", "0"),
    ("sync_sock_size", "0"),
    ("sync_threshold", "3\t50"),
    ("sync_version", "1"),
];

/// `sysctl [-q] [-w] NAME[=VALUE]...`.
pub(super) fn sysctl(world: &mut World, args: &[String]) -> Result<Reply, String> {
    let mut reply = Reply::default();
    let quiet = args.iter().any(|arg| arg.starts_with("-q"));
    let bare = args.iter().any(|arg| arg == "-n");
    for word in args.iter().filter(|arg| !arg.starts_with('-')) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (word.as_str(), None),
        };
        let name = name.replace('/', ".");
        if let Some(value) = value {
            if is_refused(&name, value) {
                reply
                    .stderr
                    .push_str(&format!("sysctl: setting key \"{name}\": Invalid argument\n"));
                reply.rc = 1;
                continue;
            }
            set(world, &name, value)?;
            world.settings.insert(name.clone(), value.to_owned());
        }
        let now = match value {
            // What was written; what becomes of a mode shows later.
            Some(value) => value.to_owned(),
            None => value_of(world, &name)?,
        };
        if bare {
            reply.stdout.push_str(&format!("{now}\n"));
        } else if !(quiet && value.is_some()) {
            reply.stdout.push_str(&format!("{name} = {now}\n"));
        }
    }
    world.publish();
    Ok(reply)
}

/// Whether the kernel takes no such value.
fn is_refused(name: &str, value: &str) -> bool {
    is_mode(name) && value.parse().is_ok_and(|mode: i64| !(0..=3).contains(&mode))
}

/// Whether the setting says when a defence is up.
fn is_mode(name: &str) -> bool {
    let modes = ["drop_entry", "drop_packet", "secure_tcp"];
    name.strip_prefix(IPVS).is_some_and(|setting| modes.contains(&setting))
}

/// What the kernel makes of modes 1 and 2: 2 while the defence is up.
fn level(world: &World) -> String {
    let is_up = FREE_PAGES < world.catalog.compat.amemthresh;
    if is_up { "2" } else { "1" }.to_owned()
}

fn value_of(world: &World, name: &str) -> Result<String, String> {
    let default = || {
        let setting = name.strip_prefix(IPVS)?;
        DEFAULTS.iter().find(|(known, _)| *known == setting).map(|(_, value)| (*value).to_owned())
    };
    let value = match world.settings.get(name).cloned() {
        Some(mode) if is_mode(name) && matches!(mode.as_str(), "1" | "2") => Some(level(world)),
        set => set.or_else(default),
    };
    value.ok_or_else(|| format!("the setting {name} is not simulated"))
}

fn set(world: &mut World, name: &str, value: &str) -> Result<(), String> {
    let wrong = || format!("{name} cannot be {value:?}");
    let number = || value.parse::<u32>().map_err(|_| wrong());
    if name == FIRST_UNPRIVILEGED {
        world.catalog.first_unprivileged_port = u16::try_from(number()?).map_err(|_| wrong())?;
        return Ok(());
    }
    // What is no setting of IPVS decides nothing here.
    let Some(setting) = name.strip_prefix(IPVS) else { return Ok(()) };
    let mut compat = world.catalog.compat;
    match setting {
        "sloppy_tcp" => compat.sloppy_tcp = number()? != 0,
        "sloppy_sctp" => compat.sloppy_sctp = number()? != 0,
        "conn_reuse_mode" => {
            compat.conn_reuse_mode = u8::try_from(number()?).map_err(|_| wrong())?;
        }
        "expire_nodest_conn" => compat.expire_nodest_conn = number()? != 0,
        "expire_quiescent_template" => compat.expire_quiescent_template = number()? != 0,
        "am_droprate" => compat.am_droprate = number()?,
        "amemthresh" => compat.amemthresh = number()?,
        "drop_entry" => compat.drop_entry = defence(number()?),
        "drop_packet" => compat.drop_packet = defence(number()?),
        "nat_icmp_send" => compat.nat_icmp_send = number()? != 0,
        "pmtu_disc" => compat.pmtu_disc = number()? != 0,
        "schedule_icmp" => compat.schedule_icmp = number()? != 0,
        "secure_tcp" => compat.secure_tcp = defence(number()?),
        // These act where memory runs short, on conntrack, on synchronisation or on packets to
        // hosts elsewhere alone; those of a scenario go to the director's own addresses.
        "backup_only" | "cache_bypass" | "conntrack" | "ignore_tunneled" | "snat_reroute" => {}
        other if other.starts_with("sync_") => {}
        other => {
            let default = DEFAULTS.iter().find(|(known, _)| *known == other);
            if default.is_none_or(|(_, default)| *default != value) {
                return Err(format!("the setting {other} = {value} is not simulated"));
            }
        }
    }
    set_compat(world, compat)
}

fn defence(mode: u32) -> Defence {
    match mode {
        0 => Defence::Off,
        3 => Defence::Always,
        _ => Defence::Pressed,
    }
}

/// IPVS's settings hold for all services.
pub(super) fn set_compat(world: &mut World, compat: Compat) -> Result<(), String> {
    world.catalog.compat = compat;
    for farm in world.catalog.farms() {
        let spec = ServiceSpec { compat, ..farm.service };
        world.catalog.edit_service(spec).map_err(|refused| refused.to_string())?;
    }
    Ok(())
}
