//! Virtual services.

use std::sync::{Arc, Mutex};

use super::{Engine, Identity, Persistence};
use crate::compat::Compat;
use crate::ids::{RealId, ServiceId};
use crate::pins::Pins;
use crate::sched::{Scheduler, SchedulerFlags, State, Tables, rr, wrr};

/// What is remembered of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// Every connection, with its state and timeout: the kernel's decisions.
    #[default]
    Full,
    /// Bindings only: one lookup a packet, no connections, load counted in clients.
    Client,
}

/// One place in a service's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The real server.
    pub real: RealId,
    /// Which time of being added this is: a server that was removed and put back stands
    /// in a new place.
    pub incarnation: u32,
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The operator's name for it.
    pub name: Arc<str>,
    /// What it is known by.
    pub identity: Identity,
    /// How new clients are given a real server; `None` gives them none.
    pub scheduler: Option<Scheduler>,
    /// The scheduler's flags.
    pub flags: SchedulerFlags,
    /// What mh's keys and twos's draws are made from: several directors with one seed agree
    /// for the same client. `None`: mh uses IPVS's fixed keys, twos draws at random.
    pub seed: Option<u64>,
    /// Persistence, if clients are bound.
    pub persistence: Option<Persistence>,
    /// What binds clients besides their address (`ipvsadm --pe`).
    pub engine: Option<Engine>,
    /// The place of the persistence timeout in [`Snapshot::template_timeouts_s`](super::Snapshot::template_timeouts_s).
    pub timeout_index: u8,
    /// What is remembered of clients.
    pub tracking: Tracking,
    /// UDP packets are scheduled one by one (`ipvsadm -o`).
    pub one_packet: bool,
    /// The real servers, newest first.
    pub members: Arc<[Member]>,
    /// Changes when the scheduler is another one than before.
    pub scheduler_epoch: u64,
    /// Changes when a real server is added, edited or removed.
    pub list_epoch: u64,
    /// What the scheduler remembers, where all cores share it as in the kernel.
    pub common: Option<Arc<Mutex<State>>>,
    /// Hash tables of the scheduler.
    pub tables: Tables,
    /// What was taken out of the list, for rr.
    pub rr_removals: rr::Removals,
    /// What the list went through, for wrr.
    pub wrr_history: wrr::History,
    /// The switches for this service.
    pub compat: Compat,
    /// What it does about servers that are in drain or down.
    pub policy: Policy,
    /// Clients that have a real server of their own.
    pub pins: Pins,
}

/// What happens to a bound client's new connections while its server is in drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDrain {
    /// They stay with the server, as a quiesced server keeps its clients in IPVS.
    #[default]
    Keep,
    /// They go to another server; the connections that are there stay. (Under `tracking:
    /// client` new and old connections cannot be told apart, and the client stays.)
    NewElsewhere,
}

/// What happens to the clients of a server that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDown {
    /// They are given another server at once: UDP flows move, TCP connections end with a
    /// reset, and the clients' next connections go elsewhere.
    #[default]
    Rebind,
    /// They stay, as in IPVS, where nothing but an edit moves a client.
    Keep,
    /// They stay bound, and their packets are dropped until the server is back.
    Drop,
}

/// What a service does about servers that are in drain or down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// About bound clients of a server in drain.
    pub on_drain: OnDrain,
    /// About clients of a server that is down.
    pub on_down: OnDown,
}
