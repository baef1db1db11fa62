//! What capsule cannot say about ports and a hook says for it, and what became of that.

use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use capsule_ffi as ffi;
use dataplane::rss::RssKey;

use crate::config::{NicConfig, PortConfig};
use crate::error::NicError;
use crate::log;
use crate::rss;

struct Plan {
    ports: Vec<PortPlan>,
    cores: usize,
}

struct PortPlan {
    config: PortConfig,
    problem: Option<NicError>,
    configured: Option<(u16, u16)>,
    rss_fields: u64,
    /// The key that was made to steer by client, or why there is none.
    steering: Option<Result<RssKey, &'static str>>,
}

static PLAN: Mutex<Plan> = Mutex::new(Plan { ports: Vec::new(), cores: 0 });

fn plan() -> MutexGuard<'static, Plan> {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes down what capsule cannot say about the ports; [`on_configure`] applies it.
pub(crate) fn prepare(config: &NicConfig) {
    let mut plan = plan();
    plan.cores = config.cores().len();
    plan.ports = config
        .ports
        .iter()
        .map(|port| PortPlan {
            config: port.clone(),
            problem: None,
            configured: None,
            rss_fields: 0,
            steering: None,
        })
        .collect();
    drop(plan);
    ffi::set_data_room(data_room(config));
    ffi::set_configure_hook(on_configure);
}

/// Bytes of an mbuf: headroom, and the longest frame with two VLAN tags, at least 2,048.
pub(crate) fn data_room(config: &NicConfig) -> u16 {
    const ETHERNET_AND_TAGS: u16 = 14 + 2 * 4;
    let longest = config.ports.iter().map(|port| port.mtu).max().unwrap_or(0);
    let frame = longest.saturating_add(ETHERNET_AND_TAGS).max(2048);
    frame.saturating_add(63) / 64 * 64 + ffi::RTE_PKTMBUF_HEADROOM as u16
}

/// Sees a port's configuration before DPDK does: a transmit queue for every core, the MTU,
/// the RSS key, and fast release of mbufs only where there is one pool to release them to.
fn on_configure(id: u16, rx_queues: u16, tx_queues: &mut u16, conf: &mut ffi::rte_eth_conf) {
    let Some(device) = device_info(id) else { return };
    let mut plan = plan();
    let wanted = u16::try_from(plan.cores).unwrap_or(u16::MAX).max(*tx_queues);
    let Some(port) = plan.ports.iter_mut().find(|p| id_of(&p.config) == Some(id)) else { return };
    *tx_queues = wanted.min(device.max_tx_queues).max(*tx_queues);
    port.configured = Some((rx_queues, *tx_queues));
    if ffi::pools().len() > 1 {
        conf.txmode.offloads &= !ffi::DEV_TX_OFFLOAD_MBUF_FAST_FREE;
    }
    let (least, most) = (u32::from(device.min_mtu), u32::from(device.max_mtu));
    conf.rxmode.mtu = u32::from(port.config.mtu);
    if conf.rxmode.mtu < least || conf.rxmode.mtu > most {
        let name = port.config.name.clone();
        port.problem = Some(NicError::Mtu { port: name, mtu: port.config.mtu, least, most });
    }
    if let (Some(steering), None, 2..) = (port.config.steering, &port.config.rss_key, rx_queues) {
        let made = rss::steering_key(&steering, &device);
        port.config.rss_key = made.as_ref().ok().map(|key| key.bytes.clone());
        port.steering = Some(made);
    }
    if let Some(key) = port.config.rss_key.as_mut().filter(|_| rx_queues > 1) {
        match u8::try_from(key.len()) {
            Ok(have) if have == rss::key_len(&device) => {
                // The key lives in the plan, which is not changed while ports are set up.
                conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
                conf.rx_adv_conf.rss_conf.rss_key_len = have;
            }
            _ => {
                let (have, want) = (key.len(), rss::key_len(&device));
                port.problem =
                    Some(NicError::RssKey { port: port.config.name.clone(), have, want });
            }
        }
    }
    port.rss_fields = conf.rx_adv_conf.rss_conf.rss_hf;
}

/// The number of a configured port's device, if DPDK has it.
pub(crate) fn id_of(config: &PortConfig) -> Option<u16> {
    let name = CString::new(config.parsed_device().name).ok()?;
    let mut id = 0;
    // SAFETY: a valid C string and a place for the answer.
    let answer = unsafe { ffi::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
    (answer == 0).then_some(id)
}

pub(crate) fn device_info(id: u16) -> Option<ffi::rte_eth_dev_info> {
    let mut info = ffi::rte_eth_dev_info::default();
    // SAFETY: a place for the answer; an unknown port is an error.
    (unsafe { ffi::rte_eth_dev_info_get(id, &mut info) } == 0).then_some(info)
}

/// Which port made capsule fail, and why: the first that is missing, has too few queues,
/// cannot have what the plan wants, or was not configured to its end.
pub(crate) fn diagnose() -> Option<NicError> {
    let plan = plan();
    for port in &plan.ports {
        let PortConfig { name, device, cores, .. } = &port.config;
        let (name, device) = (name.clone(), device.clone());
        let Some(id) = id_of(&port.config) else {
            // capsule takes the ports down that it had set up before another one failed.
            if port.configured.is_some() {
                continue;
            }
            let detail = log::cause();
            return Some(if log::mentions("Device or resource busy") {
                NicError::DeviceBusy { port: name, device, detail }
            } else {
                NicError::DeviceFailed { port: name, device, detail }
            });
        };
        if let Some(info) = device_info(id) {
            let queues = info.max_rx_queues.min(info.max_tx_queues);
            if usize::from(queues) < cores.len() {
                let advice = queue_advice(&port.config);
                let cores = cores.len();
                return Some(NicError::MoreCoresThanQueues {
                    port: name,
                    device,
                    cores,
                    queues,
                    advice,
                });
            }
        }
        if port.problem.is_some() {
            return port.problem.clone();
        }
        if port.configured.is_none() {
            break;
        }
    }
    let last = plan.ports.iter().rfind(|p| p.configured.is_some()).or(plan.ports.first())?;
    let (port, device) = (last.config.name.clone(), last.config.device.clone());
    let detail = log::cause();
    Some(if log::mentions("busy") {
        NicError::DeviceBusy { port, device, detail }
    } else {
        NicError::PortSetup { port, device, step: "set up its queues", detail }
    })
}

pub(crate) fn queue_advice(config: &PortConfig) -> &'static str {
    let device = config.parsed_device();
    if device.is("net_af_packet") {
        "add qpairs=N to the device's arguments or take fewer cores"
    } else if device.is("net_af_xdp") {
        "add queue_count=N to the device's arguments or take fewer cores"
    } else if device.is("net_vhost") || device.is("net_virtio_user") {
        "add queues=N to the device's arguments or take fewer cores"
    } else {
        "take fewer cores or a device with more queues"
    }
}

/// What became of a port's plan while capsule set it up.
pub(crate) struct Configured {
    pub rx_queues: u16,
    pub tx_queues: u16,
    pub fields: u64,
    pub key: Option<Vec<u8>>,
    pub steering: Option<Result<RssKey, &'static str>>,
}

pub(crate) fn configured(config: &PortConfig) -> Result<Configured, NicError> {
    let plan = plan();
    let planned = plan.ports.iter().find(|p| p.config.name == config.name);
    if let Some(problem) = planned.and_then(|p| p.problem.clone()) {
        return Err(problem);
    }
    let (rx_queues, tx_queues) = planned.and_then(|p| p.configured).unwrap_or((0, 0));
    Ok(Configured {
        rx_queues,
        tx_queues,
        fields: planned.map_or(0, |p| p.rss_fields),
        key: planned.and_then(|p| p.config.rss_key.clone()),
        steering: planned.and_then(|p| p.steering.clone()),
    })
}
