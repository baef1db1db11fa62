//! A port that watches whether every client stays with its real server.

use dataplane::port::{Burst, Frame, Port};
use dataplane::wire::Family;
use dataplane::wire::ethernet::Mac;

use crate::plan;

/// No server has this number.
const NOBODY: u16 = u16::MAX;

/// Watches directly routed frames of the bench's own kind as they leave.
#[derive(Debug)]
pub struct Witness<P> {
    inner: P,
    family: Family,
    /// By client.
    servers: Vec<u16>,
    seen: u64,
    moved: u64,
}

impl<P: Port> Witness<P> {
    /// Watches the first `clients` clients of `inner`'s frames.
    pub fn new(inner: P, family: Family, clients: usize) -> Self {
        Self { inner, family, servers: vec![NOBODY; clients], seen: 0, moved: 0 }
    }

    /// Frames that went to a real server for a client that is watched.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Of these, frames that went to another real server than the client's first one.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    #[inline]
    fn watch(&mut self, frame: &[u8]) {
        let client = plan::client_of(self.family, frame);
        let place = client.and_then(|client| self.servers.get_mut(client as usize));
        let (Some(place), Some(server)) = (place, plan::server_of_mac(frame)) else { return };
        let server = server as u16;
        self.seen += 1;
        if *place == NOBODY {
            *place = server;
        }
        self.moved += u64::from(*place != server);
    }
}

impl<P: Port> Port for Witness<P> {
    type Frame = P::Frame;

    #[inline]
    fn rx(&mut self, burst: &mut Burst<P::Frame>) {
        self.inner.rx(burst);
    }

    #[inline]
    fn tx(&mut self, burst: &mut Burst<P::Frame>) {
        for frame in burst.iter() {
            self.watch(frame.bytes());
        }
        self.inner.tx(burst);
    }

    #[inline]
    fn discard(&mut self, burst: &mut Burst<P::Frame>) {
        self.inner.discard(burst);
    }

    fn alloc(&mut self, len: usize) -> Option<P::Frame> {
        self.inner.alloc(len)
    }

    fn mac(&self) -> Mac {
        self.inner.mac()
    }

    fn mtu(&self) -> u16 {
        self.inner.mtu()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::{ACK, Flow};
    use crate::recycle::RecyclePort;
    use crate::template::Template;
    use dataplane::wire::ethernet;

    #[test]
    fn a_client_that_changes_its_server_is_noticed() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let mut port = Witness::new(RecyclePort::new(mac, 4, 128), Family::V4, 8);
        let template = Template::new(Family::V4, mac, 60);
        for (client, server) in [(3, 7), (3, 7), (4, 8), (3, 9), (100, 1)] {
            let mut burst = Burst::new();
            let mut frame = port.alloc(60).unwrap();
            let flow = Flow { client, port: 1024, service: 0, flags: ACK, server: None };
            template.write(&mut frame, flow, None);
            ethernet::set_macs(frame.bytes_mut(), plan::server_mac(server), mac);
            burst.push(frame);
            port.tx(&mut burst);
        }
        assert_eq!((port.seen(), port.moved()), (4, 1));
    }
}
