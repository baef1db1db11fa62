//! A real server as an operator names one: by address, by address and port, or by name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a real server is called on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerName {
    /// Every port of an address.
    Address(IpAddr),
    /// One port of it.
    Endpoint(SocketAddr),
    /// The configuration's name for it.
    Name(String),
}

impl ServerName {
    /// Whether a real server is meant.
    pub fn means(&self, address: IpAddr, port: u16, name: Option<&str>) -> bool {
        match self {
            Self::Address(wanted) => *wanted == address,
            Self::Endpoint(wanted) => *wanted == SocketAddr::new(address, port),
            Self::Name(wanted) => name == Some(wanted),
        }
    }
}

impl FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a real server is named by its address, ADDRESS:PORT or its name".into());
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.parse() {
            Ok(endpoint) => Ok(Self::Endpoint(endpoint)),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_meant_by_address_port_or_name() {
        let rip: IpAddr = "198.18.10.11".parse().unwrap();
        let means = |text: &str| text.parse::<ServerName>().unwrap().means(rip, 80, Some("one"));
        assert!(means("198.18.10.11") && means("198.18.10.11:80") && means("one"));
        assert!(!means("198.18.10.12") && !means("198.18.10.11:81") && !means("two"));
        let six: ServerName = "[2001:db8::1]:80".parse().unwrap();
        assert!(six.means("2001:db8::1".parse().unwrap(), 80, None));
        assert_eq!(six.to_string(), "[2001:db8::1]:80");
        assert!("".parse::<ServerName>().is_err());
    }
}
