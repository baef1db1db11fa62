//! The rows as JSON, for `director show --json` and the control socket. Field names are stable:
//! fields may be added, none is renamed or removed.
//!
//! A listing:
//!
//! | field | meaning |
//! |---|---|
//! | `table_size` | what the text's first line calls the size |
//! | `services` | the services |
//!
//! A service:
//!
//! | field | meaning |
//! |---|---|
//! | `name` | the operator's name |
//! | `family` | `ipv4` or `ipv6` |
//! | `protocol`, `vip` | `tcp`, `udp`, `sctp` or `any`; the address. Not for marks |
//! | `vip_port` | the port; 0 for all. Only for services of one protocol and port |
//! | `first_vip_port`, `last_vip_port` | the ports. Only for ranges and for protocol `any` |
//! | `mark` | the mark. Only for marks |
//! | `scheduler` | ipvsadm's name for it, or null |
//! | `flags` | ipvsadm's names for the scheduler's flags |
//! | `persistence` | null, or `timeout_s` and `mask` (dotted for IPv4, bits for IPv6) |
//! | `engine` | the persistence engine, or null |
//! | `one_packet` | one-packet scheduling |
//! | `tracking` | `full` or `client` |
//! | `stats` | `total` and `per_second`, each with `conns`, `in_packets`, `out_packets`, `in_bytes`, `out_bytes` |
//! | `real_servers` | the real servers |
//!
//! A real server: `address`, `port`, `forwarding` (`route`, `masq`, `tunnel`, `local`,
//! `fullnat`), `tunnel` (null, or `type` with `port` and `checksum` where it has them),
//! `weight` (as schedulers see it), `state` (`up`, `drain`, `down`), `active`, `inactive`,
//! `persistent` (templates), `clients` (those of them that have a client), `upper_threshold`, `lower_threshold`, `stats`.
//!
//! A connection: `protocol` (`tcp`, `udp`, `sctp`, or `ip` for templates of marks and of
//! all protocols), `expires_s`,
//! `state`, `template` (whether it is one), `client`, `virtual`, `real` (each `address` and
//! `port`), `engine` (null, or `name` and `data`).
//!
//! A synchronisation daemon: `role`, `interface`, `syncid`, `maxlen`, `group`, `port`, `ttl`.

use dataplane::snapshot::{Identity, RealState, Tracking};
use dataplane::wire::{Family, Protocol};
use serde::{Serialize, Serializer};

use super::address;
use super::row::{
    ConnectionRow, Endpoint, EngineData, Listing, RealRow, ServiceRow, Stats, Traffic, Tunnel,
    TunnelChecksum,
};

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            table_size: u32,
            services: &'a [ServiceRow],
        }
        Json { table_size: self.table_size, services: &self.services }.serialize(serializer)
    }
}

impl Serialize for ServiceRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Bound {
            timeout_s: u32,
            mask: String,
        }
        #[derive(Serialize)]
        struct Json<'a> {
            name: &'a str,
            #[serde(flatten)]
            identity: Name,
            scheduler: Option<&'a str>,
            flags: Vec<&'static str>,
            persistence: Option<Bound>,
            engine: Option<&'a str>,
            one_packet: bool,
            tracking: &'static str,
            stats: Stats,
            real_servers: &'a [RealRow],
        }
        let family = self.identity.family();
        Json {
            name: &self.name,
            identity: Name::of(&self.identity),
            scheduler: self.scheduler,
            flags: self.flag_names(),
            persistence: self.persistence.map(|persistence| Bound {
                timeout_s: persistence.timeout_s,
                mask: address::mask(family, persistence.mask).unwrap_or_else(|| whole(family)),
            }),
            engine: self.engine.as_deref(),
            one_packet: self.one_packet,
            tracking: match self.tracking {
                Tracking::Full => "full",
                Tracking::Client => "client",
            },
            stats: self.stats,
            real_servers: &self.reals,
        }
        .serialize(serializer)
    }
}

/// What a service is known by.
#[derive(Default, Serialize)]
struct Name {
    family: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vip_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_vip_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_vip_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
}

impl Name {
    fn of(identity: &Identity) -> Self {
        let family = match identity.family() {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        match *identity {
            Identity::Address { protocol, vip, vip_port } => Self {
                family,
                protocol: Some(lower(protocol)),
                vip: Some(vip.to_string()),
                vip_port: Some(vip_port),
                ..Self::default()
            },
            Identity::Ports { protocol, vip, first, last } => Self {
                family,
                protocol: Some(protocol.map_or_else(|| "any".into(), lower)),
                vip: Some(vip.to_string()),
                first_vip_port: Some(first),
                last_vip_port: Some(last),
                ..Self::default()
            },
            Identity::Mark { mark, .. } => {
                Self { family, mark: Some(mark.0.get()), ..Self::default() }
            }
        }
    }
}

fn lower(protocol: Protocol) -> String {
    protocol.to_string().to_ascii_lowercase()
}

fn whole(family: Family) -> String {
    match family {
        Family::V4 => "255.255.255.255".into(),
        Family::V6 => "128".into(),
    }
}

impl Serialize for RealRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json {
            address: String,
            port: u16,
            forwarding: String,
            tunnel: Option<Tunnel>,
            weight: u32,
            state: &'static str,
            active: u64,
            inactive: u64,
            persistent: u64,
            clients: u64,
            upper_threshold: u32,
            lower_threshold: u32,
            stats: Stats,
        }
        Json {
            address: self.address.to_string(),
            port: self.port,
            forwarding: self.forwarding.to_ascii_lowercase(),
            tunnel: self.used_tunnel(),
            weight: self.weight,
            state: match self.state {
                RealState::Up => "up",
                RealState::Drain => "drain",
                RealState::Down => "down",
            },
            active: self.active,
            inactive: self.inactive,
            persistent: self.persistent,
            clients: self.clients,
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
            stats: self.stats,
        }
        .serialize(serializer)
    }
}

impl Serialize for Stats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json {
            total: Traffic,
            per_second: Traffic,
        }
        Json { total: self.total, per_second: self.per_second }.serialize(serializer)
    }
}

impl Serialize for Tunnel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json {
            r#type: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            port: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            checksum: Option<&'static str>,
        }
        let word = |checksum| match checksum {
            TunnelChecksum::Off => "off",
            TunnelChecksum::On => "on",
            TunnelChecksum::Remote => "remote",
        };
        let (r#type, port, checksum) = match *self {
            Self::Ipip => ("ipip", None, None),
            Self::Gue { port, checksum } => ("gue", Some(port), Some(word(checksum))),
            Self::Gre { checksum } => ("gre", None, Some(word(checksum))),
        };
        Json { r#type, port, checksum }.serialize(serializer)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json {
            address: String,
            port: u16,
        }
        Json { address: self.address.to_string(), port: self.port }.serialize(serializer)
    }
}

impl Serialize for ConnectionRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'a> {
            protocol: String,
            expires_s: u32,
            state: &'a str,
            template: bool,
            client: Endpoint,
            r#virtual: Endpoint,
            real: Endpoint,
            engine: Option<&'a EngineData>,
        }
        Json {
            protocol: self.protocol.map_or_else(|| "ip".into(), lower),
            expires_s: self.expires_s,
            state: self.state,
            template: self.template,
            client: self.client,
            r#virtual: self.virtual_side,
            real: self.real,
            engine: self.engine.as_ref(),
        }
        .serialize(serializer)
    }
}
