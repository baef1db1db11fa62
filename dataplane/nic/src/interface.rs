//! The kernel's network interfaces, for devices that sit on one. Asked by ioctl, because
//! `/sys/class/net` may show another network namespace than the one this thread is in.

use std::ffi::CString;
use std::mem;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

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

fn ask(interface: &str, question: libc::Ioctl) -> Option<libc::ifreq> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // SAFETY: all zeros is a valid request.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    // SAFETY: an open socket and a request with a terminated name, which the kernel fills in.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), question, &mut request) };
    (answer == 0).then_some(request)
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
