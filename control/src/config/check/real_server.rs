//! Real servers: who they are and whether the director can get packets to them.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::Given;
use crate::config::findings::Findings;
use crate::config::model::{Family, Forwarding, RealServer, Thresholds, Tracking};
use crate::config::path::Path;
use crate::config::raw::{self, Method};

use super::lan::Lan;
use super::service::family;
use super::{not_a_host, not_on_the_wire};

/// What the real servers of one service are held against.
struct Surroundings<'a> {
    service: &'a raw::Service,
    lan: &'a Lan,
    family: Option<Family>,
    vip_port: VipPort,
}

/// The port that a service's packets have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum VipPort {
    /// It cannot be told.
    Unknown,
    /// A mark's packets have several.
    Several,
    /// That of the only selector; 0 for a range and for all ports.
    One(u16),
}

/// The port of a real server, for telling two of them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RealPort {
    /// The service's, whatever that is.
    OfService,
    Given(u16),
}

/// The real servers with their defaults; `None` if one lacks something.
pub(super) fn real_servers(
    service: &raw::Service,
    lan: &Lan,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<RealServer>> {
    let only = service.selectors.only().and_then(|selector| selector.vip_ports.good());
    let vip_port = match (&service.mark, only) {
        (Given::Good(_) | Given::Bad, _) => VipPort::Several,
        (Given::Absent, Some(ports)) => VipPort::One(ports.single()),
        (Given::Absent, None) => VipPort::Unknown,
    };
    let around = Surroundings { service, lan, family: family(service), vip_port };
    let list = path.key("real_servers");
    let mut all = Vec::with_capacity(service.real_servers.len());
    // A table of them would take several times as much memory as this list.
    let mut addresses: Vec<(IpAddr, RealPort, u32)> =
        Vec::with_capacity(service.real_servers.len());
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, written) in service.real_servers.iter().enumerate() {
        let (path, Some(written)) = (list.item(index), written) else {
            all.push(None);
            continue;
        };
        check(written, &around, &path, findings);
        if let Given::Good(name) = &written.name
            && let Some(first) = names.insert(name, index)
        {
            let line = findings.line_of(&list.item(first));
            let what = format!("the name `{name}` belongs to another real server");
            let hint = format!("see line {line}");
            findings.value(Code::DuplicateName, &path.key("name"), what, &hint);
        }
        if let (Given::Good(address), Some(port)) = (written.address, real_port(written, vip_port))
        {
            addresses.push((address, port, index as u32));
        }
        all.push(meant(written, vip_port));
    }
    twice(&mut addresses, &list, findings);
    all.into_iter().collect()
}

/// Reports every address that comes again with the same port.
fn twice(addresses: &mut [(IpAddr, RealPort, u32)], list: &Path<'_>, findings: &mut Findings<'_>) {
    addresses.sort_unstable();
    let mut again: Vec<(u32, u32)> = Vec::new();
    for same in addresses.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
        again.extend(same.windows(2).filter_map(|pair| match pair {
            [(.., first), (.., second)] => Some((*second, *first)),
            _ => None,
        }));
    }
    // In the file's order, so that those that are told are the first ones.
    again.sort_unstable();
    addresses.sort_unstable_by_key(|(.., index)| *index);
    for (second, first) in again {
        let at = addresses.binary_search_by_key(&second, |(.., index)| *index);
        let Some((address, ..)) = at.ok().and_then(|at| addresses.get(at)) else { continue };
        if findings.full() {
            break;
        }
        let line = findings.line_of(&list.item(first as usize));
        let path = list.item(second as usize);
        let what = format!("{address} is here twice with the same port");
        let hint = format!("see line {line}; raise its weight instead");
        findings.value(Code::DuplicateRealServer, &path.key("address"), what, &hint);
    }
}

/// The port that packets have when they get there, as far as it can be told.
fn real_port(written: &raw::RealServer, vip_port: VipPort) -> Option<RealPort> {
    let of_service = match vip_port {
        VipPort::One(port) => RealPort::Given(port),
        VipPort::Several => RealPort::Given(0),
        VipPort::Unknown => RealPort::OfService,
    };
    // The kernel, too, writes the service's port into a server that cannot have another.
    let fixed = match (written.forwarding.known_or(Method::Route), vip_port) {
        (_, VipPort::Several) | (Some(Method::Masq), _) => Some(false),
        (Some(Method::Route | Method::Tunnel | Method::Local), _) => Some(true),
        (None, _) => None,
    };
    match (written.real_port, fixed) {
        (Given::Absent, _) | (_, Some(true)) => Some(of_service),
        (Given::Good(port), Some(false)) => Some(RealPort::Given(port)),
        (Given::Good(_), None) | (Given::Bad, _) => None,
    }
}

/// A real server with its defaults.
fn meant(written: &raw::RealServer, vip_port: VipPort) -> Option<RealServer> {
    Some(RealServer {
        name: written.name.clone().good(),
        address: written.address.good()?,
        real_port: match real_port(written, vip_port)? {
            RealPort::Given(port) => port,
            RealPort::OfService => return None,
        },
        weight: written.weight.or(1),
        state: written.state.or_default(),
        forwarding: match written.forwarding.or(Method::Route) {
            Method::Route => Forwarding::Route,
            Method::Masq => Forwarding::Masq,
            Method::Tunnel => Forwarding::Tunnel(written.tunnel.or_default()),
            Method::Local => Forwarding::Local,
        },
        mac: written.mac.good(),
        thresholds: Thresholds {
            upper: written.upper_threshold.or(0),
            lower: written.lower_threshold.or(0),
        },
    })
}

fn check(
    written: &raw::RealServer,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let method = written.forwarding.known_or(Method::Route);
    match method {
        Some(method) => forwarding(written, method, around, path, findings),
        None if !written.tunnel.is_absent() && !written.mac.is_absent() => {
            let what = "`tunnel` and `mac` exclude each other".to_owned();
            let hint = "`tunnel` is for `forwarding: tunnel`, `mac` for `route`";
            findings.key(Code::Conflict, &path.key("mac"), what, hint);
        }
        None => {}
    }
    if let (Some(upper), Given::Good(lower)) =
        (written.upper_threshold.known_or(0), written.lower_threshold)
        && lower > upper
    {
        let what = format!("the lower threshold {lower} is above the upper one, {upper}");
        let hint = "below the lower one a full real server gets clients again";
        findings.value(Code::Thresholds, &path.key("lower_threshold"), what, hint);
    }
    if let Given::Good(address) = written.address {
        place(address, method, around, &path.key("address"), findings);
    }
}

/// What the forwarding method asks of the other keys.
fn forwarding(
    written: &raw::RealServer,
    method: Method,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    if method != Method::Tunnel && !written.tunnel.is_absent() {
        let what = "`tunnel` has no effect without `forwarding: tunnel`".to_owned();
        findings.key(Code::Pointless, &path.key("tunnel"), what, "remove one of them");
    }
    if method != Method::Route && !written.mac.is_absent() {
        let what = "`mac` has no effect without `forwarding: route`".to_owned();
        findings.key(Code::Pointless, &path.key("mac"), what, "remove it");
    }
    let fixed = matches!(method, Method::Route | Method::Tunnel | Method::Local);
    if let (true, VipPort::One(service), Given::Good(port)) =
        (fixed, around.vip_port, written.real_port)
        && port != service
        && port != 0
    {
        let what = format!("the port cannot become {port}: only `masq` changes ports");
        let hint = "remove `real_port`, or write `forwarding: masq`";
        findings.value(Code::RealPortFixed, &path.key("real_port"), what, hint);
    }
    let client = around.service.tracking.good() == Some(Tracking::Client);
    if client && matches!(method, Method::Masq | Method::Local) {
        let what = "`tracking: client` works with `route` and `tunnel` only".to_owned();
        let hint = "write `tracking: full` in the service";
        findings.value(Code::ClientTrackingForwarding, &path.key("forwarding"), what, hint);
    }
    if method == Method::Local && !around.lan.may_have_kernel_port() {
        let what = "no port has a `kernel_port` to deliver to".to_owned();
        let hint = "give a port one, such as `kernel_port: net_tap0,iface=dtap0`";
        findings.value(Code::LocalNeedsKernelPort, &path.key("forwarding"), what, hint);
    }
}

/// Whether packets find their way to this address; the path is that of `address`.
fn place(
    address: IpAddr,
    method: Option<Method>,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let lan = around.lan;
    let hint = "a real server is one machine's address";
    let useless = match method {
        Some(Method::Route | Method::Masq | Method::Tunnel) => not_on_the_wire(address),
        Some(Method::Local) | None => not_a_host(address),
    };
    if let Some(why) = useless {
        let hint = match address.is_loopback() {
            true => "write `forwarding: local` if this machine itself is meant",
            false => hint,
        };
        findings.value(Code::NotUnicast, path, format!("{address} {why}"), hint);
        return;
    }
    if let Some((network, why)) = lan.reserved(address) {
        let what = format!("{address} {why}, {network}");
        findings.value(Code::RealServerOfNetwork, path, what, hint);
        return;
    }
    let Some(method) = method else { return };
    if let Some(family) = around.family
        && method != Method::Tunnel
        && family != Family::of(address)
    {
        let what = format!("{address} is not {family} as the service's VIP");
        let hint = "only `forwarding: tunnel` joins the two families";
        findings.value(Code::RealServerFamily, path, what, hint);
        return;
    }
    if method == Method::Local {
        return;
    }
    let selectors = around.service.selectors.all();
    if selectors.iter().any(|selector| selector.vip == Given::Good(address)) {
        let what = format!("{address} is the VIP of this service");
        findings.value(Code::RealServerIsVip, path, what, "name the server's own address");
    } else if lan.owns(address) {
        let what = format!("{address} is the director's own address");
        findings.value(Code::RealServerIsDirector, path, what, "write `forwarding: local`");
    } else if method == Method::Route && !lan.may_be_connected(address) {
        let what = format!("{address} is in no network of a port, and `route` passes no router");
        let hint = "give a port an address in its network, or use `tunnel` or `masq`";
        findings.value(Code::NotConnected, path, what, hint);
    } else if !lan.may_be_reached(address) {
        let what = format!("no network, route or gateway leads to {address}");
        findings.value(Code::Unreachable, path, what, "give a port a `gateway` or a route");
    }
}
