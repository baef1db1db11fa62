//! Virtual services: what must go together and what cannot.

use std::collections::{HashMap, HashSet};

use crate::config::code::Code;
use crate::config::fields::Given;
use crate::config::findings::Findings;
use crate::config::model::{
    Defaults, Family, Mark, Netmask, OnDown, Persistence, Protocol, Selector, Service, Tracking,
    VipPorts, mark_name, selector_name,
};
use crate::config::path::Path;
use crate::config::raw;

use super::{Lan, not_on_the_wire, pin, real_server, selector};

const SERVICES: Path<'static> = Path::Key(&Path::Root, "services");

/// ipvsadm's `-p` without a number.
const DEFAULT_TIMEOUT_S: u32 = 360;

/// The services with their defaults; `None` if one lacks something that has no default.
pub(super) fn services(
    written: Vec<Option<Box<raw::Service>>>,
    defaults: Option<Defaults>,
    lan: &Lan,
    findings: &mut Findings<'_>,
) -> Option<Vec<Service>> {
    selector::overlaps(&written, defaults, findings);
    marks(&written, findings);
    let free = free_mark(&written);
    // Small entries: a hostile file has more than a hundred thousand services.
    let mut names: HashMap<Box<str>, (u32, bool)> = HashMap::new();
    let mut all = Vec::with_capacity(written.len());
    // Each is let go when it has been looked at: two of everything take too much memory.
    for (index, service) in written.into_iter().enumerate() {
        let (path, Some(service)) = (SERVICES.item(index), service) else {
            all.push(None);
            continue;
        };
        let service = &*service;
        check(service, free, lan, &path, findings);
        drain_deadline(service, defaults, &path, findings);
        let name = match &service.name {
            Given::Good(name) => Some(name.clone()),
            Given::Absent => default_name(service),
            Given::Bad => None,
        };
        let given = !service.name.is_absent();
        let earlier =
            name.as_deref().and_then(|name| names.insert(name.into(), (index as u32, given)));
        // Two defaults are equal only if their selectors or marks are; that is reported.
        if let (Some(name), Some((first, first_given))) = (&name, earlier)
            && (given || first_given)
        {
            let line = findings.line_of(&SERVICES.item(first as usize));
            let what = format!("the name `{name}` belongs to another service");
            let hint = format!("see line {line}; give one of them another `name`");
            findings.value(Code::DuplicateName, &path.key("name"), what, &hint);
        }
        all.push(meant(service, name, defaults.unwrap_or_default(), lan, &path, findings));
    }
    all.into_iter().collect()
}

/// The family of the selectors, if one could be read.
pub(super) fn family(service: &raw::Service) -> Option<Family> {
    let selectors = service.selectors.all();
    let of_selectors = selectors.iter().find_map(|selector| selector.vip.good()).map(Family::of);
    of_selectors.or_else(|| service.selectors.none().then(|| service.family.or(Family::V4)))
}

/// In the kernel, too, a mark may have one service per family.
fn marks(written: &[Option<Box<raw::Service>>], findings: &mut Findings<'_>) {
    let mut seen: HashMap<(Mark, Family), usize> = HashMap::new();
    for (index, service) in written.iter().enumerate() {
        let Some(service) = service else { continue };
        let (Some(mark), Some(family)) = (service.mark.good(), family(service)) else { continue };
        if let Some(first) = seen.insert((mark, family), index) {
            let line = findings.line_of(&SERVICES.item(first).key("mark"));
            let what = format!("mark {mark} belongs to another service");
            let hint = format!("see line {line}; put all selectors of a mark into one service");
            findings.value(Code::DuplicateMark, &SERVICES.item(index).key("mark"), what, &hint);
        }
    }
}

/// A mark to suggest.
fn free_mark(written: &[Option<Box<raw::Service>>]) -> u32 {
    let used: HashSet<u32> =
        written.iter().flatten().filter_map(|s| s.mark.good()).map(|mark| mark.0.get()).collect();
    (1..=u32::MAX).find(|mark| !used.contains(mark)).unwrap_or(1)
}

/// Everything about a service but its real servers.
fn check(
    service: &raw::Service,
    free_mark: u32,
    lan: &Lan,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let selectors = service.selectors.all();
    for (item, selector) in selectors.iter().enumerate() {
        if service.selectors.short {
            vip(service, selector, lan, path, findings);
        } else {
            vip(service, selector, lan, &path.key("selectors").item(item), findings);
        }
    }
    if selectors.len() > 1 && service.mark.is_absent() {
        let what = format!("{} selectors need a mark to be one service", selectors.len());
        let hint = format!("write `mark: {free_mark}`, or make a service of each");
        findings.value(Code::NeedsMark, &path.key("selectors"), what, &hint);
    }
    let persistent = match service.persistence {
        Given::Absent | Given::Good(None) => false,
        Given::Bad | Given::Good(Some(_)) => true,
    };
    let only = service.selectors.only().and_then(|selector| selector.vip_ports.good());
    let all_ports = only == Some(VipPorts::All);
    if all_ports && service.mark.is_absent() && !persistent {
        let what = "all ports (`vip_port: 0`) need persistence".to_owned();
        let hint = "write `persistence: true` for 360 seconds";
        findings.value(Code::NeedsPersistence, path, what, hint);
    }
    let client = service.tracking.good() == Some(Tracking::Client);
    if client && !persistent {
        let what = "`tracking: client` needs persistence: it tracks nothing else".to_owned();
        let hint = "write `persistence: true` for 360 seconds";
        findings.value(Code::ClientTrackingNeedsPersistence, &path.key("tracking"), what, hint);
    }
    if service.one_packet.good() == Some(true) {
        one_packet(selectors, client, path, findings);
    }
}

fn vip(
    service: &raw::Service,
    selector: &raw::Selector,
    lan: &Lan,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let Given::Good(vip) = selector.vip else { return };
    if let Some(why) = not_on_the_wire(vip) {
        let hint = "a VIP is an address that clients can reach";
        findings.value(Code::NotUnicast, &path.key("vip"), format!("{vip} {why}"), hint);
    } else if let Some((network, why)) = lan.reserved(vip) {
        let what = format!("{vip} {why}, {network}");
        let hint = "a VIP is an address that clients can reach; take another one";
        findings.value(Code::VipOfNetwork, &path.key("vip"), what, hint);
    }
    if let Some(family) = family(service)
        && family != Family::of(vip)
    {
        let what = format!("{vip} is not {family} as an earlier selector");
        let hint = "make a service for each family; they may share a mark";
        findings.value(Code::MixedFamilies, &path.key("vip"), what, hint);
    }
    if selector.vip_ports.good() == Some(VipPorts::All) && lan.owns(vip) {
        let what = format!("all ports of {vip} are not free: it is the director's own address");
        let hint = "use another VIP, or name the ports";
        findings.value(Code::VipIsDirector, &path.key("vip"), what, hint);
    }
}

/// `-o` schedules UDP packets only.
fn one_packet(
    selectors: &[raw::Selector],
    client: bool,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let path = path.key("one_packet");
    // A protocol that cannot be read may be UDP.
    let udp = |selector: &raw::Selector| {
        selector.protocol.good().is_none_or(|protocol| protocol.overlaps(Protocol::Udp))
    };
    if !selectors.is_empty() && !selectors.iter().any(udp) {
        let what = "`one_packet` is for UDP, and no selector has `udp` or `any`".to_owned();
        findings.value(Code::OnePacket, &path, what, "remove `one_packet`");
    }
    if client {
        let what = "`one_packet` and `tracking: client` exclude each other".to_owned();
        findings.value(Code::OnePacket, &path, what, "remove one of them");
    }
}

/// A service with its defaults.
fn meant(
    service: &raw::Service,
    name: Option<String>,
    defaults: Defaults,
    lan: &Lan,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Service> {
    let persistence = persistence(service, path, findings);
    let real_servers = real_server::real_servers(service, lan, path, findings);
    let pins = pin::pins(service, path, findings);
    if !service.selectors.list.whole {
        return None;
    }
    let selectors = service.selectors.all().iter().map(raw::Selector::good);
    let selectors = selectors.collect::<Option<Vec<Selector>>>()?;
    Some(Service {
        name: name?,
        mark: service.mark.good(),
        family: family(service).filter(|family| selectors.is_empty() && *family == Family::V6),
        selectors,
        scheduler: service.scheduler.or_default(),
        persistence,
        tracking: service.tracking.or_default(),
        one_packet: service.one_packet.or(false),
        seed: service.seed.good(),
        on_drain: service.on_drain.or_default(),
        on_down: service.on_down.or(on_down(defaults)),
        drain_deadline_s: service.drain_deadline_s.good(),
        compat: service.compat,
        pins: pins?,
        real_servers: real_servers?,
    })
}

/// What becomes of a down server's clients where the service does not say.
fn on_down(defaults: Defaults) -> OnDown {
    match defaults {
        Defaults::Safe => OnDown::Rebind,
        Defaults::Ipvs => OnDown::Keep,
    }
}

/// A server that is down has to let its clients go, or the deadline says nothing.
fn drain_deadline(
    service: &raw::Service,
    defaults: Option<Defaults>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let keeps = match service.on_down {
        Given::Good(on_down) => on_down == OnDown::Keep,
        Given::Absent => defaults.map(on_down) == Some(OnDown::Keep),
        Given::Bad => false,
    };
    if keeps && !service.drain_deadline_s.is_absent() {
        let what = "`drain_deadline` has no effect: `on_down` is `keep`, so the clients stay";
        let hint = "write `on_down: rebind` or `on_down: drop`";
        findings.key(Code::Pointless, &path.key("drain_deadline"), what.to_owned(), hint);
    }
}

/// The name of a service that was given none: from its mark, or else from its selector.
fn default_name(service: &raw::Service) -> Option<String> {
    match (service.mark, family(service)?) {
        (Given::Good(mark), family) => Some(mark_name(mark, family)),
        (Given::Bad, _) => None,
        (Given::Absent, _) => Some(selector_name(&service.selectors.all().first()?.good()?)),
    }
}

fn persistence(
    service: &raw::Service,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Persistence> {
    let raw::Persistence { timeout_s, prefix, netmask, engine } = service.persistence.good()??;
    let path = path.key("persistence");
    if !engine.is_absent() {
        self::engine(service, &path.key("engine"), findings);
    }
    let bits = match family(service) {
        Some(Family::V4) => 32,
        Some(Family::V6) | None => 128,
    };
    if bits == 128 && family(service).is_some() && !netmask.is_absent() {
        let what = "IPv6 has no netmask".to_owned();
        findings.key(Code::BadValue, &path.key("netmask"), what, "write `prefix: 64`");
    }
    let mask = match (prefix.good(), netmask.good()) {
        (Some(prefix), _) => Netmask::Prefix(prefix),
        (None, Some(netmask)) => Netmask::v4(netmask),
        (None, None) => Netmask::Prefix(bits),
    };
    if let Some(prefix) = prefix.good().filter(|prefix| *prefix > bits) {
        let what = format!("{prefix} is above {bits}");
        findings.value(Code::OutOfRange, &path.key("prefix"), what, "allowed for IPv4: 1 to 32");
    }
    let timeout_s = timeout_s.or(DEFAULT_TIMEOUT_S);
    Some(Persistence { timeout_s, mask, engine: engine.good() })
}

/// There is one engine, SIP's, and it reads UDP.
fn engine(service: &raw::Service, path: &Path<'_>, findings: &mut Findings<'_>) {
    let other = service.selectors.all().iter().find_map(|selector| {
        selector.protocol.good().filter(|protocol| *protocol != Protocol::Udp)
    });
    if let Some(protocol) = other {
        let what = format!("the engine `sip` is for UDP, and a selector has `{protocol}`");
        let hint = "write `protocol: udp`, or make a service of its own for SIP";
        findings.value(Code::Engine, path, what, hint);
    }
    if service.tracking.good() == Some(Tracking::Client) {
        let what = "an engine and `tracking: client` exclude each other".to_owned();
        findings.value(Code::Engine, path, what, "write `tracking: full` in the service");
    }
}
