//! Long lists over the control socket: a page a request, and the place where the next one
//! begins. Nobody waits for more than a page, however many bindings there are.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::server_name::ServerName;

/// A client, or a network of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// How many bits of it count: 0 to 32, for IPv6 0 to 128.
    pub length: u8,
}

impl From<IpAddr> for Network {
    /// One client.
    fn from(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is no client: write an address, or a network such as 198.18.0.0/24")
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let one = Self::from(address);
        match length {
            Some(length) if length > one.length => Err(wrong()),
            Some(length) => Ok(Self { length, ..one }),
            None => Ok(one),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { address, length } = self;
        match (address, length) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => write!(f, "{address}"),
            _ => write!(f, "{address}/{length}"),
        }
    }
}

/// Which lines are wanted; all that is left out fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Of these clients.
    pub client: Option<Network>,
    /// Of the service of this name.
    pub service: Option<String>,
    /// Bound to, or connected with, this real server.
    pub real_server: Option<ServerName>,
}

/// A part of what cores keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Templates, then clients: all bindings.
    Templates,
    /// Clients of services under `tracking: client`.
    Clients,
    /// Connections.
    Connections,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The table.
    pub part: Part,
    /// The core whose share it is.
    pub core: u32,
    /// The place in it, as its owner counts.
    pub cursor: (bool, usize, usize),
}

impl Place {
    /// The beginning of a part.
    pub fn start(part: Part) -> Self {
        Self { part, core: 0, cursor: (false, 0, 0) }
    }
}

/// How `ipvsadm -lnc`'s rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Lines.
    Lines,
    /// Lines with what persistence engines found, as with `--persistent-conn`.
    LinesWithCalls,
    /// Objects.
    Json,
}

/// A page that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Where it begins.
    pub from: Place,
    /// What is wanted of it.
    pub filter: Filter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_network() {
        for (text, shown) in [
            ("198.18.0.7", "198.18.0.7"),
            ("198.18.0.7/32", "198.18.0.7"),
            ("198.18.0.0/24", "198.18.0.0/24"),
            ("2001:db8::/64", "2001:db8::/64"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for wrong in ["", "web", "198.18.0.7/33", "198.18.0.7/", "2001:db8::/129", "/8"] {
            assert!(wrong.parse::<Network>().unwrap_err().contains("is no client"), "{wrong}");
        }
    }
}
