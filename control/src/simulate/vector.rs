//! The recordings' format, `ipvs-oracle-vector/1`, as it is written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

/// The only format that is read.
const FORMAT: &str = "ipvs-oracle-vector/1";

/// One recorded scenario.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Vector {
    format: String,
    pub(super) name: String,
    pub(super) topology: Topology,
    pub(super) setup: Vec<Setup>,
    pub(super) steps: Vec<Step>,
    /// Step numbers with what was not the same in two recordings: `verdict`, `obs` or
    /// `text:KEY`.
    #[serde(default)]
    pub(super) nondeterministic_steps: Vec<(usize, String)>,
}

/// Who stands where.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Topology {
    pub(super) vips: Vec<IpAddr>,
    #[serde(default = "ethernet_mtu")]
    pub(super) mtu: u16,
    pub(super) director: Interfaces,
    pub(super) client_gateway: Station,
    pub(super) real_servers: Vec<Station>,
    /// Commands that are run before everything else.
    #[serde(default)]
    pub(super) extra: Vec<String>,
}

fn ethernet_mtu() -> u16 {
    1500
}

/// The director's two interfaces.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Interfaces {
    pub(super) client_side: Station,
    pub(super) lan_side: Station,
}

/// A station on a network; addresses of the director's own have a prefix length behind them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Station {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) dev: String,
    pub(super) mac: String,
    pub(super) ip: Option<String>,
    pub(super) ip6: Option<String>,
}

/// A command before the scenario begins.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Setup {
    pub(super) cmd: String,
    #[serde(default)]
    pub(super) rc: u8,
    #[serde(default)]
    pub(super) stdin: Option<String>,
    #[serde(default)]
    pub(super) stdout: String,
    #[serde(default)]
    pub(super) stderr: String,
}

/// One thing that happened.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Step {
    pub(super) i: usize,
    /// Seconds since the start, as it really was.
    pub(super) at: f64,
    #[serde(default)]
    pub(super) note: Option<String>,
    /// Frames that came out by themselves since the step before.
    #[serde(default)]
    pub(super) unsolicited_before: Vec<Value>,
    #[serde(flatten)]
    pub(super) what: What,
}

/// The kinds of steps.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum What {
    /// A frame comes in.
    Pkt { from: String, pkt: Box<PacketSpec>, verdict: String, obs: Vec<Value> },
    /// A command is run in the director.
    Cmd {
        cmd: String,
        #[serde(default)]
        stdin: Option<String>,
        rc: u8,
        stdout: String,
        stderr: String,
    },
    /// Listings.
    Snap { outputs: BTreeMap<String, Output> },
}

/// One listing.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Output {
    pub(super) cmd: String,
    pub(super) stdout: String,
}

/// A packet in words.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PacketSpec {
    pub(super) proto: Value,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    #[serde(default)]
    pub(super) sport: u16,
    #[serde(default)]
    pub(super) dport: u16,
    pub(super) flags: Option<String>,
    pub(super) seq: Option<u32>,
    #[serde(default)]
    pub(super) ack: u32,
    #[serde(default)]
    pub(super) plen: usize,
    /// Payload in hexadecimal.
    pub(super) data: Option<String>,
    pub(super) ttl: Option<u8>,
    #[serde(default)]
    pub(super) tos: u8,
    #[serde(default)]
    pub(super) df: bool,
    pub(super) id: Option<u32>,
    #[serde(default)]
    pub(super) nocsum: bool,
    /// A wrong transport checksum.
    #[serde(default, alias = "bad_csum", alias = "badsum", alias = "bad_l4_csum")]
    pub(super) badcsum: bool,
    pub(super) frag: Option<FragSpec>,
    pub(super) icmp: Option<Box<IcmpSpec>>,
    pub(super) chunk: Option<String>,
    /// What nobody here understands; such a packet is not played.
    #[serde(flatten)]
    pub(super) unknown: BTreeMap<String, Value>,
}

/// Which piece of a datagram is sent.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct FragSpec {
    pub(super) size: usize,
    pub(super) index: usize,
}

/// An ICMP message in words.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct IcmpSpec {
    #[serde(rename = "type")]
    pub(super) kind: u8,
    #[serde(default)]
    pub(super) code: u8,
    #[serde(default)]
    pub(super) id: u16,
    #[serde(default)]
    pub(super) seq: u16,
    pub(super) mtu: Option<u32>,
    /// The packet that an error quotes.
    pub(super) inner: Option<PacketSpec>,
    /// How many bytes of it are quoted.
    pub(super) inner_len: Option<usize>,
}

impl Vector {
    /// Reads a vector's file.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let vector: Self =
            serde_json::from_str(text).map_err(|error| format!("not a vector: {error}"))?;
        if vector.format != FORMAT {
            return Err(format!("its format is {:?}; this reads {FORMAT:?}", vector.format));
        }
        Ok(vector)
    }

    /// Whether the kernel chose real servers at random.
    pub(super) fn is_random(&self) -> bool {
        self.nondeterministic_steps.iter().any(|(_, what)| what == "verdict")
    }

    /// Whether two recordings differed in this part of a step.
    pub(super) fn varies(&self, step: usize, part: &str) -> bool {
        self.nondeterministic_steps.iter().any(|(i, what)| *i == step && what == part)
    }
}
