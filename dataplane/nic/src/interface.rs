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

/// Whether it is up and has a carrier; `None` where the kernel does not tell.
pub(crate) fn is_running(interface: &str) -> Option<bool> {
    let answer = ask(interface, libc::SIOCGIFFLAGS)?;
    // SAFETY: the kernel has written this member of the union.
    let flags = i32::from(unsafe { answer.ifr_ifru.ifru_flags });
    Some(flags & libc::IFF_UP != 0 && flags & libc::IFF_RUNNING != 0)
}

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
        assert_eq!(is_running("nope0"), None);
    }
}
