//! The program `ipvsadm`: reads a command line as ipvsadm does, has the running director
//! carry it out, and ends as ipvsadm would.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;

use super::name::HostNames;
use super::option::{Argument, Meaning, Name, SPELLINGS};
use super::scan::{Given, Scanner};
use super::{Command, ListOptions, Names, PortNames, Reply, Show, address, parse, told_alone};
use crate::api::{self, Request};
use crate::output;
use crate::remote::{self, Failed};

/// What `--restore` reads at most: twice the lines that the largest configuration makes.
const MAX_INPUT: u64 = 16 << 20;
/// The exit code of an ipvsadm that cannot reach IPVS.
const UNREACHED: u8 = 255;

/// Runs one command line (the words behind `ipvsadm`) against the director that listens on
/// this socket. What comes back is printed already; the rest is the exit code.
pub fn main(args: &[String], socket: &Path) -> u8 {
    let reply = ask(args, socket);
    output::print(&reply.stdout);
    let _ = io::stderr().lock().write_all(reply.stderr.as_bytes());
    reply.rc
}

fn ask(args: &[String], socket: &Path) -> Reply {
    let names = Names::of_this_machine();
    let command = match parse(args, &names) {
        Ok(command) => command,
        Err(usage) => return usage.into(),
    };
    if let Some(reply) = told_alone(&command) {
        return reply;
    }
    let stdin = match &command {
        Command::Restore => match read_input() {
            Ok(text) => restored(&text, &names),
            Err(error) => return Reply::refusal(&error, UNREACHED),
        },
        _ => String::new(),
    };
    if let Command::List(ListOptions { show: Show::Connections { engine_data }, numeric, .. }) =
        command
    {
        return list_connections(socket, engine_data, (!numeric).then_some(&names));
    }
    let request = Request::Ipvsadm { args: settled(args, &names), stdin };
    let by_name = matches!(
        &command,
        Command::List(ListOptions {
            show: Show::Services(_) | Show::Service(..),
            numeric: false,
            ..
        })
    );
    let failed = |error: &dyn std::fmt::Display| Reply::refusal(&error.to_string(), UNREACHED);
    match api::call(socket, &request) {
        Ok(api::Reply { ok: true, text, .. }) => {
            let mut reply: Reply =
                serde_json::from_str(&text).unwrap_or_else(|error| failed(&error));
            if by_name {
                reply.stdout = names.in_listing(&reply.stdout);
            }
            reply
        }
        Ok(api::Reply { text, .. }) => failed(&text.trim_end()),
        Err(error) => failed(&error),
    }
}

/// Prints connections as they come: there may be millions of them.
fn list_connections(socket: &Path, engine_data: bool, names: Option<&Names>) -> Reply {
    let listed = remote::lines(socket, engine_data, &mut |lines| match names {
        Some(names) => remote::shown(&names.in_listing(lines)),
        None => remote::shown(lines),
    });
    match listed {
        Ok(()) | Err(Failed::Closed) => Reply::default(),
        Err(Failed::Refused(sentence) | Failed::Unreached(sentence, _)) => {
            Reply::refusal(sentence.trim_end(), UNREACHED)
        }
    }
}

fn read_input() -> Result<String, String> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(format!("cannot read standard input: {error}")),
        Ok(length) if length as u64 > MAX_INPUT => {
            Err(format!("standard input has more than {MAX_INPUT} bytes; restore it in parts"))
        }
        Ok(_) => Ok(text),
    }
}

/// The lines of `--restore` with their names settled; a line with a mistake stays as it is, so
/// that the director reports it at its place.
fn restored(text: &str, names: &Names) -> String {
    let mut lines = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|word| word == "ipvsadm") {
            words.remove(0);
        }
        let settled = if parse(&words, names).is_ok() { settled(&words, names) } else { words };
        lines.push_str(&settled.join(" "));
        lines.push('\n');
    }
    lines
}

/// The command line with addresses and numbers in the place of the names of hosts and ports:
/// whose names they are is this machine's affair, and the control thread waits for no resolver.
fn settled(args: &[String], names: &Names) -> Vec<String> {
    let mut scanner = Scanner::new(args);
    let mut words = Vec::new();
    let mut protocol = dataplane::wire::Protocol::Tcp;
    while let Some(given) = scanner.next() {
        let Ok(Given { meaning, value, .. }) = given else { return args.to_vec() };
        match meaning {
            Meaning::Udp => protocol = dataplane::wire::Protocol::Udp,
            Meaning::Sctp => protocol = dataplane::wire::Protocol::Sctp,
            _ => {}
        }
        let Some(spelling) = SPELLINGS.iter().find(|spelling| spelling.meaning == meaning) else {
            return args.to_vec();
        };
        let endpoint = matches!(
            meaning,
            Meaning::Tcp | Meaning::Udp | Meaning::Sctp | Meaning::Plain(Name::Server)
        );
        let numbers = value.as_deref().filter(|_| endpoint).and_then(|text| {
            let typed = address::endpoint(text, protocol, names)?;
            Some(numeric(typed.address.into(), typed.port))
        });
        match numbers.or(value) {
            Some(value) if spelling.argument != Argument::None => {
                words.push(format!("--{}={value}", spelling.long));
            }
            _ => words.push(format!("--{}", spelling.long)),
        }
    }
    words.append(&mut scanner.left);
    words
}

fn numeric(address: IpAddr, port: Option<u16>) -> String {
    match (address, port) {
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
        (address, None) => address.to_string(),
    }
}

impl Names {
    /// Ports from `/etc/services`, hosts from this machine's resolver.
    pub fn of_this_machine() -> Self {
        let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        Self { hosts: HostNames::read(&hosts), resolve: lookup, ..Self::of_ports() }
    }

    /// Ports from `/etc/services`, and no hosts.
    pub fn of_ports() -> Self {
        let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
        let ports = PortNames::read(&services);
        Self { ports, hosts: HostNames::default(), resolve: |_| None }
    }
}

fn lookup(host: &str) -> Option<Ipv4Addr> {
    let found = (host, 0).to_socket_addrs().ok()?;
    found.map(|address| address.ip()).find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn named() -> Names {
        let resolve = |host: &str| (host == "web.test").then_some(Ipv4Addr::new(192, 0, 2, 10));
        Names { resolve, ..Names::offline() }
    }

    #[test]
    fn names_become_numbers_and_the_command_stays_the_same() {
        let numbers = Names { ports: PortNames::default(), ..Names::offline() };
        for line in [
            "-A -t web.test:http -s rr -p -M 255.255.255.0",
            "-A -u web.test:domain -s rr -p 30 -o",
            "-a -t web.test:https -r web.test:8443 -m -w 5 -x 10 -y 5",
            "-a -f 10 -r 192.0.2.11 -i --tun-type gue --tun-port 6080 --tun-csum",
            "-A -f 10 -6 -s sh -b sh-port,sh-fallback",
            "-a -t [2001:db8::1]:http -r [2001:db8::2]:80",
            "-Lcn --persistent-conn --nosort",
            "-L -t web.test:http --stats --exact",
            "--set 900 0 300",
            "--start-daemon master --mcast-interface eth1 --syncid 7 --mcast-group 224.0.0.9",
            "--stop-daemon backup",
            "-Z",
            "-D --tcp-service=web.test:http",
        ] {
            let args = words(line);
            let command = parse(&args, &named()).unwrap();
            let sent = settled(&args, &named());
            assert_eq!(parse(&sent, &numbers), Ok(command), "{line} as {sent:?}");
        }
    }

    #[test]
    fn what_is_wrong_stays_as_it_was_typed() {
        for line in ["-A -t web.test:http -s", "-A --bogus", "-t web.test:http -Q"] {
            assert_eq!(settled(&words(line), &named()), words(line));
        }
        let lines = "ipvsadm -A -t web.test:http\n\n-A -t 1.2.3.4:5 -q\n";
        assert_eq!(
            restored(lines, &named()),
            "--add-service --tcp-service=192.0.2.10:80\n\n-A -t 1.2.3.4:5 -q\n"
        );
    }

    #[test]
    fn the_verb_of_a_daemon_keeps_its_role() {
        assert_eq!(settled(&words("--stop-daemon master"), &named()), ["--stop-daemon=master"]);
    }
}
