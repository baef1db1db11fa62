//! `director generate`: from the command line to a run, and its result.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use benches::generate::neighbours::{Neighbours, Network};
use benches::generate::offer::Offer;
use benches::generate::report::Report;
use benches::generate::run::{self, Rate, Watcher};
use benches::generate::verify::Affinity;
use benches::machine;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Protocol};

use crate::bench;
use crate::cli::{self, Stays};
use crate::output;
use crate::reason::reason;

/// Exit status of a run in which an invariant was broken.
const BROKEN: u8 = 3;

/// `director generate`.
///
/// # Errors
/// A sentence for standard error.
pub fn run(args: &cli::Generate) -> Result<ExitCode, String> {
    let generate = generate(args)?;
    let report = generate.run(Box::new(Terminal)).map_err(|error| error.to_string())?;
    let json = report.json().to_string();
    if let Some(path) = &args.output {
        write(path, &format!("{json}\n"))?;
    }
    if let Some(folder) = &args.plots {
        plots(&report, folder)?;
    }
    let text = if args.json { format!("{json}\n") } else { report.text() };
    output::print(&text);
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) })
}

fn plots(report: &Report, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| {
        format!("cannot make the folder {}: {}", folder.display(), reason(&error))
    })?;
    for (name, plot) in
        [("throughput.svg", report.throughput_plot()), ("latency.svg", report.latency_plot())]
    {
        if let Some(plot) = plot {
            write(&folder.join(name), &plot)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {}", path.display(), reason(&error)))
}

/// Standard error: lines, and on a terminal the last one replaced every second.
struct Terminal;

impl Watcher for Terminal {
    fn line(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    fn progress(&self, line: &str) {
        let mut to = io::stderr().lock();
        if to.is_terminal() {
            let _ = write!(to, "{line}\x1b[K\r");
            let _ = to.flush();
        }
    }
}

fn generate(args: &cli::Generate) -> Result<run::Generate, String> {
    let cores = match args.cores.len() {
        0 => vec![machine::first_and_last_cpu()[1]],
        1 | 2 => args.cores.clone(),
        _ => return Err("--cores takes one CPU, or one that sends and one that receives".into()),
    };
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err("--seconds is above 0 and at most 3600".to_owned());
    }
    for (option, value, least, most) in [
        ("--loss", args.loss, 0.0, 100.0),
        ("--resolution", args.resolution, 0.01, 50.0),
        ("--new", args.new, 0.0, 1.0),
        ("--burst", args.burst as f64, 1.0, 1024.0),
        ("--descriptors", f64::from(args.descriptors), 64.0, 16384.0),
    ] {
        if !(least..=most).contains(&value) {
            return Err(format!("{option} {value} is not between {least} and {most}"));
        }
    }
    if args.loads.iter().any(|load| !(*load > 0.0 && *load <= 100.0)) {
        return Err("--loads are above 0 and at most 100 per cent".to_owned());
    }
    let own = args.own.iter().map(|own| Addr::from(*own)).collect();
    let servers = args.servers.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
    let open = match number(&args.open) {
        Some(0.0) => None,
        Some(rate) => Some(rate),
        None => return Err(format!("--open {} is no number of packets a second", args.open)),
    };
    Ok(run::Generate {
        tx_port: args.tx_port.clone(),
        rx_ports: args.rx_port.clone(),
        cores,
        offer: offer(args)?,
        clients: args.clients.clone(),
        to: args.to.as_deref().map(mac).transpose()?,
        neighbours: Neighbours { servers, own },
        rate: rate(&args.rate)?,
        line: match &args.line {
            Some(text) => Some(number(text).ok_or_else(|| {
                format!("--line {text} is no number of bits a second, such as 10G")
            })?),
            None => None,
        },
        time: Duration::from_secs_f64(args.seconds),
        search: args.search,
        accepted_loss: args.loss / 100.0,
        resolution: args.resolution / 100.0,
        loads: args.loads.iter().map(|load| load / 100.0).collect(),
        open,
        affinity: match args.stays {
            Stays::Client => Affinity::Client,
            Stays::Connection => Affinity::Connection,
            Stays::Nothing => Affinity::None,
        },
        look: !args.count_only,
        burst: args.burst,
        descriptors: args.descriptors,
        no_huge: args.no_huge,
    })
}

fn offer(args: &cli::Generate) -> Result<Offer, String> {
    let vip = args.vip.ip();
    let client = args.client.unwrap_or(match vip {
        IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, 1).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xDB8, 0xC, 0, 0, 0, 0, 1).into(),
    });
    if client.is_ipv4() != vip.is_ipv4() {
        return Err(format!("--client {client} and --vip {vip} are not of one family"));
    }
    let most = args.clients.iter().copied().max().unwrap_or(0);
    for (option, value, most) in [
        ("--clients", most, 100_000_000),
        ("--connections", args.connections, 32_000),
        ("--services", args.services, 65_536),
    ] {
        if value < 1 || value > most {
            return Err(format!("{option} {value} is not between 1 and {most}"));
        }
    }
    if most.checked_mul(args.connections).is_none_or(|flows| flows > 500_000_000) {
        return Err("--clients times --connections is more than 500 million".to_owned());
    }
    Ok(Offer {
        first_client: client.into(),
        clients: most,
        connections: args.connections,
        first_vip: vip.into(),
        services: args.services,
        port: args.vip.port(),
        protocol: if args.udp { Protocol::Udp } else { Protocol::Tcp },
        new_share: args.new,
        size: bench::size(&args.size)?,
        to: Mac::default(),
    })
}

/// `max`, `1.5M`, `2Gbit`, `40%`.
fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || {
        format!(
            "--rate {text} is none of max, packets a second (1.5M), bits (2Gbit), a share (40%)"
        )
    };
    let rate = if text == "max" {
        return Ok(Rate::Most);
    } else if let Some(share) = text.strip_suffix('%') {
        Rate::Share(number(share).ok_or_else(wrong)? / 100.0)
    } else if let Some(bits) = text.strip_suffix("bit") {
        Rate::Bits(number(bits).ok_or_else(wrong)?)
    } else {
        Rate::Packets(number(text).ok_or_else(wrong)?)
    };
    match rate {
        Rate::Share(rate) | Rate::Bits(rate) | Rate::Packets(rate) if rate <= 0.0 => Err(wrong()),
        Rate::Share(share) if share > 1.0 => Err("--rate is at most 100%".to_owned()),
        rate => Ok(rate),
    }
}

/// A number, with k, M or G for thousands of them.
fn number(text: &str) -> Option<f64> {
    let (digits, factor) = match text.chars().last()? {
        'k' => (text.strip_suffix('k')?, 1e3),
        'M' => (text.strip_suffix('M')?, 1e6),
        'G' => (text.strip_suffix('G')?, 1e9),
        _ => (text, 1.0),
    };
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}

fn mac(text: &str) -> Result<Mac, String> {
    let parts: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let bytes = parts.and_then(|parts| <[u8; 6]>::try_from(parts).ok());
    bytes.map(Mac).ok_or_else(|| format!("--to {text} is no MAC address such as 02:00:00:00:00:01"))
}

fn network(text: &str) -> Result<Network, String> {
    let wrong = || format!("--servers {text} is no network such as 198.19.0.0/16");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let address = Addr::from(address);
    let prefix = prefix.parse().ok().filter(|p| *p <= address.family().bits()).ok_or_else(wrong)?;
    Ok(Network { address, prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_every_form() {
        assert_eq!(rate("max"), Ok(Rate::Most));
        assert_eq!(rate("1.5M"), Ok(Rate::Packets(1.5e6)));
        assert_eq!(rate("2Gbit"), Ok(Rate::Bits(2e9)));
        assert_eq!(rate("40%"), Ok(Rate::Share(0.4)));
        for wrong in ["", "fast", "-1", "0", "140%", "bit", "1e999"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_read_or_refused_in_a_sentence() {
        assert_eq!(mac("02:00:00:00:00:0a"), Ok(Mac([2, 0, 0, 0, 0, 10])));
        assert!(mac("02:00:00:00:00").unwrap_err().starts_with("--to 02:00:00:00:00 is no MAC"));
        assert_eq!(network("198.19.0.0/16").unwrap().prefix, 16);
        assert!(network("198.19.0.0/33").is_err() && network("198.19.0.0").is_err());
    }
}
