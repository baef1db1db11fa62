//! The other end of a port: a raw socket on an interface.

use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{pattern, swap_macs};

/// The EtherType of the tests' frames (for local experiments).
const ETHERTYPE: u16 = 0x88B5;

/// A raw socket that sends and receives whole frames of the tests' EtherType.
pub struct Wire(OwnedFd);

impl Wire {
    /// Opens one on this interface.
    pub fn on(interface: &str) -> Self {
        let name = CString::new(interface).unwrap();
        // SAFETY: plain system calls on values that live here; every answer is checked.
        unsafe {
            let index = libc::if_nametoindex(name.as_ptr());
            assert_ne!(index, 0, "{interface}: {}", io::Error::last_os_error());
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let socket = OwnedFd::from_raw_fd(fd);
            let mut address: libc::sockaddr_ll = mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ETHERTYPE.to_be();
            address.sll_ifindex = index as i32;
            let size = mem::size_of_val(&address) as u32;
            let answer = libc::bind(fd, (&raw const address).cast(), size);
            assert_eq!(answer, 0, "{}", io::Error::last_os_error());
            let patience = libc::timeval { tv_sec: 10, tv_usec: 0 };
            let size = mem::size_of_val(&patience) as u32;
            let option = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
            let answer =
                libc::setsockopt(fd, option.0, option.1, (&raw const patience).cast(), size);
            assert_eq!(answer, 0, "{}", io::Error::last_os_error());
            Self(socket)
        }
    }

    pub fn send(&self, frame: &[u8]) {
        // SAFETY: reads the slice only.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame that came in, or a panic after ten seconds. Frames that this socket
    /// sent itself are not delivered to it.
    pub fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0u8; 16_384];
        // SAFETY: writes into the buffer only.
        let got =
            unsafe { libc::recv(self.0.as_raw_fd(), frame.as_mut_ptr().cast(), frame.len(), 0) };
        assert!(got >= 0, "no frame came back: {}", io::Error::last_os_error());
        frame.truncate(got as usize);
        frame
    }

    /// Sends `frames` frames of 60 to `longest` bytes and expects each back with its MAC
    /// addresses exchanged and every other byte as it was.
    pub fn converse(&self, frames: usize, longest: usize) {
        for n in 0..frames {
            let len = 60 + n * 97 % (longest - 59);
            let mut frame = pattern(n as u8, len);
            self.send(&frame);
            swap_macs(&mut frame);
            assert_eq!(self.receive(), frame, "frame {n}");
        }
    }
}
