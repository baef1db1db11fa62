//! Flows that a masqueraded real server begins through its service: SIP's calls, as IPVS's engine
//! for it has them. The server's packet leaves as coming from the VIP, the client is bound to the
//! server by the call, and its answers find the way back on whatever core they arrive.

use super::opening::Opening;
use super::{Bindings, Choice, Outcome};
use crate::conn::Signal;
use crate::conn::table::Flow;
use crate::forward::masq::Endpoint;
use crate::ids::RealId;
use crate::snapshot::{Identity, Service, Snapshot};
use crate::table::Renewal;
use crate::tick::Tick;
use crate::wire::{Packet, Protocol};

impl Bindings {
    /// A packet that answers nothing: where it comes from a real server whose service binds
    /// calls, and is of one, its connection and template are made.
    pub(super) fn begun_by_server(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        if packet.protocol != Protocol::Udp || packet.dst_port == 0 {
            return None;
        }
        let id = snapshot.masqueraded.caller(packet.src, packet.src_port)?;
        let real = snapshot.available(id).filter(|real| !real.is_down(now))?;
        let service = snapshot.service(real.service)?;
        let Identity::Address { vip, vip_port, .. } = service.identity else { return None };
        // The same, as the client's would be.
        let inverse = Packet {
            src: packet.dst,
            dst: vip,
            src_port: packet.dst_port,
            dst_port: vip_port,
            ..*packet
        };
        self.call = self.call_of(&inverse, transport, service).ok()?;
        let choice = self.bind_caller(&inverse, service, id, packet.src_port, snapshot, now);
        self.call = None;
        let flow = Flow::of(&inverse);
        // Another server's connection gives way.
        if choice.is_some()
            && let Some(slot) = self.slot(&flow)
        {
            match service.compat.as_kernel {
                true => self.hide(packet.family, slot, snapshot, now),
                false => self.remove(packet.family, slot, snapshot, now),
            }
        }
        let opening = Opening { flow, signal: Signal::of(packet), total_len: 0 };
        let opened = self.open(&opening, true, service, choice?, snapshot, now);
        if matches!(opened, Outcome::Drop(_) | Outcome::Refuse) {
            return Some(opened);
        }
        if let Some(slot) = self.find(&opening.flow, now) {
            self.replied(&opening.flow, slot, opening.signal, snapshot, now);
        }
        self.count_outgoing(id, packet);
        let from = Endpoint { address: vip, port: vip_port };
        Some(Outcome::Reply { real: id, from: Some(from) })
    }

    /// Binds the call to this real server; a template that says otherwise is void.
    fn bind_caller(
        &mut self,
        inverse: &Packet,
        service: &Service,
        real: RealId,
        real_port: u16,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Choice> {
        let choice = Choice {
            real,
            template: None,
            by_error: false,
            by_server: true,
            real_port: Some(real_port),
        };
        let Some(persistence) = &service.persistence else { return Some(choice) };
        let Packet { src, dst, protocol, dst_port, .. } = *inverse;
        let hit = snapshot.classifier.for_client(src, dst, protocol, dst_port)?;
        for _ in 0..super::persistent::TRIES {
            let (probe, view) = self.template(&hit, persistence, src, self.call.as_ref(), now);
            let bound = match view {
                Some(view) if view.real == real => view,
                Some(view) => {
                    self.orphan(&view);
                    continue;
                }
                None => self.make(&probe, real, service, snapshot, now)?,
            };
            let renewal = Renewal::AsKernel;
            let seat = &mut self.seat.templates;
            let attached =
                self.shared.templates.attach(bound.handle, bound.real, renewal, now, seat);
            if attached.is_ok() && bound.real == real {
                // The server has spoken, which makes sure of it.
                self.shared.templates.assure(bound.handle);
                return Some(Choice { template: Some(bound.handle), ..choice });
            }
        }
        None
    }
}
