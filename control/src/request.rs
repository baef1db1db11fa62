//! What can be asked of the running director.

use serde::{Deserialize, Serialize};

use crate::get::{Kind, Output};
use crate::page::{Form, Network, Page, Place};
use crate::server_name::ServerName;
use crate::trace::Question;

/// What can be asked of the running director.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Take over a configuration.
    Apply {
        /// The name that messages use for it.
        name: String,
        /// Its text.
        text: String,
        /// The file with its whole path, for the history, which is read from anywhere; `None` for
        /// standard input.
        #[serde(default)]
        file: Option<String>,
        /// Only say what it would do.
        #[serde(default)]
        dry_run: bool,
    },
    /// What is different in a file.
    Diff {
        /// The file's name and text; without, the director's own file.
        file: Option<(String, String)>,
        /// As JSON.
        json: bool,
    },
    /// Take over a configuration that ran before.
    Rollback {
        /// Its generation; without, the one before this one.
        generation: Option<u64>,
        /// Only say what it would do.
        dry_run: bool,
    },
    /// A page of bindings or connections.
    Page(Page),
    /// A page of what `ipvsadm -lnc` lists.
    Listed {
        /// Where it begins.
        from: Place,
        /// How its rows are written.
        form: Form,
    },
    /// End the bindings of a page, or move them.
    Rebind {
        /// Which ones.
        page: Page,
        /// The real server that they get; without, they end.
        to: Option<ServerName>,
    },
    /// Give a client a real server of its own, or take it away.
    Pin {
        /// The client.
        client: Network,
        /// The real server; without, the client has none of its own any more.
        to: Option<ServerName>,
        /// Only in the service of this name.
        service: Option<String>,
    },
    /// Give a real server no new clients.
    Drain {
        /// Which one.
        server: ServerName,
        /// Only in the service of this name.
        service: Option<String>,
        /// Seconds after which it gets nobody.
        deadline_s: Option<u32>,
    },
    /// Give a real server clients again.
    Undrain {
        /// Which one.
        server: ServerName,
        /// Only in the service of this name.
        service: Option<String>,
    },
    /// How a drain stands.
    DrainReport {
        /// The real server.
        server: ServerName,
        /// Only in the service of this name.
        service: Option<String>,
    },
    /// What ran before.
    History {
        /// As JSON.
        json: bool,
    },
    /// What runs.
    Get {
        /// What of it.
        what: Kind,
        /// How it is written.
        output: Output,
        /// Only the rows of these names, or of services of these names; all if there are none.
        names: Vec<String>,
    },
    /// Carry out a command line of ipvsadm's.
    Ipvsadm {
        /// The words behind `ipvsadm`, hosts and ports in numbers.
        args: Vec<String>,
        /// What `--restore` reads.
        stdin: String,
    },
    /// List services or connections.
    Show {
        /// What to list.
        what: Listing,
        /// Exact numbers.
        exact: bool,
        /// As JSON.
        json: bool,
    },
    /// How the director is.
    Status {
        /// As JSON.
        json: bool,
    },
    /// What would happen to a packet.
    Explain {
        /// The packet in words.
        flow: String,
        /// Its TCP flags.
        flags: String,
        /// The port's name, if it is not the first one.
        port: Option<String>,
        /// As JSON.
        json: bool,
    },
    /// Begin to tell what becomes of packets.
    Trace {
        /// Which ones.
        question: Question,
    },
    /// What was told since the last time.
    Traced {
        /// The number that the beginning was answered with.
        session: u64,
    },
    /// Tell no more.
    EndTrace {
        /// The same number.
        session: u64,
    },
}

/// The listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listing {
    /// `ipvsadm -ln`.
    Services,
    /// `ipvsadm -ln --stats`.
    Stats,
    /// `ipvsadm -ln --rate`.
    Rate,
    /// `ipvsadm -ln --thresholds`.
    Thresholds,
    /// `ipvsadm -ln --persistent-conn`.
    Persistent,
}
