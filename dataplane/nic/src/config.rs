//! What the program says about memory, cores and ports.

use capsule_ffi::is_pci_address;

/// Everything that [`crate::open`] needs to know.
#[derive(Clone, Debug)]
pub struct NicConfig {
    /// DPDK's memory.
    pub memory: Memory,
    /// The CPU of the thread that opens and runs the ports; it sleeps while they run. May
    /// also be one of a port's cores: that core's turns then run on this thread.
    pub main_core: usize,
    /// Mbufs in each NUMA node's pool. Two to the power of n, minus one, wastes no memory.
    pub mbufs: u32,
    /// Mbufs that each core keeps at hand, 0 to 512. 256 suits most.
    pub mbuf_cache: u32,
    /// The ports, in the order in which [`crate::Nic::take_queues`] answers.
    pub ports: Vec<PortConfig>,
}

/// DPDK's memory.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Take ordinary memory: for tests, labs and virtual devices.
    pub no_huge: bool,
    /// MiB to reserve. Without hugepages this is all that DPDK has (0 is taken for 512), and
    /// an mbuf takes 4 KiB of it; with hugepages 0 means "as needed", and it takes 2.5 KiB.
    pub mib: u32,
    /// Tells apart DPDK programs on one machine; letters, digits, `.`, `_` and `-`.
    pub file_prefix: String,
}

/// One port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// The port's name in Director.
    pub name: String,
    /// A PCI address (`0000:3b:00.0`) or a virtual device with its arguments
    /// (`net_af_packet0,iface=eth0`).
    pub device: String,
    /// The CPUs that receive from this port, one receive queue each. Every core of every
    /// port can transmit on every port.
    pub cores: Vec<usize>,
    /// Frames that a receive queue holds; the driver may round it.
    pub rx_descriptors: u16,
    /// Frames that a transmit queue holds; the driver may round it.
    pub tx_descriptors: u16,
    /// The largest IP packet, 576 to 9,216 bytes.
    pub mtu: u16,
    /// Receive frames for other stations, too.
    pub promiscuous: bool,
    /// Receive all multicast frames. IPv6 neighbour discovery needs it.
    pub multicast: bool,
    /// The port leads to this machine's kernel, not to a wire. Passed on in
    /// [`crate::PortInfo`], changes nothing here.
    pub kernel_facing: bool,
    /// The key of receive-side scaling; `None` leaves the driver's own.
    pub rss_key: Option<Vec<u8>>,
}

impl PortConfig {
    /// A port with 1,024 descriptors each way, an MTU of 1500, multicast on.
    pub fn new(name: &str, device: &str, cores: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            device: device.to_owned(),
            cores: cores.to_vec(),
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            promiscuous: false,
            multicast: true,
            kernel_facing: false,
            rss_key: None,
        }
    }

    /// The kernel's interface that the device sits on, where it does.
    pub fn interface(&self) -> Option<String> {
        self.parsed_device().interface()
    }

    /// The device's address on the PCI bus, where it is there.
    pub fn pci_address(&self) -> Option<String> {
        let device = self.parsed_device();
        device.pci.then_some(device.name)
    }

    /// Whether it is a virtual device of this driver, `net_af_packet` for example.
    pub fn is_virtual(&self, driver: &str) -> bool {
        self.parsed_device().is(driver)
    }

    pub(crate) fn parsed_device(&self) -> Device {
        Device::parse(&self.device)
    }

    /// The cores in the order of the port's queues.
    pub(crate) fn sorted_cores(&self) -> Vec<usize> {
        let mut cores = self.cores.clone();
        cores.sort_unstable();
        cores
    }
}

impl NicConfig {
    /// Every core that polls, in rising order.
    pub fn cores(&self) -> Vec<usize> {
        let mut cores: Vec<usize> = self.ports.iter().flat_map(|p| p.cores.clone()).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }

    /// MiB that DPDK reserves without hugepages.
    pub(crate) fn reserved_mib(&self) -> u32 {
        if self.memory.mib == 0 { 512 } else { self.memory.mib }
    }
}

/// A device as DPDK is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// `0000:3b:00.0` or `net_af_packet0`: how DPDK names the port.
    pub name: String,
    /// What follows the first comma.
    pub args: Option<String>,
    /// Whether the name is a PCI address.
    pub pci: bool,
}

impl Device {
    pub(crate) fn parse(text: &str) -> Self {
        let (name, args) = match text.split_once(',') {
            Some((name, args)) => (name, Some(args.to_owned())),
            None => (text, None),
        };
        let pci = is_pci_address(name);
        let short = pci && name.bytes().filter(|b| *b == b':').count() == 1;
        let name = match (pci, short) {
            (true, true) => format!("0000:{}", name.to_ascii_lowercase()),
            (true, false) => name.to_ascii_lowercase(),
            (false, _) => name.to_owned(),
        };
        Self { name, args, pci }
    }

    /// The values of an argument: `iface` in `net_af_packet0,iface=eth0`.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let args = self.args.as_deref().unwrap_or_default();
        args.split(',')
            .filter_map(|arg| arg.split_once('='))
            .filter_map(move |(k, value)| (k == key).then_some(value))
    }

    /// The kernel's interface that the device sits on, if it does.
    pub fn interface(&self) -> Option<String> {
        let on_one = self.is("net_af_packet") || self.is("net_af_xdp");
        self.values("iface").next().filter(|_| on_one).map(str::to_owned)
    }

    /// Whether this is a virtual device of `driver` (`net_tap` of `net_tap0`). DPDK knows
    /// some drivers by an older name, too, with `eth_` for `net_`.
    pub fn is(&self, driver: &str) -> bool {
        let plain =
            |name: &str| name.strip_prefix("net_").or(name.strip_prefix("eth_")).map(str::to_owned);
        let (Some(name), Some(driver)) = (plain(&self.name), plain(driver)) else { return false };
        let number = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'_');
        !self.pci && name.strip_prefix(&driver).is_some_and(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_gets_its_domain_and_small_letters() {
        let device = Device::parse("3B:00.0,rx_vec_en=0");
        assert_eq!(device.name, "0000:3b:00.0");
        assert_eq!(device.args.as_deref(), Some("rx_vec_en=0"));
        assert!(device.pci);
    }

    #[test]
    fn a_virtual_device_is_known_by_its_driver_and_its_arguments() {
        let device = Device::parse("net_pcap0,rx_pcap=a.pcap,tx_pcap=b.pcap");
        assert!(device.is("net_pcap") && !device.is("net_p") && !device.is("net_tap"));
        assert_eq!(device.values("rx_pcap").collect::<Vec<_>>(), ["a.pcap"]);
        assert_eq!(device.values("iface").count(), 0);
        let older = Device::parse("eth_af_packet0,iface=eth0");
        assert_eq!(older.interface().as_deref(), Some("eth0"));
    }
}
