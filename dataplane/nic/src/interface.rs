//! The kernel's network interfaces, for devices that sit on one. Asked by ioctl, because
//! `/sys/class/net` may show another network namespace than the one this thread is in.

use std::ffi::CString;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use dataplane::wire::ethernet::Mac;

/// Whether there is such an interface.
pub(crate) fn exists(interface: &str) -> bool {
    CString::new(interface).is_ok_and(|name| {
        // SAFETY: a valid C string.
        unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
    })
}

/// Its MTU in bytes; `None` where the kernel does not tell.
pub(crate) fn mtu(interface: &str) -> Option<u32> {
    let answer = ask(interface, libc::SIOCGIFMTU)?;
    // SAFETY: the kernel has written this member of the union.
    u32::try_from(unsafe { answer.ifr_ifru.ifru_mtu }).ok()
}

/// Whether frames can pass an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The operator has not set it up.
    Down,
    /// It is up, and nothing is at its other end.
    Absent,
    /// Frames pass.
    There,
}

/// Whether frames can pass it; `None` where the kernel does not tell.
pub(crate) fn carrier(interface: &str) -> Option<Carrier> {
    let answer = ask(interface, libc::SIOCGIFFLAGS)?;
    // SAFETY: the kernel has written this member of the union.
    let flags = i32::from(unsafe { answer.ifr_ifru.ifru_flags });
    Some(match (flags & libc::IFF_UP != 0, flags & libc::IFF_RUNNING != 0) {
        (false, _) => Carrier::Down,
        (true, false) => Carrier::Absent,
        (true, true) => Carrier::There,
    })
}

/// Something that a kernel's interface does to frames and that a poll-mode port on it cannot
/// undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Received segments are joined to packets longer than the MTU (software).
    Gro,
    /// The same in the device.
    Lro,
    /// Packets are sent longer than the MTU, for the device to cut.
    Tso,
    /// The same for the kernel to cut at the last moment.
    Gso,
    /// Checksums are left to the device.
    TxChecksum,
}

impl Offload {
    const ALL: [Self; 5] = [Self::Gro, Self::Lro, Self::Tso, Self::Gso, Self::TxChecksum];

    /// Its word for `ethtool -K`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gro => "gro",
            Self::Lro => "lro",
            Self::Tso => "tso",
            Self::Gso => "gso",
            Self::TxChecksum => "tx",
        }
    }
}

/// `ETHTOOL_G...` of linux/ethtool.h.
const GET_TX_CHECKSUM: u32 = 0x16;
const GET_TSO: u32 = 0x1e;
const GET_GSO: u32 = 0x23;
const GET_FLAGS: u32 = 0x25;
const GET_GRO: u32 = 0x2b;
/// `ETH_FLAG_LRO`.
const FLAG_LRO: u32 = 1 << 15;

/// Those that are switched on; none where the kernel does not tell.
pub(crate) fn offloads(interface: &str) -> Vec<Offload> {
    let is_on = |offload: &Offload| match offload {
        Offload::Gro => ethtool(interface, GET_GRO) == Some(1),
        Offload::Lro => ethtool(interface, GET_FLAGS).is_some_and(|flags| flags & FLAG_LRO != 0),
        Offload::Tso => ethtool(interface, GET_TSO) == Some(1),
        Offload::Gso => ethtool(interface, GET_GSO) == Some(1),
        Offload::TxChecksum => ethtool(interface, GET_TX_CHECKSUM) == Some(1),
    };
    Offload::ALL.into_iter().filter(is_on).collect()
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    value: u32,
}

fn ethtool(interface: &str, command: u32) -> Option<u32> {
    let mut question = EthtoolValue { command, value: 0 };
    let mut request = request(interface);
    request.ifr_ifru.ifru_data = (&raw mut question).cast();
    // The pointer in the request lives until the answer is there.
    tell(&mut request, SIOCETHTOOL).then_some(question.value)
}

/// linux/sockios.h.
const SIOCETHTOOL: libc::Ioctl = 0x8946;

/// Gives it a MAC address. False where the kernel refuses.
pub(crate) fn set_mac(interface: &str, mac: Mac) -> bool {
    let mut request = request(interface);
    request.ifr_ifru.ifru_hwaddr.sa_family = libc::ARPHRD_ETHER;
    // SAFETY: the address was zeroed with the rest of the request.
    let bytes = unsafe { &mut request.ifr_ifru.ifru_hwaddr.sa_data };
    for (to, from) in bytes.iter_mut().zip(mac.0) {
        *to = from as libc::c_char;
    }
    tell(&mut request, libc::SIOCSIFHWADDR)
}

fn ask(interface: &str, question: libc::Ioctl) -> Option<libc::ifreq> {
    let mut request = request(interface);
    tell(&mut request, question).then_some(request)
}

fn request(interface: &str) -> libc::ifreq {
    // SAFETY: all zeros is a valid request.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request
}

fn tell(request: &mut libc::ifreq, what: libc::Ioctl) -> bool {
    let Ok(socket) = UdpSocket::bind(("0.0.0.0", 0)) else { return false };
    // SAFETY: an open socket and a request with a terminated name, which the kernel reads
    // and fills in.
    unsafe { libc::ioctl(socket.as_raw_fd(), what, request) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_has_an_mtu() {
        assert!(exists("lo") && !exists("nope0"));
        assert!(mtu("lo").is_some_and(|mtu| mtu >= 1280));
        assert_eq!(mtu("nope0"), None);
        assert_eq!(carrier("nope0"), None);
        assert_eq!(carrier("lo"), Some(Carrier::There));
        assert_eq!(offloads("nope0"), []);
        assert!(offloads("lo").contains(&Offload::TxChecksum), "it never leaves the machine");
    }
}
