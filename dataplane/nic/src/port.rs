//! Ports that are set up and started.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use capsule_ffi as ffi;
use dataplane::rss::RssKey;
use dataplane::wire::ethernet::Mac;

use crate::config::PortConfig;
use crate::error::NicError;
use crate::frame;
use crate::handle::SharedPort;
use crate::interface::{self, Carrier};
use crate::log;
use crate::plan::{Configured, configured, device_info, id_of};
use crate::queue::{Alive, Queue};
use crate::rss::{self, Rss, Sightings, Steered, Watch};

/// What became of a configured port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// The port's name in Director.
    pub name: String,
    /// The device as configured.
    pub device: String,
    /// DPDK's driver, `net_af_packet` for example.
    pub driver: String,
    /// The port's address.
    pub mac: Mac,
    /// The largest IP packet in bytes.
    pub mtu: u16,
    /// Whether the link was up when the port was opened.
    pub link_up: bool,
    /// Its speed then in Mbit/s; 0 where unknown.
    pub link_mbps: u32,
    /// The cores that receive, in the order of the receive queues.
    pub cores: Vec<usize>,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// The device has fewer transmit queues than there are cores: some are shared, behind a lock.
    pub tx_shared: bool,
    /// Frames that each receive queue holds.
    pub rx_descriptors: u16,
    /// Frames that each transmit queue holds.
    pub tx_descriptors: u16,
    /// Receive-side scaling, where it is on.
    pub rss: Option<Rss>,
    /// Whether all frames of a client reach one queue.
    pub steered: Steered,
    /// The NUMA node whose pool the port uses.
    pub numa_node: u32,
    /// As configured.
    pub kernel_facing: bool,
}

/// A port that is set up and started.
pub(crate) struct OpenPort {
    pub info: PortInfo,
    pub queues: BTreeMap<usize, Queue>,
    pub shared: SharedPort,
}

/// Whether clients reach one queue each, or why not.
fn steered(
    config: &PortConfig,
    rx_queues: u16,
    steering: Option<Result<RssKey, &'static str>>,
    rss: Option<&Rss>,
) -> Steered {
    match (config.steering, steering) {
        (None, _) => Steered::NotAsked,
        (Some(_), _) if rx_queues < 2 => Steered::OneQueue,
        (Some(_), None) => Steered::Not("the configuration gives an RSS key"),
        (Some(_), Some(made)) => rss::steered(made, rss),
    }
}

/// Sets up what capsule did not (the other cores' transmit queues), starts the port and
/// reads what became of it.
pub(crate) fn finish(
    config: &PortConfig,
    all_cores: &[usize],
    alive: &Alive,
) -> Result<OpenPort, NicError> {
    log::begin_step();
    let refusal = |step| {
        let (port, device) = (config.name.clone(), config.device.clone());
        NicError::PortSetup { port, device, step, detail: log::cause() }
    };
    let Configured { rx_queues, tx_queues, fields, key, steering } = configured(config)?;
    let id = id_of(config).ok_or_else(|| refusal("be found"))?;
    let device = device_info(id).ok_or_else(|| refusal("describe itself"))?;
    let cores = config.sorted_cores();
    let node = pool_node(id, &cores);
    let pool = ffi::pools().into_iter().find(|pool| pool.node == node);
    let pool = pool.ok_or_else(|| refusal("use a pool of its NUMA node"))?.raw;

    let (mut rxd, mut txd) = (config.rx_descriptors, config.tx_descriptors);
    // SAFETY: two places for the answers; the port exists.
    unsafe { ffi::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rxd, &mut txd) };
    start(id, rx_queues..tx_queues, txd, node).map_err(refusal)?;
    let interface = config.parsed_device().interface();
    let (link_up, link_mbps) = link(id, interface.as_deref());
    if !link_up {
        tracing::debug!(port = config.name, "the link is down; frames flow once it is up");
    }
    if let Some(Ok(_)) = &steering {
        rss::spread_clients(id, rx_queues, &device);
    }
    let rss = (rx_queues > 1 && fields != 0)
        .then(|| rss::read(id, fields, &config.name, key.as_deref(), &device));
    let steered = steered(config, rx_queues, steering, rss.as_ref());
    let info = PortInfo {
        name: config.name.clone(),
        device: config.device.clone(),
        driver: text(device.driver_name),
        mac: mac(id),
        mtu: config.mtu,
        link_up,
        link_mbps,
        cores: cores.clone(),
        rx_queues,
        tx_queues,
        tx_shared: usize::from(tx_queues) < all_cores.len(),
        rx_descriptors: rxd,
        tx_descriptors: txd,
        rss,
        steered,
        numa_node: u32::try_from(node).unwrap_or(0),
        kernel_facing: config.kernel_facing,
    };
    let refused = Arc::new(AtomicU64::new(0));
    let mut queues = deal_queues(id, &info, all_cores, pool, &refused, alive);
    let sightings = Arc::new(Sightings::default());
    if let (Some(rss), Steered::ByClient { .. }) = (&info.rss, &info.steered) {
        for queue in queues.values_mut().filter(|queue| queue.rx.is_some()) {
            queue.watch = Some(Box::new(Watch::new(rss, &sightings)));
        }
    }
    Ok(OpenPort {
        shared: SharedPort { id, name: info.name.clone(), interface, refused, sightings },
        info,
        queues,
    })
}

/// Sets up the transmit queues that capsule did not, and starts the port; or what the port
/// refused to do.
fn start(id: u16, tx_queues: Range<u16>, descriptors: u16, node: i32) -> Result<(), &'static str> {
    for queue in tx_queues {
        // SAFETY: the port is configured for these queues and not started; defaults are used.
        let answer = unsafe {
            ffi::rte_eth_tx_queue_setup(id, queue, descriptors, node as u32, ptr::null())
        };
        if answer != 0 {
            return Err("set up its transmit queues");
        }
    }
    // SAFETY: the port is set up; capsule starts it again later, which changes nothing.
    if unsafe { ffi::rte_eth_dev_start(id) } == 0 { Ok(()) } else { Err("start") }
}

/// Gives every core its queues. The receiving cores have the first transmit queues, as
/// capsule numbers them; the others follow, and share where there are not enough.
fn deal_queues(
    id: u16,
    info: &PortInfo,
    all_cores: &[usize],
    pool: NonNull<ffi::rte_mempool>,
    refused: &Arc<AtomicU64>,
    alive: &Alive,
) -> BTreeMap<usize, Queue> {
    let locks: Vec<_> = (0..info.tx_queues).map(|_| Arc::new(Mutex::new(()))).collect();
    let others = all_cores.iter().filter(|core| !info.cores.contains(core));
    let order = info.cores.iter().chain(others);
    order
        .enumerate()
        .map(|(index, &core)| {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            let tx = index % info.tx_queues.max(1);
            let lock = info.tx_shared.then(|| locks.get(usize::from(tx)).cloned()).flatten();
            let queue = Queue {
                port: id,
                rx: (index < info.rx_queues).then_some(index),
                tx,
                pool,
                tx_lock: lock,
                mac: info.mac,
                mtu: info.mtu,
                refused: Arc::clone(refused),
                wide: frame::is_wide(),
                watch: None,
                _alive: Arc::clone(alive),
            };
            (core, queue)
        })
        .collect()
}

/// The NUMA node whose pool capsule gives a port.
fn pool_node(id: u16, cores: &[usize]) -> i32 {
    // SAFETY: any number may be asked for.
    let node = unsafe { ffi::rte_eth_dev_socket_id(id) };
    if node >= 0 {
        return node;
    }
    let first = cores.first().and_then(|core| i32::try_from(*core).ok()).unwrap_or(0);
    // SAFETY: a look into sysfs.
    unsafe { ffi::numa_node_of_cpu(first) }
}

fn mac(id: u16) -> Mac {
    let mut address = ffi::rte_ether_addr::default();
    // SAFETY: a place for the answer.
    unsafe { ffi::rte_eth_macaddr_get(id, &mut address) };
    Mac(address.addr_bytes)
}

/// Whether the link is up, and its speed in Mbit/s (0 where unknown). Drivers on a kernel's
/// interface call it up always, so that is asked as well.
pub(crate) fn link(id: u16, interface: Option<&str>) -> (bool, u32) {
    // SAFETY: all zeros is a valid value of this structure of numbers.
    let mut link: ffi::rte_eth_link = unsafe { mem::zeroed() };
    // SAFETY: a place for the answer.
    if unsafe { ffi::rte_eth_link_get_nowait(id, &mut link) } != 0 {
        return (false, 0);
    }
    let speed = if link.link_speed == u32::MAX { 0 } else { link.link_speed };
    let carrier = interface.and_then(interface::carrier).unwrap_or(Carrier::There);
    (link.link_status() != 0 && carrier == Carrier::There, speed)
}

fn text(pointer: *const std::os::raw::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: DPDK's names are constant C strings.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
