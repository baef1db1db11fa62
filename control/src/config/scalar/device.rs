//! CPUs and DPDK devices.

use std::ops::RangeInclusive;

use super::{Reject, fitting, shown};
use crate::config::code::Code;
use crate::config::model::{CoreId, Device, PciAddress};

/// The highest CPU number that is accepted.
pub(in crate::config) const MAX_CORE: u64 = 1_023;

/// CPUs as Linux lists them: `1`, `1-3` or `1-3,7`; those that can be read, and what is
/// wrong with the others.
pub(in crate::config) fn cores(text: &str) -> (Vec<CoreId>, Vec<Reject>) {
    let (mut cores, mut rejects) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        match range(part) {
            Ok(range) => cores.extend(range.map(CoreId)),
            Err(reject) => rejects.push(reject),
        }
        if cores.len() as u64 > MAX_CORE + 1 {
            let what = "more cores than there can be".to_owned();
            rejects.push(Reject::new(Code::OutOfRange, what, "list each core once"));
            break;
        }
    }
    (cores, rejects)
}

/// `1` or `1-3`.
fn range(part: &str) -> Result<RangeInclusive<u16>, Reject> {
    let one = |text: &str| -> Result<u16, Reject> { fitting(text.trim(), 0..=MAX_CORE) };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (one(first)?, one(last)?);
    if first > last {
        let what = format!("{} is not a range of cores", shown(part));
        return Err(Reject::new(Code::BadValue, what, format!("write {last}-{first}")));
    }
    Ok(first..=last)
}

/// A PCI address or a DPDK vdev with its arguments.
pub(in crate::config) fn device(text: &str) -> Result<Device, Reject> {
    if let Some(address) = pci(text) {
        return Ok(Device::Pci(address));
    }
    vdev(text)
}

/// A DPDK vdev with its arguments.
pub(in crate::config) fn vdev(text: &str) -> Result<Device, Reject> {
    let bad = |hint: &str| {
        Err(Reject::new(Code::BadValue, format!("{} is not a DPDK device", shown(text)), hint))
    };
    if text.len() > 512 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("a device has no spaces and at most 512 characters");
    }
    let driver = text.split(',').next().unwrap_or_default();
    let known = ["net_", "virtio_user", "eth_", "auxiliary:", "dpni."];
    if !known.iter().any(|prefix| driver.starts_with(prefix)) {
        return bad("write a PCI address (0000:3b:00.0) or a vdev (net_af_packet0,iface=eth0)");
    }
    for argument in text.split(',').skip(1) {
        if let Some(interface) = argument.strip_prefix("iface=") {
            interface_name(interface)?;
        }
    }
    Ok(Device::Vdev(text.to_owned()))
}

/// The kernel's names of network interfaces have 15 bytes at most (IFNAMSIZ).
fn interface_name(name: &str) -> Result<(), Reject> {
    if name.len() > 15 {
        let what = format!("the interface name {} has more than 15 characters", shown(name));
        return Err(Reject::new(Code::OutOfRange, what, "Linux allows 1 to 15"));
    }
    if name.is_empty() || matches!(name, "." | "..") || name.contains(['/', ':']) {
        let what = format!("{} is not the name of a network interface", shown(name));
        return Err(Reject::new(Code::BadValue, what, "such as iface=eth0"));
    }
    Ok(())
}

/// `0000:3b:00.0`, or `3b:00.0` in domain 0.
fn pci(text: &str) -> Option<PciAddress> {
    let hex = |text: &str, most: usize| {
        let fits = !text.is_empty() && text.len() <= most;
        u16::from_str_radix(text, 16).ok().filter(|_| fits && !text.starts_with('+'))
    };
    let (rest, function) = text.split_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.split_once(':').unwrap_or(("0", rest));
    Some(PciAddress {
        domain: hex(domain, 4)?,
        bus: u8::try_from(hex(bus, 2)?).ok()?,
        device: u8::try_from(hex(device, 2)?).ok().filter(|device| *device < 0x20)?,
        function: u8::try_from(hex(function, 1)?).ok().filter(|function| *function < 8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_come_as_linux_lists_them() {
        let read = |text| {
            let (known, rejects) = cores(text);
            (known.iter().map(|core| core.0).collect::<Vec<_>>(), rejects.len())
        };
        assert_eq!(read("1-3,7"), (vec![1, 2, 3, 7], 0));
        assert_eq!(read("3-1"), (vec![], 1));
        assert_eq!(read("1,1024,x,1"), (vec![1, 1], 2));
        assert_eq!(read("0-1023,0-1023").1, 1);
    }

    #[test]
    fn devices_are_pci_addresses_or_vdevs() {
        assert_eq!(device("0000:3b:00.0").unwrap().to_string(), "0000:3b:00.0");
        assert_eq!(device("3b:00.1").unwrap().to_string(), "0000:3b:00.1");
        assert_eq!(device("net_af_packet0,iface=eth0").unwrap().name(), "net_af_packet0");
        assert!(vdev("net_tap0,iface=fifteen-letters").is_ok());
        let long = vdev("net_tap0,iface=sixteen-letters-").unwrap_err();
        assert_eq!(long.code, Code::OutOfRange);
        assert!(vdev("net_tap0,iface=a/b").is_err() && vdev("net_tap0,iface=").is_err());
        for bad in ["eth0", "0000:3b:20.0", "0000:3b:00.8", "net_tap0 ,x", "", "::.0"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }
}
