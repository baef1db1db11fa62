//! Why ports cannot be opened or run: one sentence each, with what to do.

use thiserror::Error;

/// What went wrong with the ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NicError {
    /// No port is configured.
    #[error("no port is configured; name at least one device and the cores that poll it")]
    NoPorts,
    /// A port without cores.
    #[error("port {port} has no cores; give it at least one, each gets a receive queue")]
    NoCores {
        /// The port's name.
        port: String,
    },
    /// A core named twice for a port.
    #[error("port {port} names core {core} twice; a core has one receive queue on a port")]
    CoreTwice {
        /// The port's name.
        port: String,
        /// The CPU.
        core: usize,
    },
    /// A core that cannot be used.
    #[error(
        "core {core} cannot be used ({reason}); choose cores out of those online \
         (`lscpu -e`) and allowed to this process (`taskset -p $$`)"
    )]
    CoreUnavailable {
        /// The CPU.
        core: usize,
        /// What the kernel says.
        reason: String,
    },
    /// Two ports with one name.
    #[error("two ports are named {port}; give each its own name")]
    NameTwice {
        /// The name.
        port: String,
    },
    /// Two ports on one device.
    #[error("ports {first} and {second} are both on device {device}; each needs its own")]
    DeviceTwice {
        /// The device.
        device: String,
        /// A port on it.
        first: String,
        /// Another port on it.
        second: String,
    },
    /// A value outside its range.
    #[error("{what} is {value}; it must be {allowed}")]
    OutOfRange {
        /// Which value.
        what: String,
        /// The value.
        value: String,
        /// The range, in words.
        allowed: String,
    },
    /// No hugepages are free.
    #[error(
        "{free_mib} MiB of hugepages are free and {need_mib} MiB are needed; reserve them \
         (`echo {pages} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages`), or set \
         no_huge for a lab without them"
    )]
    NoHugepages {
        /// MiB free now.
        free_mib: u64,
        /// MiB needed.
        need_mib: u64,
        /// 2-MiB pages that would be enough.
        pages: u64,
    },
    /// The hugepages are on another NUMA node.
    #[error(
        "NUMA node {node} has {free_mib} MiB of hugepages free and the packet buffers of its cores \
         need {need_mib} MiB; reserve them there \
         (`echo {pages} > /sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages`), \
         or poll with cores of another node"
    )]
    NoHugepagesOnNode {
        /// The node.
        node: u32,
        /// MiB free there now.
        free_mib: u64,
        /// MiB needed there.
        need_mib: u64,
        /// 2-MiB pages there that would be enough.
        pages: u64,
    },
    /// No hugetlbfs is mounted.
    #[error(
        "hugepages are reserved but no hugetlbfs is mounted; mount one \
         (`mkdir -p /dev/hugepages && mount -t hugetlbfs nodev /dev/hugepages`)"
    )]
    NoHugetlbfs,
    /// The pools do not fit the memory.
    #[error(
        "{mbufs} mbufs need about {need_mib} MiB and memory.mib is {have_mib}; write at least \
         {need_mib} there, or fewer mbufs"
    )]
    TooLittleMemory {
        /// Mbufs in all pools.
        mbufs: u64,
        /// MiB needed.
        need_mib: u64,
        /// MiB reserved.
        have_mib: u64,
    },
    /// The queues would empty the pool.
    #[error(
        "{have} mbufs are too few: the queues and the cores' caches can hold {need}; \
         set mbufs to at least {need}, or shorten the queues"
    )]
    TooFewMbufs {
        /// Mbufs configured.
        have: u64,
        /// Mbufs needed.
        need: u64,
    },
    /// There is no such device.
    #[error(
        "port {port}: there is no device {device}; `dpdk-devbind.py --status` lists what there is{detail}"
    )]
    NoSuchDevice {
        /// The port's name.
        port: String,
        /// The device.
        device: String,
        /// What DPDK says, if anything.
        detail: Detail,
    },
    /// There is no such network interface.
    #[error(
        "port {port}: there is no network interface {interface} in this network namespace; \
         `ip link` lists what there is"
    )]
    NoSuchInterface {
        /// The port's name.
        port: String,
        /// The interface.
        interface: String,
    },
    /// A file that a device reads or writes.
    #[error("port {port}: {file} cannot be {used} ({reason}); correct the device's arguments")]
    File {
        /// The port's name.
        port: String,
        /// The file.
        file: String,
        /// `read` or `written`.
        used: &'static str,
        /// What the kernel says.
        reason: String,
    },
    /// The kernel's driver has the device.
    #[error(
        "port {port}: device {device} is bound to {driver}; give it to DPDK \
         (`dpdk-devbind.py --bind=vfio-pci {device}`)"
    )]
    DriverNotBound {
        /// The port's name.
        port: String,
        /// The PCI address.
        device: String,
        /// The driver that has it, or "no driver".
        driver: String,
    },
    /// The device could not be made or probed.
    #[error("port {port}: DPDK cannot bring up {device}; check the device's arguments{detail}")]
    DeviceFailed {
        /// The port's name.
        port: String,
        /// The device.
        device: String,
        /// What DPDK says.
        detail: Detail,
    },
    /// Another program has the device.
    #[error(
        "port {port}: {device} is in use; stop the program that has it or take another queue{detail}"
    )]
    DeviceBusy {
        /// The port's name.
        port: String,
        /// The device.
        device: String,
        /// What DPDK says.
        detail: Detail,
    },
    /// A missing privilege.
    #[error(
        "port {port}: {device} needs {privilege}; run as root or grant it (`setcap`, systemd's AmbientCapabilities=)"
    )]
    NotPermitted {
        /// The port's name.
        port: String,
        /// The device.
        device: String,
        /// `CAP_NET_RAW` and so on.
        privilege: &'static str,
    },
    /// More cores than receive queues.
    #[error("port {port}: {cores} cores and only {queues} receive queue(s) on {device}; {advice}")]
    MoreCoresThanQueues {
        /// The port's name.
        port: String,
        /// The device.
        device: String,
        /// Cores configured.
        cores: usize,
        /// Receive queues there are.
        queues: u16,
        /// What to do.
        advice: &'static str,
    },
    /// The MTU is not possible.
    #[error(
        "port {port}: an MTU of {mtu} is not possible, the device allows {least} to {most}; write another mtu under the port"
    )]
    Mtu {
        /// The port's name.
        port: String,
        /// The MTU asked for.
        mtu: u16,
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// The RSS key has the wrong length.
    #[error(
        "port {port}: the RSS key has {have} bytes and the device wants {want}; give it one of that length"
    )]
    RssKey {
        /// The port's name.
        port: String,
        /// Bytes given.
        have: usize,
        /// Bytes wanted.
        want: u8,
    },
    /// DPDK was started before in this process.
    #[error(
        "ports were opened before in this process; DPDK starts once, so start the program again"
    )]
    AlreadyOpen,
    /// Another process uses the same file prefix.
    #[error(
        "another DPDK program runs with the file prefix {file_prefix}; stop it or choose \
         another file_prefix"
    )]
    AlreadyRunning {
        /// The prefix.
        file_prefix: String,
    },
    /// The runtime directory is not writable.
    #[error(
        "{directory} cannot be written, and DPDK keeps its lock there; set RUNTIME_DIRECTORY \
         to a folder of this user (systemd: RuntimeDirectory=)"
    )]
    RuntimeDirectory {
        /// The directory.
        directory: String,
    },
    /// DPDK does not start.
    #[error("DPDK does not start; look at its log (`--verbose`){detail}")]
    Eal {
        /// What DPDK says.
        detail: Detail,
    },
    /// The pool of mbufs cannot be made.
    #[error(
        "there is no memory for {mbufs} mbufs; raise memory.mib or reserve more hugepages{detail}"
    )]
    NoMemory {
        /// Mbufs in one pool.
        mbufs: u32,
        /// What DPDK says.
        detail: Detail,
    },
    /// A port refuses its set-up.
    #[error(
        "port {port}: {device} refuses to {step}; check its arguments, and that no other program has it{detail}"
    )]
    PortSetup {
        /// The port's name.
        port: String,
        /// The device.
        device: String,
        /// What was asked of it.
        step: &'static str,
        /// What DPDK says.
        detail: Detail,
    },
    /// A core that polls no port.
    #[error("core {core} polls no port; configure it for a port first")]
    UnknownCore {
        /// The CPU.
        core: usize,
    },
    /// A core's queues were taken before.
    #[error("the queues of core {core} are taken; take them once")]
    QueuesTaken {
        /// The CPU.
        core: usize,
    },
    /// A core without something to run, or with two.
    #[error("core {core} has {count} turns to run; give every core that polls exactly one")]
    Turns {
        /// The CPU.
        core: usize,
        /// How many were given.
        count: usize,
    },
    /// A core's thread was not scheduled at start.
    #[error(
        "a core did not start within {seconds} s; the machine is too busy, free the cores that poll"
    )]
    NotStarted {
        /// Seconds waited.
        seconds: u64,
    },
    /// The code of a core panicked.
    #[error(
        "core {core} stopped by a fault in its code ({message}); all cores were stopped, start again and report this"
    )]
    Panicked {
        /// The CPU.
        core: usize,
        /// The panic's message.
        message: String,
    },
}

/// What DPDK says, as the end of a sentence; empty when it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail(pub String);

impl std::fmt::Display for Detail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (DPDK: {})", self.0) }
    }
}
