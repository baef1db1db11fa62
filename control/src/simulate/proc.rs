//! The files that IPVS has under /proc/net, for scenarios that read them.

use std::net::IpAddr;

use dataplane::snapshot::Identity;
use dataplane::tick::TICKS_PER_SECOND;
use dataplane::wire::{Addr, Family};

use super::world::{TABLE_SIZE, World};
use crate::listing::{ConnectionRow, Endpoint, ServiceRow, gather};

/// An address as /proc has it: hexadecimal, IPv6 in full and, with a port, in brackets.
fn address(address: Addr, brackets: bool) -> String {
    match IpAddr::from(address) {
        IpAddr::V4(address) => format!("{:08X}", address.to_bits()),
        IpAddr::V6(address) => {
            let groups: Vec<String> =
                address.segments().iter().map(|group| format!("{group:04x}")).collect();
            let text = groups.join(":");
            if brackets { format!("[{text}]") } else { text }
        }
    }
}

/// `/proc/net/ip_vs`.
pub(super) fn services(world: &World) -> String {
    let listing =
        gather::services(world.snapshot(), &world.shared.loads, &world.meters, TABLE_SIZE);
    let mut text = format!(
        "IP Virtual Server version 1.2.1 (size={TABLE_SIZE})\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
    );
    for row in &listing.services {
        text.push_str(&service(row));
        for real in &row.reals {
            text.push_str(&format!(
                "  -> {}:{:04X}      {:<7} {:<6} {:<10} {:<10}\n",
                address(real.address, true),
                real.port,
                real.forwarding,
                real.weight,
                real.active,
                real.inactive
            ));
        }
    }
    text
}

fn service(row: &ServiceRow) -> String {
    let scheduler = row.scheduler.unwrap_or("none");
    let v6 = matches!(row.identity, Identity::Address { vip, .. } if !vip.is_v4());
    // The kernel forgets the word where the VIP is an IPv6 address.
    let ops = if row.one_packet && !v6 { "ops " } else { "" };
    let head = match row.identity {
        Identity::Address { protocol, vip, vip_port } => {
            let space = if vip.is_v4() { " " } else { "" };
            format!("{protocol}  {}:{vip_port:04X} {scheduler} {ops}{space}", address(vip, true))
        }
        Identity::Ports { vip, first, .. } => {
            format!("ANY  {}:{first:04X} {scheduler} {ops}", address(vip, true))
        }
        Identity::Mark { mark, .. } => format!("FWM  {:08X} {scheduler} {ops}", mark.0),
    };
    match row.persistence {
        Some(persistence) => {
            let ticks = u64::from(persistence.timeout_s) * u64::from(TICKS_PER_SECOND);
            let mask = match row.identity.family() {
                Family::V4 => format!("{:08X}", persistence.mask as u32),
                // The prefix length, in the byte order that the kernel prints masks in.
                Family::V6 => format!("{:08X}", persistence.mask.count_ones().swap_bytes()),
            };
            format!("{head}persistent {ticks} {mask}\n")
        }
        None => format!("{head}\n"),
    }
}

/// `/proc/net/ip_vs_conn`.
pub(super) fn connections(rows: &[ConnectionRow]) -> String {
    let mut text = String::from(
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n",
    );
    let endpoint = |at: Endpoint| format!("{} {:04X}", address(at.address, false), at.port);
    for row in rows {
        let protocol = row.protocol.map_or_else(|| "IP".into(), |protocol| protocol.to_string());
        text.push_str(&format!(
            "{protocol:<3} {} {} {} {:<11} {:>7}",
            endpoint(row.client),
            endpoint(row.virtual_side),
            endpoint(row.real),
            row.state,
            row.expires_s
        ));
        if let Some(engine) = &row.engine {
            text.push_str(&format!(" {} {}", engine.name, engine.data));
        }
        text.push('\n');
    }
    text
}

/// `/proc/net/ip_vs_stats`: everything that was ever counted.
pub(super) fn totals(world: &World) -> String {
    let stats = world.meters.all();
    let numbers = |[conns, inp, outp, inb, outb]: [u64; 5]| {
        format!("{conns:>8X} {inp:>8X} {outp:>8X} {inb:>16X} {outb:>16X}\n")
    };
    format!(
        "   Total Incoming Outgoing         Incoming         Outgoing\n\
         \x20  Conns  Packets  Packets            Bytes            Bytes\n\
         {}\n Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n{}",
        numbers(stats.total.columns()),
        numbers(stats.per_second.columns())
    )
}
