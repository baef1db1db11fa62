//! Names of ports and hosts, which ipvsadm takes and, without `-n`, prints.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dataplane::wire::Protocol;

/// Ports by the names that a services file (`/etc/services`) gives them.
#[derive(Clone, Debug, Default)]
pub struct PortNames(Vec<(String, u16, Protocol)>);

impl PortNames {
    /// Reads a services file: `NAME PORT/PROTOCOL ALIAS... # remark`. Lines that say anything
    /// else are passed over, as the C library does.
    pub fn read(text: &str) -> Self {
        let mut names = Vec::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = port.split_once('/') else { continue };
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => continue,
            };
            let Ok(port) = port.parse() else { continue };
            for name in std::iter::once(name).chain(words) {
                names.push((name.to_owned(), port, protocol));
            }
        }
        Self(names)
    }

    /// The port of that name.
    pub fn number(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.0.iter().find(|(n, _, p)| n == name && *p == protocol).map(|(_, port, _)| *port)
    }

    /// The first name of that port.
    pub fn name(&self, port: u16, protocol: Protocol) -> Option<&str> {
        self.0.iter().find(|(_, n, p)| *n == port && *p == protocol).map(|(name, _, _)| &**name)
    }
}

/// Hosts by the names that a hosts file (`/etc/hosts`) gives them.
#[derive(Clone, Debug, Default)]
pub struct HostNames(Vec<(IpAddr, String)>);

impl HostNames {
    /// Reads a hosts file: `ADDRESS NAME ALIAS... # remark`.
    pub fn read(text: &str) -> Self {
        let host = |line: &str| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        };
        Self(text.lines().filter_map(host).collect())
    }

    /// The first name of that address.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.0.iter().find(|(one, _)| *one == address).map(|(_, name)| &**name)
    }
}

/// Where names come from.
#[derive(Clone, Debug)]
pub struct Names {
    /// Ports.
    pub ports: PortNames,
    /// Hosts by their addresses, for listings.
    pub hosts: HostNames,
    /// Hosts; asked only for what is no address.
    pub resolve: fn(&str) -> Option<Ipv4Addr>,
}

impl Names {
    /// A few well-known ports, and no hosts: what `director simulate` and tests use, so that
    /// they do not depend on the machine.
    pub fn offline() -> Self {
        Self {
            ports: PortNames::read(
                "ftp-data 20/tcp\nftp 21/tcp\nssh 22/tcp\nssh 22/sctp\nsmtp 25/tcp mail\n\
                 domain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nntp 123/udp\nhttps 443/tcp\n\
                 https 443/udp\nsnpp 444/tcp\nmicrosoft-ds 445/tcp\nimaps 993/tcp\n\
                 sip 5060/tcp\nsip 5060/udp\nhttp-alt 8080/tcp webcache\nhttp-alt 8080/udp\n",
            ),
            hosts: HostNames::default(),
            resolve: |_| None,
        }
    }

    /// A saved listing with ports by name where they have one. The words are our own, so it is
    /// known which of them are endpoints.
    pub(super) fn in_saved(&self, saved: &str) -> String {
        let mut text = String::with_capacity(saved.len());
        for line in saved.lines() {
            let mut protocol = None;
            let words: Vec<String> = line
                .split(' ')
                .scan("", |before, word| {
                    let option = std::mem::replace(before, word);
                    protocol = match option {
                        "-t" => Some(Protocol::Tcp),
                        "-u" => Some(Protocol::Udp),
                        "--sctp-service" => Some(Protocol::Sctp),
                        _ => protocol,
                    };
                    let named = matches!(option, "-t" | "-u" | "--sctp-service" | "-r");
                    Some(match protocol {
                        Some(protocol) if named => self.endpoint(word, protocol),
                        _ => word.to_owned(),
                    })
                })
                .collect();
            text.push_str(&words.join(" "));
            text.push('\n');
        }
        text
    }

    /// A listing with hosts and ports by name where they have one. Columns stay where they
    /// are, unless a name is longer than its column. Ports of a mark stay numbers: it has no
    /// protocol whose names they could have.
    pub(super) fn in_listing(&self, listing: &str) -> String {
        let mut protocol = None;
        let mut text = String::with_capacity(listing.len());
        for line in listing.lines() {
            protocol = match line.split(' ').next() {
                Some("TCP") => Some(Protocol::Tcp),
                Some("UDP") => Some(Protocol::Udp),
                Some("SCTP") => Some(Protocol::Sctp),
                Some("FWM" | "IP") => None,
                _ => protocol,
            };
            for field in fields(line) {
                let word = field.trim_end_matches(' ');
                match word.parse::<SocketAddr>().ok().and_then(|at| self.named(at, protocol)) {
                    Some(named) => {
                        let width = field.len().saturating_sub(1);
                        text.push_str(&format!("{named:<width$}"));
                        text.push_str(if field.len() > word.len() { " " } else { "" });
                    }
                    None => text.push_str(field),
                }
            }
            text.push('\n');
        }
        text
    }

    /// The names of an address and port, if one of them has one.
    fn named(&self, at: SocketAddr, protocol: Option<Protocol>) -> Option<String> {
        let host = self.hosts.name(at.ip());
        let port = protocol.and_then(|protocol| self.ports.name(at.port(), protocol));
        if host.is_none() && port.is_none() {
            return None;
        }
        let host = match (host, at) {
            (Some(name), _) => name.to_owned(),
            (None, SocketAddr::V4(at)) => at.ip().to_string(),
            (None, SocketAddr::V6(at)) => format!("[{}]", at.ip()),
        };
        Some(match port {
            Some(name) => format!("{host}:{name}"),
            None => format!("{host}:{}", at.port()),
        })
    }

    fn endpoint(&self, endpoint: &str, protocol: Protocol) -> String {
        let named = endpoint.rsplit_once(':').and_then(|(address, port)| {
            let name = self.ports.name(port.parse().ok()?, protocol)?;
            Some(format!("{address}:{name}"))
        });
        named.unwrap_or_else(|| endpoint.to_owned())
    }
}

/// A line's words, each with the blanks behind it.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let word = rest.find(|letter| letter != ' ').unwrap_or(rest.len());
        let blank = rest.get(word..)?.find(' ').map_or(rest.len(), |at| word + at);
        let next = rest.get(blank..)?.find(|letter| letter != ' ');
        let end = next.map_or(rest.len(), |at| blank + at);
        let (field, after) = rest.split_at_checked(end)?;
        rest = after;
        (!field.is_empty()).then_some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_names_in_the_columns_of_numbers() {
        let hosts = HostNames::read("# remark\n172.16.0.11 rs1 one # first\n192.0.2.10\n");
        let names = Names { hosts, ..Names::offline() };
        let listing = "IP Virtual Server version 1.2.1 (size=4096)\n\
             TCP  192.0.2.10:80 rr persistent 50\n\
             \x20 -> 172.16.0.11:80               Route   1      0          0         \n\
             \x20 -> 172.16.0.12:81               Route   1      0          0         \n\
             UDP  [2001:db8::10]:53 wlc\n\
             \x20 -> [2001:db8::11]:53            Masq    1      0          0         \n\
             FWM  10 wlc\n\
             \x20 -> 172.16.0.11:80               Route   1      0          0         \n\
             \x20 -> 172.16.0.12:80               Route   1      0          0         \n";
        assert_eq!(
            names.in_listing(listing),
            "IP Virtual Server version 1.2.1 (size=4096)\n\
             TCP  192.0.2.10:http rr persistent 50\n\
             \x20 -> rs1:http                     Route   1      0          0         \n\
             \x20 -> 172.16.0.12:81               Route   1      0          0         \n\
             UDP  [2001:db8::10]:domain wlc\n\
             \x20 -> [2001:db8::11]:domain        Masq    1      0          0         \n\
             FWM  10 wlc\n\
             \x20 -> rs1:80                       Route   1      0          0         \n\
             \x20 -> 172.16.0.12:80               Route   1      0          0         \n"
        );
        let plain = Names { ports: PortNames::default(), ..Names::offline() };
        assert_eq!(plain.in_listing(listing), listing);
    }
}
