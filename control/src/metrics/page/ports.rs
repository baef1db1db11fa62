//! Ports, packet buffers and neighbours.

use std::collections::BTreeMap;

use nic::PortStats;

use crate::metrics::board::Facts;
use crate::metrics::exposition::Exposition;

type Counter = (&'static str, &'static str, fn(&PortStats) -> u64);

const COUNTERS: [Counter; 8] = [
    ("director_port_received_frames", "Frames received.", |port| port.ipackets),
    ("director_port_sent_frames", "Frames sent.", |port| port.opackets),
    ("director_port_received_bytes", "Bytes received.", |port| port.ibytes),
    ("director_port_sent_bytes", "Bytes sent.", |port| port.obytes),
    (
        "director_port_missed_frames",
        "Frames that the device dropped because no core took them in time.",
        |port| port.imissed,
    ),
    ("director_port_receive_errors", "Frames received with errors, or too long.", |port| {
        port.ierrors + port.rx_refused
    }),
    ("director_port_send_errors", "Frames that the device could not send.", |port| port.oerrors),
    (
        "director_port_without_buffer",
        "Times that there was no packet buffer for a received frame.",
        |port| port.rx_nombuf,
    ),
];

pub(super) fn write(page: &mut Exposition, facts: &Facts) {
    let mut info = page.gauge("director_port_info", "What the port is; always 1.");
    for port in &facts.ports {
        let mac = port.mac.to_string();
        let labels = [
            ("port", port.name.as_str()),
            ("device", port.device.as_str()),
            ("driver", port.driver.as_str()),
            ("mac", mac.as_str()),
        ];
        info.sample(&labels, 1);
    }
    let mut up = page.gauge("director_port_up", "Whether the port has a link.");
    for port in &facts.nic.ports {
        up.sample(&[("port", &port.name)], u8::from(port.link_up));
    }
    let help = "The link's speed; 0 where the device does not say.";
    let mut speed = page.gauge("director_port_speed_bytes", help);
    for port in &facts.nic.ports {
        speed.sample(&[("port", &port.name)], u64::from(port.link_mbps) * 125_000);
    }
    for (name, help, value) in COUNTERS {
        let mut family = page.counter(name, help);
        for port in &facts.nic.ports {
            family.sample(&[("port", &port.name)], value(port));
        }
    }
    page.gauge("director_buffers_in_use", "Packet buffers in queues and on their way.")
        .only(facts.nic.mbufs_in_use);
    page.gauge("director_buffers_free", "Packet buffers in the pools.").only(facts.nic.mbufs_free);
    neighbours(page, facts);
}

fn neighbours(page: &mut Exposition, facts: &Facts) {
    let sorted: BTreeMap<(u8, String), u64> = (facts.neighbours.iter())
        .map(|((port, condition), count)| ((*port, condition.to_string()), *count))
        .collect();
    let mut family = page.gauge("director_neighbours", "Neighbours (ARP, ND), by state.");
    for ((port, state), count) in sorted {
        let name = facts.snapshot.ports.get(usize::from(port)).map_or("", |port| &*port.name);
        family.sample(&[("port", name), ("state", &state)], count);
    }
}
