//! What `director bench` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `director bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// What the services remember: every connection, or bindings of clients alone.
    #[arg(long, value_enum, default_value_t = BenchTracking::Client, help_heading = "Director")]
    pub tracking: BenchTracking,
    /// How packets reach the real servers.
    #[arg(long, value_enum, default_value_t = BenchForwarding::Route, help_heading = "Director")]
    pub forwarding: BenchForwarding,
    /// The services' scheduler, by ipvsadm's short name.
    #[arg(long, value_name = "NAME", default_value = "wlc", help_heading = "Director")]
    pub scheduler: String,
    /// Services.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Director")]
    pub services: u32,
    /// Real servers of each service.
    #[arg(long, value_name = "N", default_value_t = 100, help_heading = "Director")]
    pub servers: u32,
    /// Seconds that a client stays bound; 0 for services without persistence.
    #[arg(long, value_name = "SECONDS", default_value_t = 360, help_heading = "Director")]
    pub persistence: u32,
    /// The CPUs that balance, one worker each; the last CPU by default.
    #[arg(long, value_name = "N,N...", value_delimiter = ',', help_heading = "Director")]
    pub cores: Vec<usize>,

    /// Known clients. With --tracking full each has one established connection.
    #[arg(long, value_name = "N", default_value_t = 1_000, help_heading = "Load")]
    pub clients: u32,
    /// Services that clients use, each client one of them; all by default.
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub in_use: Option<u32>,
    /// The share of packets that open connections of clients never seen before, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, help_heading = "Load")]
    pub new: f64,
    /// New clients that the tables have room for. A round ends when they are half full of
    /// them; then they are emptied.
    #[arg(long, value_name = "N", default_value_t = 16 << 20, help_heading = "Load")]
    pub room: u32,
    /// With --forwarding masq, requests and answers in the same bursts, at random; without it
    /// every second burst is of answers, as with a port on either side.
    #[arg(long, help_heading = "Load")]
    pub mixed: bool,
    /// IPv4 or IPv6.
    #[arg(long, value_enum, default_value_t = BenchFamily::V4, help_heading = "Load")]
    pub family: BenchFamily,
    /// Bytes of a frame with its FCS, 64 to 1518, or `imix` for 7:4:1 of 64, 594 and 1518.
    #[arg(long, value_name = "BYTES|imix", default_value = "64", help_heading = "Load")]
    pub size: String,
    /// Where the packets come from.
    #[arg(long, value_enum, default_value_t = BenchSource::Null, help_heading = "Load")]
    pub source: BenchSource,

    /// The length of a round.
    #[arg(short, long, value_name = "S", default_value_t = 0.5, help_heading = "Measurement")]
    pub seconds: f64,
    /// Rounds; the result is their median.
    #[arg(short, long, value_name = "N", default_value_t = 5, help_heading = "Measurement")]
    pub rounds: u32,
    /// A round ends early after so many packets on each core. The director's clock follows
    /// the packets then, so that two runs do exactly the same.
    #[arg(long, value_name = "N", help_heading = "Measurement")]
    pub packets: Option<u64>,
    /// Look for the longest time between two polls, which costs a little.
    #[arg(long, help_heading = "Measurement")]
    pub gaps: bool,
    /// Give up making rounds again after this time.
    #[arg(long, value_name = "S", default_value_t = 60.0, help_heading = "Measurement")]
    pub at_most: f64,
    /// Compare with this mode of dpdk-testpmd on the same device, round by round: macswap,
    /// io, 5tswap ...
    #[arg(long, value_name = "MODE", help_heading = "Measurement")]
    pub reference: Option<String>,
    /// What control does in the middle of every round; --gaps is then on.
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Measurement")]
    pub during: Option<BenchDuring>,
    /// No director: receive, write headers, swap MAC addresses, send. What the measurement
    /// itself costs. N bursts are held at a time.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1", help_heading = "Measurement")]
    pub bare: Option<usize>,
    /// Measure another program in the director's place: a mode of testpmd, or l3fwd:PATH.
    #[arg(long, value_name = "PROGRAM", requires = "reference", help_heading = "Measurement")]
    pub peer: Option<String>,
    /// Ordinary memory for DPDK even where hugepages are free.
    #[arg(long, help_heading = "Measurement")]
    pub no_huge: bool,
    /// Also write the result to this file, as JSON.
    #[arg(short, long, value_name = "FILE", help_heading = "Measurement")]
    pub output: Option<PathBuf>,
    /// The result as one JSON object.
    #[arg(long, help_heading = "Measurement")]
    pub json: bool,

    /// Measure a whole table of loads instead, each beside testpmd, and hold the results
    /// against their marks. Of the options only --no-huge, --json and --output count then.
    #[arg(long, value_enum, value_name = "WHICH", help_heading = "Table")]
    pub table: Option<BenchTable>,
    /// Only rows of the table whose name contains this.
    #[arg(long, value_name = "TEXT", requires = "table", help_heading = "Table")]
    pub only: Option<String>,
    /// Where DPDK's example l3fwd is, for its row.
    #[arg(long, value_name = "FILE", requires = "table", help_heading = "Table")]
    pub l3fwd: Option<PathBuf>,
    /// Also write the table as RESULTS.md with its plots into this folder.
    #[arg(long, value_name = "DIR", requires = "table", help_heading = "Table")]
    pub results: Option<PathBuf>,
    /// What was counted over 10^8 packets, for the row of that name.
    #[arg(long, value_name = "N", requires = "table", hide = true)]
    pub steady: Option<u32>,
    /// What the program was built from, for the result.
    #[arg(long, value_name = "TEXT", default_value = "", help_heading = "Table")]
    pub commit: String,
}

/// See [`Bench::table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchTable {
    /// What fits into three minutes.
    Quick,
    /// Everything.
    Full,
}

/// See [`Bench::during`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchDuring {
    /// A reload that changes every service, from the text of its configuration on.
    Reload,
    /// Tables that become larger by as much as they had at the start.
    Growth,
    /// A list of every client and every connection, as `director clients` makes it.
    Listing,
}

/// See [`Bench::tracking`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchTracking {
    /// One lookup of a client for every packet.
    Client,
    /// Every connection with its state, as the kernel has it.
    Full,
}

/// See [`Bench::forwarding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchForwarding {
    /// Direct routing.
    Route,
    /// Masquerading; every second packet is a real server's reply.
    Masq,
    /// IPIP.
    Tunnel,
}

/// See [`Bench::family`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// See [`Bench::source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchSource {
    /// DPDK's net_null, with a client's header written into every packet.
    Null,
    /// DPDK's net_pcap, replaying one packet of each client for ever.
    Pcap,
    /// Ordinary memory, without DPDK.
    Memory,
}
