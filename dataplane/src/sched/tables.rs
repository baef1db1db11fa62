//! The tables of the schedulers that hash.

use super::{Maglev, Scheduler, dh, sh};
use crate::ids::RealId;
use crate::wire::Addr;

/// What control builds from the list for the schedulers that hash.
#[derive(Clone, Debug, Default)]
pub enum Tables {
    /// The scheduler needs none.
    #[default]
    None,
    /// sh's or dh's 256 buckets.
    Buckets(Box<[RealId]>),
    /// mh's slots.
    Maglev(Maglev),
}

/// What the tables are built from: one real server of the list.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The real server.
    pub real: RealId,
    /// Its weight now, 0 where it takes no new clients.
    pub weight: u32,
    /// Its latest weight above zero.
    pub last_weight: u32,
    /// RIP.
    pub address: Addr,
    /// Its port.
    pub port: u16,
}

impl Tables {
    /// The tables of this scheduler for this list, head first.
    pub fn build(scheduler: Option<Scheduler>, seed: Option<u64>, listed: &[Listed]) -> Self {
        match scheduler {
            Some(Scheduler::Sh) => Self::Buckets(sh::buckets(listed)),
            Some(Scheduler::Dh) => Self::Buckets(dh::buckets(listed)),
            Some(Scheduler::Mh) => Self::Maglev(Maglev::build(listed, seed.unwrap_or(0))),
            _ => Self::None,
        }
    }

    pub(super) fn buckets(&self) -> &[RealId] {
        match self {
            Self::Buckets(buckets) => buckets,
            Self::Maglev(_) | Self::None => &[],
        }
    }
}
