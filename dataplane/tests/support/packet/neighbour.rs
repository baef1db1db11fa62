//! ARP and neighbour discovery.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::icmp;

fn arp(to: [u8; 6], operation: u8, sender: ([u8; 6], &str), target: ([u8; 6], &str)) -> Vec<u8> {
    let addr = |text: &str| text.parse::<Ipv4Addr>().unwrap().octets();
    let mut frame = [to, sender.0].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(sender.0);
    frame.extend(addr(sender.1));
    frame.extend(target.0);
    frame.extend(addr(target.1));
    frame
}

/// A broadcast question: who has `target`? Tell `sender`, who is at `mac`.
pub fn arp_request(mac: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    arp([0xFF; 6], 1, (mac, sender), ([0; 6], target))
}

/// The answer of `sender`, who is at `mac`, to `asker`.
pub fn arp_reply(mac: [u8; 6], sender: &str, asker_mac: [u8; 6], asker: &str) -> Vec<u8> {
    arp(asker_mac, 2, (mac, sender), (asker_mac, asker))
}

/// A solicitation for `target` to its solicited-node group; a probe if `sender` is `::`.
pub fn neighbour_solicitation(mac: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    let [.., a, b, c] = target.octets();
    let mut group = "ff02::1:ff00:0".parse::<Ipv6Addr>().unwrap().octets();
    group[13..].copy_from_slice(&[a, b, c]);
    let mut body = target.octets().to_vec();
    if sender != "::" {
        body.extend([1, 1]);
        body.extend(mac);
    }
    icmp(sender, &Ipv6Addr::from(group).to_string(), 135, 0, [0; 4])
        .ttl(255)
        .src_mac(mac)
        .dst_mac([0x33, 0x33, 0xFF, a, b, c])
        .payload(&body)
        .build()
}

/// The solicited, overriding advertisement of `target`, who is at `mac`, to `asker`.
pub fn neighbour_advertisement(
    mac: [u8; 6],
    target: &str,
    asker_mac: [u8; 6],
    asker: &str,
) -> Vec<u8> {
    let mut body = target.parse::<Ipv6Addr>().unwrap().octets().to_vec();
    body.extend([2, 1]);
    body.extend(mac);
    icmp(target, asker, 136, 0, [0x60, 0, 0, 0])
        .ttl(255)
        .src_mac(mac)
        .dst_mac(asker_mac)
        .payload(&body)
        .build()
}
