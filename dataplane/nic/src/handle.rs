//! What the control thread may ask while the cores run.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capsule_ffi as ffi;

use crate::error::NicError;
use crate::port;
use crate::rss::Sightings;

/// What a port has counted since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// The port's name.
    pub name: String,
    /// Frames received.
    pub ipackets: u64,
    /// Frames sent.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Frames that the device dropped because its receive queues were full.
    pub imissed: u64,
    /// Frames received with errors.
    pub ierrors: u64,
    /// Frames that could not be sent.
    pub oerrors: u64,
    /// Times that there was no mbuf for a received frame.
    pub rx_nombuf: u64,
    /// Frames received that do not fit one mbuf, dropped here.
    pub rx_refused: u64,
    /// Of the first frames of each queue: those that reached the queue that the key says, on a
    /// port that steers by client.
    pub steered: u64,
    /// Of the same frames: those that reached another queue.
    pub strayed: u64,
    /// Whether the link is up.
    pub link_up: bool,
    /// Its speed in Mbit/s; 0 where unknown.
    pub link_mbps: u32,
}

/// All ports and the pools at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NicStats {
    /// The ports, in the configured order.
    pub ports: Vec<PortStats>,
    /// Mbufs outside the pools: in queues, on their way, in the program's hands.
    pub mbufs_in_use: u64,
    /// Mbufs in the pools and the cores' caches.
    pub mbufs_free: u64,
}

/// Statistics and the stop switch, for any thread; outlives the ports.
#[derive(Clone)]
pub struct NicHandle {
    pub(crate) shared: Arc<Shared>,
}

impl NicHandle {
    /// The counters now; once the ports are closed, the last ones.
    pub fn stats(&self) -> NicStats {
        self.shared.refresh();
        self.shared.state().stats.clone()
    }

    /// Makes every core leave after its current turn.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Whether some core is still making turns.
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::Acquire) > 0
    }
}

impl std::fmt::Debug for NicHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NicHandle").field("stats", &self.stats()).finish()
    }
}

/// What cores, handles and the opener share.
pub(crate) struct Shared {
    /// Cores leave when this is set.
    pub stop: AtomicBool,
    /// Cores that have begun.
    pub started: AtomicUsize,
    /// Cores that have begun and not ended.
    pub running: AtomicUsize,
    /// Cores there are.
    pub cores: usize,
    ports: Vec<SharedPort>,
    state: Mutex<State>,
}

/// What a handle needs to ask about a port.
pub(crate) struct SharedPort {
    pub id: u16,
    pub name: String,
    pub interface: Option<String>,
    pub refused: Arc<AtomicU64>,
    pub sightings: Arc<Sightings>,
}

struct State {
    open: bool,
    stats: NicStats,
    fault: Option<NicError>,
}

impl Shared {
    pub fn new(cores: usize, ports: Vec<SharedPort>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            started: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            cores,
            ports,
            state: Mutex::new(State { open: true, stats: NicStats::default(), fault: None }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the counters, if the ports are still open.
    pub fn refresh(&self) {
        // The lock is held across the reads: the ports stay open meanwhile.
        let mut state = self.state();
        if !state.open {
            return;
        }
        let (mut in_use, mut free) = (0, 0);
        for pool in ffi::pools() {
            // SAFETY: pools live while `open` holds.
            unsafe {
                in_use += u64::from(ffi::rte_mempool_in_use_count(pool.raw.as_ptr()));
                free += u64::from(ffi::rte_mempool_avail_count(pool.raw.as_ptr()));
            }
        }
        state.stats = NicStats {
            ports: self.ports.iter().map(SharedPort::stats).collect(),
            mbufs_in_use: in_use,
            mbufs_free: free,
        };
    }

    /// Reads the counters a last time; handles answer with them from now on.
    pub fn close(&self) {
        self.refresh();
        self.state().open = false;
    }

    /// Stops all cores because of this; the first fault is kept.
    pub fn fail(&self, fault: NicError) {
        self.state().fault.get_or_insert(fault);
        self.stop.store(true, Ordering::Release);
    }

    pub fn take_fault(&self) -> Option<NicError> {
        self.state().fault.take()
    }
}

impl SharedPort {
    fn stats(&self) -> PortStats {
        // SAFETY: all zeros is a valid value of this structure of numbers.
        let mut raw: ffi::rte_eth_stats = unsafe { mem::zeroed() };
        // SAFETY: a place for the answer; on an error it stays zero.
        unsafe { ffi::rte_eth_stats_get(self.id, &mut raw) };
        let (link_up, link_mbps) = port::link(self.id, self.interface.as_deref());
        PortStats {
            name: self.name.clone(),
            ipackets: raw.ipackets,
            opackets: raw.opackets,
            ibytes: raw.ibytes,
            obytes: raw.obytes,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
            rx_refused: self.refused.load(Ordering::Relaxed),
            steered: self.sightings.steered.load(Ordering::Relaxed),
            strayed: self.sightings.strayed.load(Ordering::Relaxed),
            link_up,
            link_mbps,
        }
    }
}
