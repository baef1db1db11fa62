//! A port in ordinary memory whose wire is a stack of frames: what was sent is received
//! again, so that nothing is allocated while it runs.

use dataplane::port::memory::MemoryFrame;
use dataplane::port::{Burst, Port};
use dataplane::wire::ethernet::Mac;

/// See the module.
#[derive(Debug)]
pub struct RecyclePort {
    frames: Vec<MemoryFrame>,
    mac: Mac,
}

impl RecyclePort {
    /// A port over so many frames of `len` bytes. A driver's own working set is a few
    /// hundred, too.
    pub fn new(mac: Mac, frames: usize, len: usize) -> Self {
        // Tunnel headers and longer frames must find their memory there already.
        let frame = MemoryFrame::new(&vec![0; len]);
        let mut stack = Vec::with_capacity(2 * frames);
        stack.resize(frames, frame);
        Self { frames: stack, mac }
    }

    fn put_back(&mut self, burst: &mut Burst<MemoryFrame>) {
        for mut frame in burst.drain(..) {
            frame.restart();
            self.frames.push(frame);
        }
    }
}

impl Port for RecyclePort {
    type Frame = MemoryFrame;

    #[inline]
    fn rx(&mut self, burst: &mut Burst<MemoryFrame>) {
        while !burst.is_full() {
            let Some(frame) = self.frames.pop() else { break };
            burst.push(frame);
        }
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<MemoryFrame>) {
        self.put_back(burst);
    }

    #[inline]
    fn discard(&mut self, burst: &mut Burst<MemoryFrame>) {
        self.put_back(burst);
    }

    fn alloc(&mut self, len: usize) -> Option<MemoryFrame> {
        use dataplane::port::Frame as _;
        let mut frame = self.frames.pop().unwrap_or_else(|| MemoryFrame::new(&[]));
        frame.set_len(len).then_some(frame)
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn mtu(&self) -> u16 {
        1500
    }
}
