//! What `director generate` takes.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `director generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// The DPDK device that sends, such as 0000:3b:00.1 or
    /// net_memif0,role=client,socket=/run/x.sock.
    #[arg(long, value_name = "DEVICE", help_heading = "Ports")]
    pub tx_port: String,
    /// A DPDK device that receives what went through the box; may be given several times.
    /// Without one the sending port receives.
    #[arg(long, value_name = "DEVICE", help_heading = "Ports")]
    pub rx_port: Vec<String>,
    /// The CPU that works, or two: one that sends and one that receives. The last CPU by
    /// default.
    #[arg(long, value_name = "N[,N]", value_delimiter = ',', help_heading = "Ports")]
    pub cores: Vec<usize>,
    /// Where to send: the MAC address of the box, or of the router before it. Without it the
    /// generator asks who has --vip.
    #[arg(long, value_name = "MAC", help_heading = "Ports")]
    pub to: Option<String>,
    /// A network of real servers that the generator plays: it answers ARP and neighbour
    /// solicitations for them, each with a MAC address of its own. May be given several times.
    #[arg(long, value_name = "NETWORK", help_heading = "Ports")]
    pub servers: Vec<String>,
    /// An address of the generator's own, such as that of the clients' router. May be given
    /// several times.
    #[arg(long, value_name = "ADDRESS", help_heading = "Ports")]
    pub own: Vec<IpAddr>,
    /// Frames handed to the port at once. net_memif wants 128 and more to be fast.
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Ports")]
    pub burst: usize,
    /// Frames that each queue of a port holds.
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Ports")]
    pub descriptors: u16,
    /// Ordinary memory for DPDK even where hugepages are free.
    #[arg(long, help_heading = "Ports")]
    pub no_huge: bool,

    /// The service's address and port; with --services the first one's.
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "Traffic")]
    pub vip: std::net::SocketAddr,
    /// Services, on addresses that follow one another.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Traffic")]
    pub services: u32,
    /// UDP instead of TCP.
    #[arg(long, help_heading = "Traffic")]
    pub udp: bool,
    /// The first client's address; the others follow. 10.0.0.1 or 2001:db8:c::1 by default.
    #[arg(long, value_name = "ADDRESS", help_heading = "Traffic")]
    pub client: Option<IpAddr>,
    /// Clients; several numbers are measured one after the other.
    #[arg(
        long,
        value_name = "N[,N...]",
        value_delimiter = ',',
        default_value = "1000",
        help_heading = "Traffic"
    )]
    pub clients: Vec<u32>,
    /// Connections that each client has at a time.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Traffic")]
    pub connections: u32,
    /// The share of packets that open a new connection in place of an older one, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Traffic")]
    pub new: f64,
    /// Bytes of a frame with its FCS, 64 to 1518, or `imix` for 7:4:1 of 64, 594 and 1518.
    #[arg(long, value_name = "BYTES|imix", default_value = "64", help_heading = "Traffic")]
    pub size: String,

    /// How fast: `max`, packets a second (1.5M), bits a second on the wire (2Gbit) or a share
    /// of the line (40%). With --search the highest rate that is tried.
    #[arg(short, long, value_name = "RATE", default_value = "max", help_heading = "Trials")]
    pub rate: String,
    /// The line's speed where the port does not know it: 10G.
    #[arg(long, value_name = "BITS", help_heading = "Trials")]
    pub line: Option<String>,
    /// The length of a trial. RFC 2544 wants 60.
    #[arg(short, long, value_name = "S", default_value_t = 10.0, help_heading = "Trials")]
    pub seconds: f64,
    /// Search for the highest rate at which no more is lost than --loss says (RFC 2544, 26.1).
    #[arg(long, help_heading = "Trials")]
    pub search: bool,
    /// The share of packets that a trial may lose, in per cent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, help_heading = "Trials")]
    pub loss: f64,
    /// How near the search comes, in per cent of the highest rate.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, help_heading = "Trials")]
    pub resolution: f64,
    /// Then measure latency at these shares of the rate found, in per cent.
    #[arg(long, value_name = "PERCENT[,...]", value_delimiter = ',', help_heading = "Trials")]
    pub loads: Vec<f64>,
    /// Clients make themselves known before trials, so many packets a second; 0 to leave that
    /// out.
    #[arg(long, value_name = "RATE", default_value = "200k", help_heading = "Trials")]
    pub open: String,

    /// What must stay at one server.
    #[arg(long, value_enum, default_value_t = Stays::Client, help_heading = "Checks")]
    pub stays: Stays,
    /// Only count what comes back: no latency, no invariants, and a faster generator.
    #[arg(long, help_heading = "Checks")]
    pub count_only: bool,

    /// The result as one JSON object.
    #[arg(long, help_heading = "Result")]
    pub json: bool,
    /// Also write the result to this file, as JSON.
    #[arg(short, long, value_name = "FILE", help_heading = "Result")]
    pub output: Option<PathBuf>,
    /// Write plots (throughput over clients, latency over load) into this folder, as SVG.
    #[arg(long, value_name = "DIR", help_heading = "Result")]
    pub plots: Option<PathBuf>,
}

/// See [`Generate::stays`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stays {
    /// A client with all its connections: what persistence promises.
    Client,
    /// A connection.
    Connection,
    /// Nothing; the order of packets is looked at all the same.
    Nothing,
}
