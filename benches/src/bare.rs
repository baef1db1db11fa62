//! No director: what receiving, writing headers and sending cost alone.

use dataplane::port::{Burst, Frame, Port};
use dataplane::wire::ethernet;

/// Bursts between two looks at the clock, as the worker's turns have.
const BURSTS_PER_TURN: usize = 4;
/// Bursts that are held at a time, at the most.
pub const MOST_HELD: usize = 8;

/// Receives, swaps the MAC addresses and sends, as testpmd's macswap does. What it costs more
/// than that is what the measurement costs; what a director costs more than it is balancing.
#[derive(Debug)]
pub struct Bare<F> {
    bursts: Vec<Burst<F>>,
    next: usize,
    packets: u64,
}

impl<F: Frame> Bare<F> {
    /// So many bursts are received before the first of them is sent, 1 to [`MOST_HELD`].
    pub fn new(held: usize) -> Self {
        let bursts = (0..held.clamp(1, MOST_HELD)).map(|_| Burst::new()).collect();
        Self { bursts, next: 0, packets: 0 }
    }

    /// Frames received so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Several times: sends the oldest burst and receives another one.
    #[inline]
    pub fn turn(&mut self, port: &mut impl Port<Frame = F>) {
        for _ in 0..BURSTS_PER_TURN {
            self.pass(port);
        }
    }

    #[inline]
    fn pass(&mut self, port: &mut impl Port<Frame = F>) {
        let held = self.bursts.len();
        let Some(burst) = self.bursts.get_mut(self.next) else { return };
        self.next = if self.next + 1 < held { self.next + 1 } else { 0 };
        if !burst.is_empty() {
            for frame in burst.iter_mut() {
                let bytes = frame.bytes_mut();
                let macs = (ethernet::source(bytes), ethernet::destination(bytes));
                if let (Some(source), Some(destination)) = macs {
                    ethernet::set_macs(bytes, source, destination);
                }
            }
            port.tx(burst);
            burst.clear();
        }
        port.rx(burst);
        self.packets += burst.len() as u64;
    }
}
