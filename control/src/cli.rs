//! The command line: what can be said, and its help. Nothing is done here.

mod bench;
mod doctor;
mod generate;
mod mistake;
mod remote;
mod trace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use bench::{
    Bench, BenchDuring, BenchFamily, BenchForwarding, BenchSource, BenchTable, BenchTracking,
};
pub use doctor::Doctor;
pub use generate::{Generate, Stays};
pub use mistake::parse;
pub use remote::{
    Clients, Diff, Drain, Evict, Get, History, Pin, Rebind, Rollback, Undrain, Unpin,
};
pub use trace::{Capture, Select, Trace};

/// Where the control socket is unless the configuration or `--socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/director/control.sock";
/// The configuration that is read unless another one is named.
pub const DEFAULT_CONFIG: &str = "/etc/director/director.yaml";

/// How a command ends that asks the running director.
const ASKS: &str = "\
Exit status: 0 done; 1 refused, or this user may not speak to the director (control.allow names
who may); 2 usage, or no director answers.";

/// The same of all of them.
const ENDS: &str = "\
Exit status of what asks the running director: 0 done; 1 refused, or this user may not speak to
it (control.allow names who may); 2 usage, or no director answers. What ends otherwise says so in
its own help: 'director diff' with 2 wherever it could not compare, and 'director ipvsadm' as
ipvsadm does, with 255 where ipvsadm could not reach IPVS.";

/// A Layer-4 load balancer on DPDK: one client, one real server, across ports, protocols,
/// cores and reloads, until the binding expires.
#[derive(Debug, Parser)]
#[command(name = "director", version, max_term_width = 100, after_help = ENDS)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands, in the order of the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the director: open the ports, answer for the VIPs, balance.
    ///
    /// Exit status: 0 stopped by a signal, 1 problems of the configuration, or a port that
    /// requires a link has none, 2 usage, or the machine lacks something; a sentence says what.
    ///
    /// Signals: SIGTERM and SIGINT stop it, SIGHUP has it read the file again, SIGUSR1 has it
    /// write its status to the log; SIGUSR2 is ignored.
    Run(Run),
    /// Read a configuration and say everything that is wrong with it.
    ///
    /// Exit status: 0 no problem, 1 problems or no such file, 2 usage.
    Check(Check),
    /// Compare what a configuration needs with what this machine has.
    ///
    /// Each finding says what it is, why it matters, and the command that mends it. Exit status:
    /// 0 if a director would start, 1 if not.
    Doctor(Doctor),
    /// Hand a configuration to the running director; it is taken whole or not at all.
    ///
    /// Exit status: 0 taken over, 1 refused, or this user may not speak to the director, 2 usage,
    /// or no director answers.
    Apply(Apply),
    /// Compare what runs with a file: every key that differs, and whom a change would move.
    ///
    /// Without FILE, with the file that the director was started with. Exit status: 0 no
    /// difference, 1 some, 2 they could not be compared.
    Diff(Diff),
    /// Take over a configuration that ran before.
    ///
    /// Without GENERATION, the newest one before the last change; done twice, it takes itself
    /// back. The file stays as it is: 'director diff' says what differs from it.
    #[command(after_help = ASKS)]
    Rollback(Rollback),
    /// List the configurations that ran: when, by whom, what changed.
    #[command(after_help = ASKS)]
    History(History),
    /// Print what runs: configuration, services, real servers, bindings, connections, cores, ports.
    #[command(after_help = ASKS)]
    Get(Get),
    /// List clients and the real servers that they are bound to.
    ///
    /// Comes in pages, filtered where the bindings are: ten million of them stop no core. AGE is
    /// the time since a binding was made or last renewed, as each new connection does.
    #[command(after_help = ASKS)]
    Clients(Clients),
    /// End the bindings of a client, or of a network of clients.
    ///
    /// Open connections go on where they are, unless their real server is down: the service's
    /// on_down says what becomes of those. The next connection is scheduled anew; under
    /// 'tracking: client' the next packet is.
    #[command(after_help = ASKS)]
    Evict(Evict),
    /// Move the bindings of a client, or of a network of clients, to another real server.
    ///
    /// Open connections go on where they are; the next one goes to the new server. Under
    /// 'tracking: client' the next packet does.
    #[command(after_help = ASKS)]
    Rebind(Rebind),
    /// Give a client, or a network of clients, a real server of its own.
    ///
    /// It goes there whatever the scheduler and its binding say, as long as that server is not
    /// down. The pin is a part of the configuration that runs: 'director get' shows it.
    #[command(after_help = ASKS)]
    Pin(Pin),
    /// Take a client's pin away. It stays where it is bound until that ends.
    #[command(after_help = ASKS)]
    Unpin(Unpin),
    /// Give real servers no new clients, and say how many are still bound to them.
    ///
    /// Bound clients stay, unless the service's on_drain says otherwise, until their bindings
    /// end or the deadline is over. The file stays as it is: say `state: drain` there as well
    /// if the drain is to outlive the next reload.
    #[command(after_help = ASKS)]
    Drain(Drain),
    /// Give real servers clients again.
    #[command(after_help = ASKS)]
    Undrain(Undrain),
    /// Carry out a command line of ipvsadm's on the running director.
    ///
    /// Takes everything that ipvsadm 1.31 takes, and answers and ends as it does. Under the name
    /// `ipvsadm`, as by a link, the program is this command.
    ///
    /// Example: director ipvsadm -A -t 198.18.255.1:443 -s wlc -p 600
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Ipvsadm(Ipvsadm),
    /// List services, real servers and connections as `ipvsadm -ln` does.
    #[command(after_help = ASKS)]
    Show(Show),
    /// Say how the running director is: generation, cores, ports, tables, drops, memory.
    #[command(after_help = ASKS)]
    Status(Status),
    /// Say what would happen to a packet now, and why. Nothing is sent.
    ///
    /// Example: director explain 'tcp 198.18.0.5:40000 -> 198.18.255.1:443'
    #[command(after_help = ASKS)]
    Explain(Explain),
    /// Tell what becomes of live packets, and why: a line for each.
    ///
    /// Nothing is held up: what comes faster than --rate passes by untold and is counted. Ends by
    /// --count, by --for or by Ctrl-C.
    ///
    /// Example: director trace --client 198.18.64.0/18 --verdict drop --count 20
    #[command(after_help = ASKS)]
    Trace(Trace),
    /// Capture live packets to a pcapng file, each with its verdict, service and server as comment.
    ///
    /// Packets are as they came in. Wireshark shows the comments; tcpdump -r reads the packets.
    ///
    /// Example: director capture -o drops.pcapng --verdict drop --for 10s
    #[command(after_help = ASKS)]
    Capture(Capture),
    /// Push a capture through the real packet path and say of every packet what became of it.
    ///
    /// The capture's own time stamps are the clock. No DPDK, no network.
    Replay(Replay),
    /// Play scenarios recorded from a kernel's IPVS and compare every step.
    ///
    /// Ends with the line 'N passed, N failed'. Exit status: 0 all passed, 1 some failed, 2
    /// usage, or a path without scenarios.
    Simulate(Simulate),
    /// Turn configurations of ipvsadm, iptables, nft and keepalived into YAML.
    ///
    /// Several files make one configuration: name the marks' firewall rules beside the
    /// services that use them. The YAML goes to standard output; what cannot be carried over is
    /// said on standard error, and again at the end of the YAML.
    ///
    /// Exit status: 0 everything was carried over; 3 YAML was written, but not everything was
    /// carried over; 1 nothing was written: a file cannot be read, or is not of this kind; 2
    /// usage.
    Import(Import),
    /// Say what a key of the configuration means: its values, default and an example.
    ///
    /// Example: director explain-key services.persistence.timeout
    ExplainKey(ExplainKey),
    /// Print the JSON Schema of the configuration, for editors.
    ///
    /// Editors with a YAML language server take it from a line at the top of the file:
    /// # yaml-language-server: $schema=/usr/share/director/director.schema.json
    Schema,
    /// Print the completions of a shell.
    ///
    /// The Debian package has them in place. By hand, for bash:
    /// director completions bash > /usr/share/bash-completion/completions/director
    Completions(Completions),
    /// Write the manual pages into a folder.
    #[command(hide = true)]
    Manual(Manual),
    /// Measure what a packet costs: synthetic clients, the real packet path, one process.
    ///
    /// Counts the time that the polling thread was on its CPU, divided by packets. Needs no
    /// NIC. Rounds in which the CPU was wanted elsewhere are made again.
    ///
    /// Example: director bench --clients 1000000 --reference macswap
    Bench(Bench),
    /// Send traffic through any other program or box, and look closely at what comes back.
    ///
    /// Over any DPDK port: a NIC, net_memif, net_af_xdp, net_tap ... Every frame has its flow,
    /// its place in the flow and its time in it. So it is known what was lost, how long the rest
    /// took, whether a client kept its server and a flow its order, whatever the box does to
    /// addresses. Exit status: 0 all invariants held, 3 one was broken, 1 it could not be done.
    ///
    /// Example: director generate --tx-port 0000:3b:00.0 --rx-port 0000:3b:00.1
    /// --vip 198.51.100.1:80 --servers 192.0.2.0/24 --clients 1000,64000,1000000 --search
    Generate(Box<Generate>),
}

/// `director completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `director manual`.
#[derive(Debug, Args)]
pub struct Manual {
    /// The folder; it is made if it is not there.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// `director explain-key`.
#[derive(Debug, Args)]
pub struct ExplainKey {
    /// The key with the keys around it; the whole file if it is left out.
    #[arg(value_name = "PATH", default_value = "", hide_default_value = true)]
    pub path: String,
    /// Every key below it, one a line.
    #[arg(short, long)]
    pub recursive: bool,
}

/// `director replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The capture, in libpcap's classic format or in pcapng.
    #[arg(value_name = "IN.pcap")]
    pub capture: PathBuf,
    /// Write what the director sends to this capture: pcapng if its name ends so.
    #[arg(short, long, value_name = "OUT.pcap")]
    pub output: Option<PathBuf>,
    /// The port that the packets come in on; the first one by default.
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// One JSON object a line instead of text; the last one is what is listed at the end.
    #[arg(long)]
    pub json: bool,
}

/// `director simulate`.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Scenario files, or folders of them.
    #[arg(value_name = "FILE|DIR", required = true)]
    pub paths: Vec<PathBuf>,
    /// Compare decisions only, not the texts of listings and commands.
    #[arg(long)]
    pub no_text: bool,
    /// Print every difference.
    #[arg(short, long)]
    pub verbose: bool,
}

/// `director import`.
#[derive(Debug, Args)]
pub struct Import {
    /// What the first file was written for.
    #[arg(value_enum)]
    pub kind: ImportKind,
    /// The file; `-` reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// More of the same configuration: firewall rules.
    #[arg(long, value_name = "FILE")]
    pub iptables: Vec<PathBuf>,
    /// More of the same configuration: ipvsadm-save's text.
    #[arg(long, value_name = "FILE")]
    pub ipvsadm: Vec<PathBuf>,
    /// What keepalived is started with as -i; decides about lines that begin with @.
    #[arg(long, value_name = "ID")]
    pub config_id: Option<String>,
}

/// Programs that configurations can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportKind {
    /// ipvsadm-save's text, or a script with ipvsadm's command lines.
    Ipvsadm,
    /// iptables-save's text, iptables command lines, or 'nft list ruleset'.
    Iptables,
    /// keepalived.conf.
    Keepalived,
}

/// `director run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration. It is watched; a change is taken over without a restart.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// The control socket, instead of the configuration's `control.socket`.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The folder of what outlives the program, such as the history of configurations; the
    /// socket's folder unless it is named.
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY")]
    pub state: Option<PathBuf>,
    /// Show DPDK's own log if the start fails, and log at level debug.
    #[arg(short, long)]
    pub verbose: bool,
}

/// `director check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration; `-` reads standard input.
    #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub file: PathBuf,
    /// The same, as `director run` takes it.
    #[arg(short, long, value_name = "FILE", conflicts_with = "file")]
    pub config: Option<PathBuf>,
}

/// How to reach the running director.
#[derive(Debug, Args)]
pub struct Socket {
    /// The control socket of the running director.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "DIRECTOR_SOCKET")]
    pub socket: PathBuf,
}

/// `director apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// Only say what it would change, and how many live clients would move and why.
    #[arg(long)]
    pub dry_run: bool,
    /// The configuration; `-` reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// `director ipvsadm`.
#[derive(Debug, Args)]
pub struct Ipvsadm {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// ipvsadm's own words; `-h` lists them.
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// `director show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// Connections and templates, as `ipvsadm -lnc` lists them.
    #[arg(short, long)]
    pub connections: bool,
    /// Packets and bytes, as `ipvsadm -ln --stats` lists them.
    #[arg(long, conflicts_with = "connections")]
    pub stats: bool,
    /// Packets and bytes per second, as `ipvsadm -ln --rate` lists them.
    #[arg(long, conflicts_with_all = ["connections", "stats"])]
    pub rate: bool,
    /// Thresholds, as `ipvsadm -ln --thresholds` lists them.
    #[arg(long, conflicts_with_all = ["connections", "stats", "rate"])]
    pub thresholds: bool,
    /// Bindings per real server, as `ipvsadm -ln --persistent-conn` lists them; with -c the
    /// Call-IDs of SIP's templates.
    #[arg(long, conflicts_with_all = ["stats", "rate", "thresholds"])]
    pub persistent: bool,
    /// Exact numbers instead of K, M and G.
    #[arg(long)]
    pub exact: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `director status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `director explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The packet: `PROTOCOL CLIENT:PORT -> VIP:PORT`, with `[..]` around IPv6 addresses.
    #[arg(value_name = "FLOW")]
    pub flow: String,
    /// The TCP flags, by their letters (S F R P A U).
    #[arg(long, value_name = "FLAGS", default_value = "S")]
    pub flags: String,
    /// The port that the packet comes in on; the first one by default.
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}
