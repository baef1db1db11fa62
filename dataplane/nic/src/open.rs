//! From a configuration to running ports, and back to nothing.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use capsule::Runtime;
use capsule::config::{MempoolConfig, PortConfig as CapsulePort, RuntimeConfig};
use capsule_ffi as ffi;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as CoreError;

use dataplane::wire::ethernet::Mac;

use crate::config::{Device, NicConfig};
use crate::error::{Detail, NicError};
use crate::handle::{NicHandle, Shared};
use crate::plan;
use crate::port::{self, OpenPort, PortInfo};
use crate::preflight;
use crate::queue::{Alive, Queue};
use crate::run::{START, Totals, TurnFn, Turns};
use crate::{interface, log};

static OPENED: AtomicBool = AtomicBool::new(false);

/// Opened ports. Stays on the thread that opened it.
pub struct Nic {
    runtime: Option<Runtime>,
    ports: Vec<PortInfo>,
    ids: Vec<u16>,
    queues: BTreeMap<usize, Option<Vec<Queue>>>,
    shared: Arc<Shared>,
    alive: Alive,
    runtime_files: PathBuf,
}

/// Starts DPDK and the ports. The calling thread is pinned to the main core.
///
/// Works once per process, whether or not it succeeds.
///
/// # Errors
/// [`NicError`], after which no port is open; what can be checked without DPDK is checked
/// before it is started.
pub fn open(config: &NicConfig) -> Result<Nic, NicError> {
    preflight::check(config)?;
    if OPENED.swap(true, Ordering::AcqRel) {
        return Err(NicError::AlreadyOpen);
    }
    log::capture()?;
    log::begin_step();
    preflight::pin(config.main_core)?;
    plan::prepare(config);
    let settings = capsule_config(config)?;
    let built = log::quietly(|| catch_unwind(AssertUnwindSafe(|| Runtime::build(settings))));
    let runtime = match built {
        Ok(Ok(runtime)) => runtime,
        Ok(Err(error)) => return Err(failed(config, &error.to_string())),
        Err(_) => return Err(failed(config, "capsule panicked")),
    };
    let mut nic = Nic {
        runtime: Some(runtime),
        ports: Vec::new(),
        ids: Vec::new(),
        queues: config.cores().into_iter().map(|core| (core, Some(Vec::new()))).collect(),
        shared: Arc::new(Shared::new(0, Vec::new())),
        alive: Alive::default(),
        runtime_files: runtime_files(config),
    };
    let cores = config.cores();
    let mut shared = Vec::new();
    for port in &config.ports {
        let OpenPort { info, queues, shared: port } = port::finish(port, &cores, &nic.alive)?;
        for (core, queue) in queues {
            if let Some(Some(list)) = nic.queues.get_mut(&core) {
                list.push(queue);
            }
        }
        nic.ids.push(port.id);
        shared.push(port);
        nic.ports.push(info);
    }
    nic.shared = Arc::new(Shared::new(cores.len(), shared));
    Ok(nic)
}

impl Nic {
    /// The ports, in the configured order.
    pub fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    /// Gives the kernel's end of a tap port a MAC address, so that it can stand for the NIC
    /// port behind which it is. False where the port is no tap or the kernel refuses.
    pub fn set_kernel_mac(&self, port: usize, mac: Mac) -> bool {
        let Some(port) = self.ports.get(port) else { return false };
        let device = Device::parse(&port.device);
        device.is("net_tap")
            && device.values("iface").next().is_some_and(|name| interface::set_mac(name, mac))
    }

    /// The folder where DPDK keeps its lock and memory maps while this process runs.
    pub fn runtime_files(&self) -> &Path {
        &self.runtime_files
    }

    /// The cores that poll, in rising order.
    pub fn cores(&self) -> Vec<usize> {
        self.queues.keys().copied().collect()
    }

    /// A core's queues, one for each port in the configured order. On ports that other cores
    /// receive from, the queue only transmits ([`Queue::receives`]).
    ///
    /// # Errors
    /// [`NicError::UnknownCore`] where the core polls no port, [`NicError::QueuesTaken`] the
    /// second time.
    pub fn take_queues(&mut self, core: usize) -> Result<Vec<Queue>, NicError> {
        let queues = self.queues.get_mut(&core).ok_or(NicError::UnknownCore { core })?;
        queues.take().ok_or(NicError::QueuesTaken { core })
    }

    /// Statistics and the stop switch, for any thread.
    pub fn handle(&self) -> NicHandle {
        NicHandle { shared: Arc::clone(&self.shared) }
    }

    /// Runs each core's turns on its own pinned thread until all have answered
    /// [`crate::Turn::Stop`], or [`NicHandle::stop`] was called. Then sends what is left in the
    /// queues, stops and closes the ports and ends DPDK. Takes a second at least.
    ///
    /// The calling thread sleeps meanwhile, except where the main core is one of the cores.
    /// No signal handler is installed.
    ///
    /// # Errors
    /// [`NicError::UnknownCore`] and [`NicError::Turns`] before anything runs;
    /// [`NicError::NotStarted`] and [`NicError::Panicked`] after all cores have ended.
    pub fn run(mut self, turns: Vec<(usize, TurnFn)>) -> Result<Totals, NicError> {
        for (core, _) in &turns {
            if !self.queues.contains_key(core) {
                return Err(NicError::UnknownCore { core: *core });
            }
        }
        for core in self.queues.keys() {
            let count = turns.iter().filter(|(given, _)| given == core).count();
            if count != 1 {
                return Err(NicError::Turns { core: *core, count });
            }
        }
        self.queues.clear();
        let Some(mut runtime) = self.runtime.take() else { return Err(NicError::AlreadyOpen) };
        for (core, turn) in turns {
            let shared = Arc::clone(&self.shared);
            let turn = Mutex::new(Some(turn));
            let install = move |_| {
                let turn = turn.lock().unwrap_or_else(PoisonError::into_inner).take();
                Turns::new(core, turn, shared)
            };
            if let Err(error) = runtime.add_pipeline_to_core(core, install) {
                self.runtime = Some(runtime);
                return Err(NicError::Eal { detail: Detail(error.to_string()) });
            }
        }
        let ended = runtime.execute();
        self.runtime = Some(runtime);
        self.close();
        if let Some(fault) = self.shared.take_fault() {
            return Err(fault);
        }
        if let Err(error) = ended {
            return Err(NicError::Eal { detail: Detail(error.to_string()) });
        }
        if self.shared.started.load(Ordering::Acquire) < self.shared.cores {
            return Err(NicError::NotStarted { seconds: START.as_secs() });
        }
        let mbufs_held = ffi::held_mbufs();
        if mbufs_held > 0 {
            tracing::warn!(mbufs_held, "frames were kept past the end of the ports");
        }
        Ok(Totals { stats: self.handle().stats(), mbufs_held })
    }

    /// Stops and closes the ports and ends DPDK, keeping memory that is still pointed to.
    fn close(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        self.queues.clear();
        self.shared.close();
        for id in &self.ids {
            // SAFETY: an open port; stopping a stopped one changes nothing.
            unsafe { ffi::rte_eth_dev_stop(*id) };
        }
        if Arc::strong_count(&self.alive) > 1 {
            ffi::keep_memory();
        }
        log::quietly(|| drop(runtime));
        remove(&self.runtime_files);
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Nic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nic").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// Why capsule could not bring everything up; takes DPDK down again.
fn failed(config: &NicConfig, message: &str) -> NicError {
    let prefix = &config.memory.file_prefix;
    let error = if !ffi::eal_is_ready() {
        let detail = log::cause();
        let named = config.ports.iter().find(|p| detail.0.contains(&p.parsed_device().name));
        if log::mentions("another primary process") {
            NicError::AlreadyRunning { file_prefix: prefix.clone() }
        } else if let Some(port) = named {
            let (port, device) = (port.name.clone(), port.device.clone());
            NicError::DeviceFailed { port, device, detail }
        } else {
            NicError::Eal { detail }
        }
    } else if ffi::pool_failed() {
        NicError::NoMemory { mbufs: config.mbufs, detail: log::cause() }
    } else {
        plan::diagnose().unwrap_or_else(|| NicError::Eal { detail: Detail(message.to_owned()) })
    };
    // SAFETY: capsule's threads are parked for good, and nobody has a port.
    unsafe { ffi::rte_eal_cleanup() };
    if !matches!(error, NicError::AlreadyRunning { .. }) {
        remove(&runtime_files(config));
    }
    error
}

/// Where DPDK keeps its lock and memory maps while this process runs.
fn runtime_files(config: &NicConfig) -> PathBuf {
    preflight::runtime_directory().join("dpdk").join(&config.memory.file_prefix)
}

/// DPDK leaves its files behind; nobody else has this prefix while its lock is held.
fn remove(runtime_files: &Path) {
    if let Err(error) = fs::remove_dir_all(runtime_files) {
        tracing::debug!(%error, "{} stays behind", runtime_files.display());
    }
}

/// The same configuration as capsule writes it.
fn capsule_config(config: &NicConfig) -> Result<RuntimeConfig, NicError> {
    let mut words: Vec<String> = ["--no-telemetry".to_owned()].into();
    if config.memory.no_huge {
        words.extend(["--no-huge".to_owned(), "-m".to_owned(), config.reserved_mib().to_string()]);
    } else {
        words.push("--huge-unlink".to_owned());
        if config.memory.mib > 0 {
            words.extend(["-m".to_owned(), config.memory.mib.to_string()]);
        }
    }
    let mut ports = Vec::new();
    let mut any_pci = false;
    for port in &config.ports {
        let device = port.parsed_device();
        any_pci |= device.pci;
        if let (true, Some(args)) = (device.pci, &device.args) {
            words.extend(["-a".to_owned(), format!("{},{args}", device.name)]);
        }
        ports.push(CapsulePort {
            name: port.name.clone(),
            device: device.name,
            args: device.args,
            cores: port.cores.iter().map(|c| core(*c)).collect::<Result<_, _>>()?,
            rxd: usize::from(port.rx_descriptors),
            txd: usize::from(port.tx_descriptors),
            promiscuous: port.promiscuous,
            multicast: port.multicast,
            kni: false,
        });
    }
    if !any_pci {
        words.push("--no-pci".to_owned());
    }
    Ok(RuntimeConfig {
        app_name: "director".to_owned(),
        secondary: false,
        app_group: Some(config.memory.file_prefix.clone()),
        master_core: core(config.main_core)?,
        cores: Vec::new(),
        mempool: MempoolConfig {
            capacity: config.mbufs as usize,
            cache_size: config.mbuf_cache as usize,
        },
        ports,
        dpdk_args: Some(words.join(" ")),
        duration: Some(START),
    })
}

/// capsule's core type, which it lets nobody name or make other than by deserializing.
fn core<'de, T: Deserialize<'de>>(core: usize) -> Result<T, NicError> {
    let number: serde::de::value::UsizeDeserializer<CoreError> = core.into_deserializer();
    T::deserialize(number).map_err(|e| NicError::CoreUnavailable { core, reason: e.to_string() })
}
