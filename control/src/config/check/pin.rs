//! Pins: whose they are, and whether their real servers are there.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::Given;
use crate::config::findings::Findings;
use crate::config::model::{Family, Pin};
use crate::config::path::Path;
use crate::config::raw;

use super::service::family;

/// The service's pins; `None` if one lacks something.
pub(super) fn pins(
    service: &raw::Service,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<Pin>> {
    let list = path.key("pins");
    let family = family(service);
    let servers = servers(service);
    let mut clients: HashMap<(IpAddr, u8), usize> = HashMap::new();
    let mut all = Vec::with_capacity(service.pins.len());
    for (index, written) in service.pins.iter().enumerate() {
        let path = list.item(index);
        let Some(written) = written else {
            all.push(None);
            continue;
        };
        if let Given::Good(client) = written.client {
            if let Some(family) = family
                && family != Family::of(client.address())
            {
                let what = format!("{} is not {family} as the service's VIP", client.address());
                let hint = "name a client of the service";
                findings.value(Code::Pin, &path.key("client"), what, hint);
            }
            if let Some(first) = clients.insert((client.network(), client.prefix()), index) {
                let line = findings.line_of(&list.item(first));
                let what = format!("{} is pinned twice", shown(client));
                let hint = format!("see line {line}; keep one of them");
                findings.value(Code::Pin, &path.key("client"), what, &hint);
            }
        }
        if let (Given::Good(address), Some(servers)) = (written.real_server, &servers)
            && !servers.contains(&address)
        {
            let what = format!("{address} is no real server of this service");
            let hint = "name the address of one of its `real_servers`";
            findings.value(Code::Pin, &path.key("real_server"), what, hint);
        }
        all.push(meant(written));
    }
    all.into_iter().collect()
}

fn meant(written: &raw::Pin) -> Option<Pin> {
    Some(Pin { client: written.client.good()?, real_server: written.real_server.good()? })
}

fn shown(client: crate::config::model::Cidr) -> String {
    let whole = if client.address().is_ipv4() { 32 } else { 128 };
    if client.prefix() == whole { client.address().to_string() } else { client.to_string() }
}

/// The addresses of the real servers, if all of them are known.
fn servers(service: &raw::Service) -> Option<Vec<IpAddr>> {
    service
        .real_servers
        .iter()
        .map(|server| server.as_ref()?.address.as_ref().good().copied())
        .collect()
}
