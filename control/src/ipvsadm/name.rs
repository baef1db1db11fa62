//! Names of ports and hosts, which ipvsadm takes and, without `-n`, prints.

use std::net::Ipv4Addr;

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

/// Where names come from.
#[derive(Clone, Debug)]
pub struct Names {
    /// Ports.
    pub ports: PortNames,
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

    fn endpoint(&self, endpoint: &str, protocol: Protocol) -> String {
        let named = endpoint.rsplit_once(':').and_then(|(address, port)| {
            let name = self.ports.name(port.parse().ok()?, protocol)?;
            Some(format!("{address}:{name}"))
        });
        named.unwrap_or_else(|| endpoint.to_owned())
    }
}
