//! What an ipvsadm command line can ask for: a closed set.

use std::net::IpAddr;

use dataplane::sched::SchedulerFlags;
use dataplane::snapshot::{Identity, Persistence};
use dataplane::wire::Addr;

use crate::listing::{Style, Tunnel};

/// One command with its options, all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-h`.
    Help,
    /// `-v`.
    Version,
    /// `-A`.
    AddService(ServiceOptions),
    /// `-E`: replaces everything, also what was not named.
    EditService(ServiceOptions),
    /// `-D`.
    DeleteService(Identity),
    /// `-a`.
    AddServer(ServerOptions),
    /// `-e`: replaces everything, also what was not named.
    EditServer(ServerOptions),
    /// `-d`.
    DeleteServer {
        /// The service.
        service: Identity,
        /// RIP.
        address: Addr,
        /// The real server's port.
        port: u16,
    },
    /// `-C`.
    Clear,
    /// `-L`, `-l`, or nothing at all.
    List(ListOptions),
    /// `-Z`, of one service or of all.
    Zero(Option<Identity>),
    /// `-R`: commands from standard input.
    Restore,
    /// `-S`.
    Save {
        /// `-n`: port numbers instead of names.
        numeric: bool,
    },
    /// `--set`; 0 seconds leave a timeout as it is.
    SetTimeouts {
        /// Established TCP connections.
        tcp_s: u32,
        /// TCP connections after a FIN.
        tcp_fin_s: u32,
        /// UDP.
        udp_s: u32,
    },
    /// `--start-daemon`.
    StartDaemon(DaemonOptions),
    /// `--stop-daemon`.
    StopDaemon(DaemonRole),
}

impl Command {
    /// Whether a snapshot of the services is another one after it.
    pub fn changes(&self) -> bool {
        match self {
            Self::AddService(_) | Self::EditService(_) | Self::DeleteService(_) => true,
            Self::AddServer(_) | Self::EditServer(_) | Self::DeleteServer { .. } => true,
            Self::Clear | Self::SetTimeouts { .. } => true,
            Self::Help | Self::Version | Self::List(_) | Self::Save { .. } => false,
            Self::Zero(_) | Self::Restore | Self::StartDaemon(_) | Self::StopDaemon(_) => false,
        }
    }
}

/// A virtual service as `-A` and `-E` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// `-t`, `-u`, `--sctp-service` or `-f`.
    pub identity: Identity,
    /// `-s`, not yet looked up; `wlc` where it was left out.
    pub scheduler: String,
    /// `-b`.
    pub flags: SchedulerFlags,
    /// `-p` with `-M`. A mask without `-p` is read and forgotten.
    pub persistence: Option<Persistence>,
    /// `--pe`, not yet looked up.
    pub engine: Option<String>,
    /// `-o`.
    pub one_packet: bool,
}

/// How packets reach a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// `-g`.
    Route,
    /// `-m`.
    Masq,
    /// `-i` with its tunnel options.
    Tunnel(Tunnel),
}

/// A real server as `-a` and `-e` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// The service that it belongs to.
    pub service: Identity,
    /// RIP.
    pub address: Addr,
    /// Its port: the service's unless packets are masqueraded or carry a mark.
    pub port: u16,
    /// `-g`, `-m` or `-i`.
    pub forward: Forward,
    /// `-w`: 0 to 2147483647.
    pub weight: u32,
    /// `-x`.
    pub upper_threshold: u32,
    /// `-y`.
    pub lower_threshold: u32,
}

/// What a listing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// All services.
    Services(Style),
    /// One service.
    Service(Identity, Style),
    /// Connections and templates (`-c`).
    Connections {
        /// `--persistent-conn`: with what persistence engines found.
        engine_data: bool,
    },
    /// The three timeouts.
    Timeouts,
    /// The synchronisation daemons.
    Daemons,
}

/// `-L` with its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListOptions {
    /// What is listed.
    pub show: Show,
    /// `-n`: numbers instead of names.
    pub numeric: bool,
    /// Unless `--nosort`.
    pub sorted: bool,
}

/// Which half of synchronisation a daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonRole {
    /// Sends.
    Master,
    /// Receives.
    Backup,
}

/// `--start-daemon` with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonOptions {
    /// Sender or receiver.
    pub role: DaemonRole,
    /// `--mcast-interface`.
    pub interface: String,
    /// `--syncid`.
    pub syncid: u8,
    /// `--sync-maxlen`; 0 where it was left out.
    pub maxlen: u16,
    /// `--mcast-group`.
    pub group: IpAddr,
    /// `--mcast-port`.
    pub port: u16,
    /// `--mcast-ttl`.
    pub ttl: u8,
}
