//! Sockets that the standard library does not make: raw frames, raw packets, and TCP from a
//! chosen address.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{PATIENCE, node::Node};

/// `PACKET_IGNORE_OUTGOING` of `linux/if_packet.h`: frames sent here are not received here.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

fn checked(answer: libc::c_int) -> libc::c_int {
    assert!(answer >= 0, "{}", io::Error::last_os_error());
    answer
}

fn open(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> OwnedFd {
    // SAFETY: no pointers; the descriptor is new and owned by nobody else.
    unsafe {
        let fd = libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol);
        assert!(fd >= 0, "a raw socket needs root: {}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn option<T>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: T) {
    let size = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: reads `size` bytes of `value`, which lives here.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
    });
}

fn wait_at_most(socket: &OwnedFd, which: libc::c_int, time: Duration) {
    let value =
        libc::timeval { tv_sec: time.as_secs() as i64, tv_usec: i64::from(time.subsec_micros()) };
    option(socket, libc::SOL_SOCKET, which, value);
}

fn receive(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0u8; 16_384];
    // SAFETY: writes into the buffer, at most its length.
    let got = unsafe { libc::recv(socket.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    let length = usize::try_from(got).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Whole frames on an interface: sends them, receives all that come in.
pub struct Wire(OwnedFd);

impl Wire {
    /// Opens one on this interface of a node.
    pub fn on(node: &Node, interface: &str) -> Self {
        node.inside(|| {
            let name = CString::new(interface).unwrap();
            let every = (libc::ETH_P_ALL as u16).to_be();
            // SAFETY: a string that ends with NUL and lives here.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            assert_ne!(index, 0, "{interface}: {}", io::Error::last_os_error());
            let socket = open(libc::AF_PACKET, libc::SOCK_RAW, 0);
            option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1i32);
            wait_at_most(&socket, libc::SO_RCVTIMEO, Duration::from_millis(100));
            // SAFETY: all zero is a valid `sockaddr_ll`; bind reads it only.
            unsafe {
                let mut address: libc::sockaddr_ll = mem::zeroed();
                address.sll_family = libc::AF_PACKET as u16;
                address.sll_protocol = every;
                address.sll_ifindex = index as i32;
                let size = mem::size_of_val(&address) as libc::socklen_t;
                checked(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size));
            }
            Self(socket)
        })
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: reads the slice only.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The first frame that `wanted` makes something of; others are passed over.
    pub fn expect<T>(&self, what: &str, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = receive(&self.0).and_then(|frame| wanted(&frame)) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "no such frame came: {what}");
        }
    }

    /// All frames that have come in until there was none for a tenth of a second.
    pub fn drain(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| receive(&self.0)).collect()
    }
}

/// Raw IPv4 packets of one protocol; the kernel writes the IP header and finds the way.
pub struct RawIp(OwnedFd);

impl RawIp {
    /// Opens one in a node.
    pub fn on(node: &Node, protocol: u8) -> Self {
        node.inside(|| {
            let socket = open(libc::AF_INET, libc::SOCK_RAW, i32::from(protocol));
            wait_at_most(&socket, libc::SO_RCVTIMEO, Duration::from_millis(50));
            Self(socket)
        })
    }

    /// Sends what follows the IP header.
    pub fn send(&self, to: &str, payload: &[u8]) {
        let address = raw_address(SocketAddr::new(to.parse().unwrap(), 0));
        // SAFETY: reads the payload and the address, which live here.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                payload.as_ptr().cast(),
                payload.len(),
                0,
                (&raw const address.0).cast(),
                address.1,
            )
        };
        assert_eq!(sent, payload.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next packet with its IPv4 header, if one has come.
    pub fn receive(&self) -> Option<Vec<u8>> {
        receive(&self.0)
    }
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zero is a valid `sockaddr_storage`, and it is large and aligned enough for
    // the address of either family that is written to its start.
    unsafe {
        let mut storage: libc::sockaddr_storage = mem::zeroed();
        let size = match address {
            SocketAddr::V4(v4) => {
                let place = (&raw mut storage).cast::<libc::sockaddr_in>();
                (*place).sin_family = libc::AF_INET as u16;
                (*place).sin_port = v4.port().to_be();
                (*place).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                mem::size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let place = (&raw mut storage).cast::<libc::sockaddr_in6>();
                (*place).sin6_family = libc::AF_INET6 as u16;
                (*place).sin6_port = v6.port().to_be();
                (*place).sin6_addr.s6_addr = v6.ip().octets();
                mem::size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, size as libc::socklen_t)
    }
}

/// Connects from an address of a node (port 0: any) within the time.
pub fn connect(
    node: &Node,
    from: SocketAddr,
    to: SocketAddr,
    within: Duration,
) -> io::Result<TcpStream> {
    node.inside(|| {
        let family = if from.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let socket = open(family, libc::SOCK_STREAM, 0);
        // `connect` gives up after the time that a write may take.
        wait_at_most(&socket, libc::SO_SNDTIMEO, within);
        let (own, size) = raw_address(from);
        // SAFETY: reads an address that lives here.
        checked(unsafe { libc::bind(socket.as_raw_fd(), (&raw const own).cast(), size) });
        let (peer, size) = raw_address(to);
        // SAFETY: reads an address that lives here.
        match unsafe { libc::connect(socket.as_raw_fd(), (&raw const peer).cast(), size) } {
            0 => Ok(TcpStream::from(socket)),
            _ => Err(io::Error::last_os_error()),
        }
    })
}
