//! The command lines of what is asked of the running director.

use std::path::PathBuf;

use clap::Args;

use super::Socket;
use crate::get::{Kind, Output};
use crate::page::{Filter, Network};
use crate::server_name::ServerName;

/// `director diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The file; `-` reads standard input.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `director rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The generation, as 'director history' lists it.
    #[arg(value_name = "GENERATION")]
    pub generation: Option<u64>,
    /// Only say what it would change, and how many live clients would move and why.
    #[arg(long)]
    pub dry_run: bool,
}

/// `director history`.
#[derive(Debug, Args)]
pub struct History {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `director get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// What to print; also in the singular, as in 'director get service web'.
    #[arg(value_enum, default_value = "config")]
    pub what: Kind,
    /// Only these: services by name or by what they are known by (tcp/198.18.255.1:443, mark/10),
    /// real servers by service, name, ADDRESS or ADDRESS:PORT, ports by name, cores by number.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// How; `yaml` for the configuration, else `table`, unless it is given.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Which bindings.
#[derive(Debug, Args)]
pub struct Of {
    /// Only in this service.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Only those of this real server: ADDRESS, ADDRESS:PORT or its name.
    #[arg(long, value_name = "SERVER")]
    pub server: Option<ServerName>,
}

impl Of {
    /// The same as it is sent.
    pub fn filter(&self) -> Filter {
        Filter { client: None, service: self.service.clone(), real_server: self.server.clone() }
    }
}

/// Which clients.
#[derive(Debug, Args)]
pub struct ClientFilter {
    /// Only this client, or the clients of this network: 198.18.0.7, 198.18.0.0/24.
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<Network>,
    /// Of which service and real server.
    #[command(flatten)]
    pub of: Of,
}

impl ClientFilter {
    /// The same as it is sent.
    pub fn filter(&self) -> Filter {
        Filter { client: self.client, ..self.of.filter() }
    }
}

/// `director clients`.
#[derive(Debug, Args)]
pub struct Clients {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// Which ones.
    #[command(flatten)]
    pub filter: ClientFilter,
    /// How; a table unless it is given.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// `director evict`.
#[derive(Debug, Args)]
pub struct Evict {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The client, or a network of clients: 198.18.0.7, 198.18.0.0/24.
    #[arg(value_name = "CLIENT")]
    pub client: Network,
    /// Of which service and real server.
    #[command(flatten)]
    pub of: Of,
}

/// `director rebind`.
#[derive(Debug, Args)]
pub struct Rebind {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The client, or a network of clients: 198.18.0.7, 198.18.0.0/24.
    #[arg(value_name = "CLIENT")]
    pub client: Network,
    /// The real server that they get: ADDRESS, ADDRESS:PORT or its name.
    #[arg(value_name = "SERVER")]
    pub to: ServerName,
    /// Of which service and real server.
    #[command(flatten)]
    pub of: Of,
}

/// `director pin`.
#[derive(Debug, Args)]
pub struct Pin {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The client, or a network of clients: 198.18.0.7, 198.18.0.0/24.
    #[arg(value_name = "CLIENT")]
    pub client: Network,
    /// The real server: ADDRESS, ADDRESS:PORT or its name.
    #[arg(value_name = "SERVER")]
    pub to: ServerName,
    /// Only in this service; in all that have the real server unless it is given.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// `director unpin`.
#[derive(Debug, Args)]
pub struct Unpin {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The client, or the network of clients, as it was pinned.
    #[arg(value_name = "CLIENT")]
    pub client: Network,
    /// Only in this service; in all unless it is given.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// `director drain`.
#[derive(Debug, Args)]
pub struct Drain {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The real servers: ADDRESS, ADDRESS:PORT or a name.
    #[arg(value_name = "SERVER", required = true)]
    pub servers: Vec<ServerName>,
    /// Only in this service; in all that have them unless it is given.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// When it is over at the latest, such as 90s, 10m or 2h: the server then counts as down.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub deadline: Option<u32>,
    /// Wait until nobody is bound or connected any more, or the deadline is over.
    #[arg(long)]
    pub wait: bool,
}

/// `director undrain`.
#[derive(Debug, Args)]
pub struct Undrain {
    /// Where the director listens.
    #[command(flatten)]
    pub at: Socket,
    /// The real servers: ADDRESS, ADDRESS:PORT or a name.
    #[arg(value_name = "SERVER", required = true)]
    pub servers: Vec<ServerName>,
    /// Only in this service; in all where they drain unless it is given.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
}

/// A time as configurations write it: seconds, or with s, m, h or d.
fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit_s) = match text.char_indices().next_back() {
        Some((at, unit)) if !unit.is_ascii_digit() => {
            let unit_s = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3_600,
                'd' => 86_400,
                _ => 0,
            };
            (text.get(..at).unwrap_or_default(), unit_s)
        }
        _ => (text, 1),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit_s));
    match seconds {
        Some(seconds @ 1..=2_678_400) => Ok(seconds),
        _ => Err("write 1 s to 31 days, such as 90s, 10m or 2h".to_owned()),
    }
}
