//! The programs that the recordings run in the director.

use dataplane::catalog::spec::ServiceSpec;
use dataplane::compat::Compat;
use dataplane::sched::Scheduler;
use dataplane::snapshot::{Identity, Tracking};
use dataplane::wire::{Addr, Family, Protocol};

use super::marks::MarkRule;
use super::world::{TABLE_SIZE, World, network};
use super::{proc, settings};
use crate::ipvsadm::{self, Pending, Reply, Target};

/// Runs one program. The error is a sentence on what is not simulated.
pub(super) fn run(world: &mut World, words: &[String], stdin: &str) -> Result<Reply, String> {
    let Some((program, args)) = words.split_first() else { return Ok(Reply::default()) };
    let out = |stdout: String| Ok(Reply { stdout, ..Reply::default() });
    match program.as_str() {
        "ipvsadm" => Ok(ipvsadm(world, args, stdin)),
        "ipvsadm-save" => {
            let mut words = vec!["-S".to_owned()];
            words.extend_from_slice(args);
            Ok(ipvsadm(world, &words, ""))
        }
        "ipvsadm-restore" => {
            ipvsadm(world, &["-C".to_owned()], "");
            let lines: Vec<&str> = stdin.lines().filter(|line| !line.starts_with('#')).collect();
            Ok(ipvsadm(world, &["-R".to_owned()], &lines.join("\n")))
        }
        "iptables" => firewall(world, args, Family::V4),
        "ip6tables" => firewall(world, args, Family::V6),
        "sysctl" => settings::sysctl(world, args),
        "ip" => ip(world, args),
        "python3" => python(world, stdin),
        "cat" => cat(world, args, stdin),
        "echo" => out(format!("{}\n", args.join(" "))),
        "sort" => {
            let mut lines: Vec<&str> = stdin.lines().collect();
            lines.sort_unstable();
            out(lines_of(&lines))
        }
        "head" => out(lines_of(&stdin.lines().take(count(args)?).collect::<Vec<_>>())),
        "diff" => diff(world, args),
        "modprobe" => modprobe(world, args),
        "true" | "sleep" | "sync" => Ok(Reply::default()),
        "false" => Ok(Reply { rc: 1, ..Reply::default() }),
        other => Err(format!("the program {other} is not simulated")),
    }
}

/// `modprobe [-r] MODULE...`: of the kernel's modules only the one that understands FTP is not
/// there by itself.
fn modprobe(world: &mut World, args: &[String]) -> Result<Reply, String> {
    if args.iter().any(|arg| arg == "ip_vs_ftp") {
        let ip_vs_ftp = !args.iter().any(|arg| arg == "-r");
        settings::set_compat(world, Compat { ip_vs_ftp, ..world.catalog.compat })?;
        world.publish();
    }
    Ok(Reply::default())
}

fn lines_of(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// How many lines `head` is told to take.
fn count(args: &[String]) -> Result<usize, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = match words.as_slice() {
        [] => return Ok(10),
        ["-n", number] => number,
        [number] => number.trim_start_matches("-n").trim_start_matches('-'),
        _ => return Err("head is simulated with a number of lines only".into()),
    };
    number.parse().map_err(|_| format!("{number:?} is no number of lines"))
}

fn ipvsadm(world: &mut World, args: &[String], stdin: &str) -> Reply {
    let rows = world.connections();
    let interfaces: Vec<&str> = world.site.ports.iter().map(|port| &*port.name).collect();
    let mut target = Target {
        catalog: &mut world.catalog,
        snapshot: &mut world.snapshot,
        pending: Pending::default(),
        loads: &world.shared.loads,
        meters: &mut world.meters,
        daemons: &mut world.daemons,
        connections: &|| rows.clone(),
        interfaces: &interfaces,
        names: &world.names,
        table_size: TABLE_SIZE,
    };
    let reply = ipvsadm::run(args, stdin, &mut target);
    target.settle();
    world.publish();
    reply
}

fn firewall(world: &mut World, args: &[String], family: Family) -> Result<Reply, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let words = match words.as_slice() {
        ["-t", "mangle", rest @ ..] | ["-w", "-t", "mangle", rest @ ..] => rest,
        _ => return Err("only the mangle table of a firewall is simulated".into()),
    };
    match words {
        ["-A", "PREROUTING", rule @ ..] => world.marks.push(rule_of(rule, family)?),
        ["-I", "PREROUTING", rule @ ..] => {
            world.marks.insert(0, rule_of(rule, family)?);
        }
        ["-D", "PREROUTING", rule @ ..] => {
            let rule = rule_of(rule, family)?;
            let place = world.marks.iter().position(|known| *known == rule);
            world.marks.remove(place.ok_or("there is no such firewall rule")?);
        }
        ["-F"] | ["-F", "PREROUTING"] => world.marks.clear(),
        _ => return Err(format!("the firewall command {:?} is not simulated", words.join(" "))),
    }
    world.publish();
    Ok(Reply::default())
}

fn rule_of(words: &[&str], family: Family) -> Result<MarkRule, String> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    MarkRule::read(&words, family)
}

fn ip(world: &mut World, args: &[String]) -> Result<Reply, String> {
    let words: Vec<&str> = args.iter().map(String::as_str).filter(|word| *word != "-6").collect();
    match words.as_slice() {
        ["link", "set", device, "mtu", mtu] | ["link", "set", "dev", device, "mtu", mtu] => {
            let mtu = mtu.parse().map_err(|_| format!("{mtu:?} is no MTU"))?;
            if !world.set_mtu(device, mtu) {
                return Err(format!("there is no interface {device}"));
            }
        }
        // The director answers for what its selectors name, so that the route says nothing new.
        ["route", "add", "local", to, "dev", "lo"] => drop(network(to)?),
        ["addr" | "address", "add", address, "dev", device] => {
            let (address, _) = network(address)?;
            let port = world.site.ports.iter_mut().find(|port| &*port.name == *device);
            port.ok_or_else(|| format!("there is no interface {device}"))?.addresses.push(address);
        }
        ["addr" | "address", "del", address, "dev", _] => {
            let (address, _) = network(address)?;
            for port in &mut world.site.ports {
                port.addresses.retain(|own| *own != address);
            }
        }
        _ => return Err(format!("ip {} is not simulated", words.join(" "))),
    }
    world.publish();
    Ok(Reply::default())
}

fn cat(world: &mut World, args: &[String], stdin: &str) -> Result<Reply, String> {
    let mut stdout = String::new();
    for file in args {
        match file.as_str() {
            "/proc/net/ip_vs" => stdout.push_str(&proc::services(world)),
            "/proc/net/ip_vs_conn" => stdout.push_str(&proc::connections(&world.connections())),
            "/proc/net/ip_vs_stats" => stdout.push_str(&proc::totals(world)),
            setting if setting.starts_with("/proc/sys/") => {
                let name = setting.trim_start_matches("/proc/sys/").replace('/', ".");
                let reply = settings::sysctl(world, &["-n".to_owned(), name])?;
                stdout.push_str(&reply.stdout);
            }
            other => {
                let text = world.files.get(other);
                stdout.push_str(text.ok_or_else(|| format!("the file {other} is not simulated"))?);
            }
        }
    }
    if args.is_empty() {
        stdout.push_str(stdin);
    }
    Ok(Reply { stdout, ..Reply::default() })
}

fn diff(world: &World, args: &[String]) -> Result<Reply, String> {
    let [left, right] = args else { return Err("diff is simulated with two files".into()) };
    match (world.files.get(left), world.files.get(right)) {
        (Some(left), Some(right)) if left == right => Ok(Reply::default()),
        (Some(_), Some(_)) => Ok(Reply { rc: 1, ..Reply::default() }),
        _ => Err(format!("{left} or {right} is not simulated")),
    }
}

/// The one kind of Python that is known: services added past ipvsadm, straight into the
/// kernel, by lines of the form `add(PORT, FLAGS)`.
fn python(world: &mut World, script: &str) -> Result<Reply, String> {
    let mut stdout = String::new();
    if !script.contains("inet_aton(\"192.0.2.10\")") || !script.contains("setsockopt") {
        return Err("Python is not simulated".into());
    }
    for line in script.lines() {
        let Some(args) = line.strip_prefix("add(").and_then(|l| l.strip_suffix(')')) else {
            continue;
        };
        let Some((port, flags)) = args.split_once(", ") else {
            return Err(format!("add({args}) is not simulated"));
        };
        if flags != "0" {
            return Err(format!("add({args}) is not simulated"));
        }
        let vip_port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        let vip = Addr::v4(0xC000_020A);
        world
            .catalog
            .add_service(ServiceSpec {
                name: format!("tcp-{vip}-{vip_port}").into(),
                identity: Identity::Address { protocol: Protocol::Tcp, vip, vip_port },
                scheduler: Some(Scheduler::Rr),
                flags: Default::default(),
                seed: None,
                persistence: None,
                engine: None,
                tracking: Tracking::Full,
                one_packet: false,
                compat: world.catalog.compat,
                policy: Default::default(),
            })
            .map_err(|refused| refused.to_string())?;
        stdout.push_str(&format!("{port} {flags} ok\n"));
    }
    world.publish();
    Ok(Reply { stdout, ..Reply::default() })
}
