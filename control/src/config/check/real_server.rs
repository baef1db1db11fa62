//! Real servers: who they are and whether the director can get packets to them.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::Given;
use crate::config::findings::Findings;
use crate::config::model::{Family, Forwarding, RealServer, Selector, Thresholds, Tracking};
use crate::config::path::Path;
use crate::config::raw::{self, Method};

use super::{Lan, not_a_host, not_on_the_wire};

/// What the real servers of one service are held against.
struct Surroundings<'a> {
    service: &'a raw::Service,
    lan: &'a Lan,
    family: Option<Family>,
    /// The port that packets have, if it is one: that of a service without a mark.
    port: Option<u16>,
}

/// The real servers with their defaults; `None` if one lacks something.
pub(super) fn real_servers(
    service: &raw::Service,
    lan: &Lan,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<RealServer>> {
    let first = service.selectors.all().iter().flatten().next();
    let port = match (service.selectors.all(), &service.mark) {
        ([Some(Selector { vip_ports, .. })], Given::Absent) => Some(vip_ports.single()),
        _ => None,
    };
    let family = first.map(|selector| Family::of(selector.vip));
    let around = Surroundings { service, lan, family, port };
    let list = path.key("real_servers");
    let mut all = Vec::with_capacity(service.real_servers.len());
    let mut addresses: HashMap<(IpAddr, u16), usize> = HashMap::new();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, written) in service.real_servers.iter().enumerate() {
        let (path, Some(written)) = (list.item(index), written) else {
            all.push(None);
            continue;
        };
        let meant = one(written, &around, &path, findings);
        if let Given::Good(name) = &written.name
            && let Some(first) = names.insert(name, index)
        {
            let line = findings.line_of(&list.item(first));
            let what = format!("the name `{name}` belongs to another real server");
            let hint = format!("see line {line}");
            findings.value(Code::DuplicateName, &path.key("name"), what, &hint);
        }
        if let Some(meant) = &meant
            && !written.real_port.is_bad()
            && let Some(first) = addresses.insert((meant.address, meant.real_port), index)
        {
            let line = findings.line_of(&list.item(first));
            let what = format!("{} is here twice with the same port", meant.address);
            let hint = format!("see line {line}; raise its weight instead");
            findings.value(Code::DuplicateRealServer, &path.key("address"), what, &hint);
        }
        all.push(meant);
    }
    all.into_iter().collect()
}

fn one(
    written: &raw::RealServer,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<RealServer> {
    let method = written.forwarding.or(Method::Route);
    if !written.forwarding.is_bad() {
        forwarding(written, method, around, path, findings);
    }
    let thresholds =
        Thresholds { upper: written.upper_threshold.or(0), lower: written.lower_threshold.or(0) };
    if thresholds.lower > thresholds.upper && !written.upper_threshold.is_bad() {
        let Thresholds { upper, lower } = thresholds;
        let what = format!("the lower threshold {lower} is above the upper one, {upper}");
        let hint = "below the lower one a full real server gets clients again";
        findings.value(Code::Thresholds, &path.key("lower_threshold"), what, hint);
    }
    let address = written.address.good()?;
    if !written.forwarding.is_bad() {
        place(address, method, around, path, findings);
    }
    Some(RealServer {
        name: written.name.clone().good(),
        address,
        real_port: match (method, around.port) {
            // The kernel, too, writes the service's port into such a real server.
            (Method::Route | Method::Tunnel | Method::Local, Some(port)) => port,
            (_, port) => written.real_port.or(port.unwrap_or(0)),
        },
        weight: written.weight.or(1),
        state: written.state.or_default(),
        forwarding: match method {
            Method::Route => Forwarding::Route,
            Method::Masq => Forwarding::Masq,
            Method::Tunnel => Forwarding::Tunnel(written.tunnel.or_default()),
            Method::Local => Forwarding::Local,
        },
        mac: written.mac.good(),
        thresholds,
    })
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
    if let (true, Some(service), Given::Good(port)) = (fixed, around.port, written.real_port)
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
    if method == Method::Local && around.lan.complete && !around.lan.kernel_port {
        let what = "no port has a `kernel_port` to deliver to".to_owned();
        let hint = "give a port one, such as `kernel_port: net_tap0,iface=dtap0`";
        findings.value(Code::LocalNeedsKernelPort, &path.key("forwarding"), what, hint);
    }
}

/// Whether packets find their way to this address.
fn place(
    address: IpAddr,
    method: Method,
    around: &Surroundings<'_>,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) {
    let path = path.key("address");
    let useless =
        if method == Method::Local { not_a_host(address) } else { not_on_the_wire(address) };
    if let Some(why) = useless {
        let hint = "a real server is one machine's address";
        findings.value(Code::NotUnicast, &path, format!("{address} {why}"), hint);
        return;
    }
    if let Some(family) = around.family
        && method != Method::Tunnel
        && family != Family::of(address)
    {
        let what = format!("{address} is not {family} as the service's VIP");
        let hint = "only `forwarding: tunnel` joins the two families";
        findings.value(Code::RealServerFamily, &path, what, hint);
        return;
    }
    if method == Method::Local {
        return;
    }
    if around.service.selectors.all().iter().flatten().any(|selector| selector.vip == address) {
        let what = format!("{address} is the VIP of this service");
        findings.value(Code::RealServerIsVip, &path, what, "name the server's own address");
        return;
    }
    let lan = around.lan;
    if lan.own.contains(&address) {
        let what = format!("{address} is the director's own address");
        findings.value(Code::RealServerIsDirector, &path, what, "write `forwarding: local`");
    } else if !lan.complete || lan.connected.contain(address) {
        // Reachable, or nothing can be said.
    } else if method == Method::Route {
        let what = format!("{address} is in no network of a port, and `route` passes no router");
        let hint = "give a port an address in its network, or use `tunnel` or `masq`";
        findings.value(Code::NotConnected, &path, what, hint);
    } else if !lan.routed.contain(address) {
        let what = format!("no network, route or gateway leads to {address}");
        findings.value(Code::Unreachable, &path, what, "give a port a `gateway` or a route");
    }
}
