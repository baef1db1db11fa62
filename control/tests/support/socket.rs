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
pub struct Wire {
    socket: OwnedFd,
    vlan: Option<u16>,
}

impl Wire {
    /// Opens one on this interface of a node. It hears frames without a VLAN tag.
    pub fn on(node: &Node, interface: &str) -> Self {
        node.inside(|| {
            let name = CString::new(interface).unwrap();
            let every = (libc::ETH_P_ALL as u16).to_be();
            // SAFETY: a string that ends with NUL and lives here.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            assert_ne!(index, 0, "{interface}: {}", io::Error::last_os_error());
            let socket = open(libc::AF_PACKET, libc::SOCK_RAW, 0);
            option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1i32);
            // The kernel takes VLAN tags out of what it receives and tells them beside.
            option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1i32);
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
            Self { socket, vlan: None }
        })
    }

    /// Speaks and hears in this VLAN alone (IEEE 802.1Q); frames are given without the tag.
    pub fn in_vlan(self, vlan: u16) -> Self {
        Self { vlan: Some(vlan), ..self }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let mut bytes = frame.to_vec();
        if let Some(vlan) = self.vlan {
            let [high, low] = vlan.to_be_bytes();
            bytes.splice(12..12, [0x81, 0x00, high, low]);
        }
        let socket = self.socket.as_raw_fd();
        // SAFETY: reads the bytes only.
        let sent = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The first frame that `wanted` makes something of; others are passed over.
    pub fn expect<T>(&self, what: &str, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = self.next().flatten().and_then(|frame| wanted(&frame)) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "no such frame came: {what}");
        }
    }

    /// All frames that have come in until there was none for a tenth of a second.
    pub fn drain(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.next()).flatten().collect()
    }

    /// The next frame; inside `None` for one of another VLAN, outside if none came.
    fn next(&self) -> Option<Option<Vec<u8>>> {
        let mut bytes = vec![0u8; 16_384];
        let mut beside = [0u64; 16];
        let mut parts = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: the message points to buffers that live here, with their lengths; recvmsg
        // writes at most that much, and the control messages are walked by the macros made
        // for it. `tpacket_auxdata` may be read from any address.
        unsafe {
            let mut message: libc::msghdr = mem::zeroed();
            message.msg_iov = &raw mut parts;
            message.msg_iovlen = 1;
            message.msg_control = beside.as_mut_ptr().cast();
            message.msg_controllen = mem::size_of_val(&beside);
            let got = libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0);
            bytes.truncate(usize::try_from(got).ok()?);
            let mut tag = None;
            let mut control = libc::CMSG_FIRSTHDR(&raw const message);
            while let Some(header) = control.as_ref() {
                if (header.cmsg_level, header.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA)
                {
                    let data = libc::CMSG_DATA(control).cast::<libc::tpacket_auxdata>();
                    let told = data.read_unaligned();
                    if told.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                        tag = Some(told.tp_vlan_tci & 0x0FFF);
                    }
                }
                control = libc::CMSG_NXTHDR(&raw const message, control);
            }
            Some((tag == self.vlan).then_some(bytes))
        }
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
