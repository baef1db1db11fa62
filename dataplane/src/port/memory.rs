//! A port in memory: what tests, `director replay` and `director explain` use.

use std::collections::VecDeque;

use super::{Burst, Frame, Port};
use crate::wire::ethernet::Mac;

/// Bytes kept free before a frame for tunnel headers, as DPDK's default headroom.
const HEADROOM: usize = 128;
/// The largest frame that a memory port can hold.
const MAX_FRAME: usize = 9_216;
/// The longest packet behind the headers of a link.
const MAX_DATAGRAM: usize = u16::MAX as usize + 64;

/// A frame in ordinary memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFrame {
    buffer: Vec<u8>,
    start: usize,
    most: usize,
}

impl MemoryFrame {
    /// A frame that holds a copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = vec![0; HEADROOM];
        buffer.extend_from_slice(bytes);
        Self { buffer, start: HEADROOM, most: MAX_FRAME }
    }

    /// The same for a packet as long as packets can be, which no port takes in one frame.
    pub fn of_any_length(bytes: &[u8]) -> Self {
        Self { most: MAX_DATAGRAM, ..Self::new(bytes) }
    }

    /// Makes all headroom free again, as a NIC does with a buffer that it receives into
    /// anew. What bytes the frame has then is unspecified.
    pub fn restart(&mut self) {
        self.start = HEADROOM.min(self.buffer.len());
    }
}

impl Frame for MemoryFrame {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    fn push_front(&mut self, n: usize) -> bool {
        if n > self.start {
            return false;
        }
        self.start -= n;
        true
    }

    fn set_len(&mut self, len: usize) -> bool {
        if len > self.most {
            return false;
        }
        self.buffer.resize(self.start + len, 0);
        true
    }
}

/// A port whose wire is two queues: push what arrives, take what was sent.
#[derive(Debug)]
pub struct MemoryPort {
    /// Frames that the next calls of `rx` will deliver.
    pub arriving: VecDeque<MemoryFrame>,
    /// Frames that were sent.
    pub sent: VecDeque<MemoryFrame>,
    /// How many more frames `tx` accepts; `None` is without limit. Lets a test fill the wire.
    pub tx_room: Option<usize>,
    mac: Mac,
    mtu: u16,
}

impl MemoryPort {
    /// A port with this MAC address and an MTU of 1500.
    pub fn new(mac: Mac) -> Self {
        Self { arriving: VecDeque::new(), sent: VecDeque::new(), tx_room: None, mac, mtu: 1500 }
    }

    /// The same port with another MTU.
    pub fn with_mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }
}

impl Port for MemoryPort {
    type Frame = MemoryFrame;

    fn rx(&mut self, burst: &mut Burst<MemoryFrame>) {
        while !burst.is_full() {
            let Some(frame) = self.arriving.pop_front() else { break };
            burst.push(frame);
        }
    }

    fn tx(&mut self, burst: &mut Burst<MemoryFrame>) {
        let room = self.tx_room.unwrap_or(usize::MAX).min(burst.len());
        self.sent.extend(burst.drain(..room));
        if let Some(left) = &mut self.tx_room {
            *left -= room;
        }
    }

    fn alloc(&mut self, len: usize) -> Option<MemoryFrame> {
        let mut frame = MemoryFrame::new(&[]);
        frame.set_len(len).then_some(frame)
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }
}
