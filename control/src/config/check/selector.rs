//! Selectors of all services: no packet may fit two of one rank.

use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::findings::Findings;
use crate::config::model::{Defaults, Protocol, Selector, VipPorts};
use crate::config::path::Path;
use crate::config::raw;

/// The most specific selector that fits decides; this is its order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Port,
    Range,
    All,
}

/// A selector with its service and place in it.
#[derive(Clone, Copy)]
struct Placed {
    service: u32,
    item: u32,
    selector: Selector,
}

/// Selectors that have it in common may overlap: the VIP, whether it goes before those
/// without a mark, and the rank.
type Key = (IpAddr, bool, Rank);

/// For each protocol, the selector that reaches furthest so far.
#[derive(Default)]
struct Furthest {
    tcp: Option<Placed>,
    udp: Option<Placed>,
    sctp: Option<Placed>,
}

impl Furthest {
    fn of(&mut self, protocol: Protocol) -> Vec<&mut Option<Placed>> {
        match protocol {
            Protocol::Tcp => vec![&mut self.tcp],
            Protocol::Udp => vec![&mut self.udp],
            Protocol::Sctp => vec![&mut self.sctp],
            Protocol::Any => vec![&mut self.tcp, &mut self.udp, &mut self.sctp],
        }
    }
}

/// Reports every selector that overlaps another one of its rank.
///
/// Sorted by their first port, two selectors overlap only if one of those before reaches
/// far enough, so one pass finds them however many there are.
///
/// Under the kernel's rules a mark's services go before all others, so that selectors with a
/// mark and selectors without one never meet.
pub(super) fn overlaps(
    services: &[Option<Box<raw::Service>>],
    defaults: Option<Defaults>,
    findings: &mut Findings<'_>,
) {
    let mut all: Vec<(Key, Placed)> = Vec::new();
    for (service, written) in services.iter().enumerate() {
        let marked = written.as_ref().is_some_and(|service| !service.mark.is_absent());
        let first = marked && defaults != Some(Defaults::Safe);
        let selectors = written.iter().flat_map(|written| written.selectors.all());
        for (item, selector) in selectors.enumerate() {
            let Some(selector) = selector.good() else { continue };
            let key = (selector.vip, first, rank(selector.vip_ports));
            let placed = Placed { service: service as u32, item: item as u32, selector };
            all.push((key, placed));
        }
    }
    all.sort_unstable_by_key(|(key, at)| {
        (*key, *at.selector.vip_ports.numbers().start(), at.service, at.item)
    });
    for group in all.chunk_by(|(one, _), (next, _)| one == next) {
        let mut furthest = Furthest::default();
        for (_, placed) in group {
            let mut clash = None;
            for slot in furthest.of(placed.selector.protocol) {
                let (first, last) = placed.selector.vip_ports.numbers().into_inner();
                let reach = slot.map(|earlier| *earlier.selector.vip_ports.numbers().end());
                if reach.is_some_and(|reach| reach >= first) {
                    clash = clash.or(*slot);
                }
                if reach.is_none_or(|reach| reach < last) {
                    *slot = Some(*placed);
                }
            }
            if let Some(other) = clash {
                report(services, *placed, other, findings);
            }
        }
    }
}

fn rank(ports: VipPorts) -> Rank {
    match ports {
        VipPorts::One(_) => Rank::Port,
        VipPorts::Range(..) => Rank::Range,
        VipPorts::All => Rank::All,
    }
}

/// Reports the one that comes later in the file.
fn report(
    services: &[Option<Box<raw::Service>>],
    a: Placed,
    b: Placed,
    findings: &mut Findings<'_>,
) {
    let (early, late) = if (a.service, a.item) < (b.service, b.item) { (a, b) } else { (b, a) };
    let line = at(services, early, |path| findings.line_of(path));
    let Selector { vip, protocol, vip_ports } = late.selector;
    let what = if early.selector == late.selector {
        format!("{protocol} {vip} port {vip_ports} is selected twice")
    } else {
        let Selector { protocol: other, vip_ports: ports, .. } = early.selector;
        format!("{protocol} {vip} port {vip_ports} overlaps {other} port {ports}")
    };
    let hint = format!("see line {line}; a packet must have one service");
    at(services, late, |path| findings.value(Code::SelectorOverlap, path, what.clone(), &hint));
}

/// Calls `f` with the path of a selector, or of `vip` in the short form.
fn at<T>(
    services: &[Option<Box<raw::Service>>],
    placed: Placed,
    f: impl FnOnce(&Path<'_>) -> T,
) -> T {
    let list = Path::Root.key("services");
    let index = placed.service as usize;
    let service = list.item(index);
    match services.get(index).and_then(Option::as_ref) {
        Some(found) if !found.selectors.short => {
            f(&service.key("selectors").item(placed.item as usize))
        }
        _ => f(&service.key("vip")),
    }
}
