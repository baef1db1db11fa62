//! ipvsadm's order of lines.
//!
//! It compares numbers by the sign of their 32-bit difference, which wraps: 192.1.1.1 stands
//! before 1.1.1.1, and three addresses can each be before the next in a circle. Then the order
//! depends on how one sorts. ipvsadm calls the C library's `qsort`, a merge sort that splits
//! at half, rounded down, and prefers the left half; so does [`merge_sort`]. Rust's own sort
//! may panic on comparisons like these.

use std::cmp::Ordering;

use dataplane::snapshot::Identity;
use dataplane::wire::{Addr, Family, Protocol};

use super::row::{RealRow, ServiceRow};

/// By mark (addresses have none and count as 0), family, protocol, address, port. All protocols
/// together, which ipvsadm does not have, come after the single ones.
pub(super) fn services(rows: &mut Vec<ServiceRow>) {
    merge_sort(rows, |left, right| {
        ServiceKey::of(&left.identity).compare(&ServiceKey::of(&right.identity))
    });
}

/// By address, then port.
pub(super) fn reals(rows: &mut Vec<RealRow>) {
    merge_sort(rows, |left, right| {
        addresses(left.address, right.address).then(left.port.cmp(&right.port))
    });
}

struct ServiceKey {
    mark: u32,
    family: Family,
    protocol: u8,
    address: Option<Addr>,
    ports: (u16, u16),
}

impl ServiceKey {
    fn of(identity: &Identity) -> Self {
        match *identity {
            Identity::Address { protocol, vip, vip_port } => Self {
                mark: 0,
                family: vip.family(),
                protocol: protocol.number(),
                address: Some(vip),
                ports: (vip_port, vip_port),
            },
            Identity::Ports { protocol, vip, first, last } => Self {
                mark: 0,
                family: vip.family(),
                protocol: protocol.map_or(u8::MAX, Protocol::number),
                address: Some(vip),
                ports: (first, last),
            },
            Identity::Mark { family, mark } => {
                Self { mark: mark.0.get(), family, protocol: 0, address: None, ports: (0, 0) }
            }
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        wrapped(self.mark, other.mark)
            .then(self.family.cmp(&other.family))
            .then(self.protocol.cmp(&other.protocol))
            .then_with(|| match (self.address, other.address) {
                (Some(left), Some(right)) => addresses(left, right),
                _ => Ordering::Equal,
            })
            .then(self.ports.cmp(&other.ports))
    }
}

fn wrapped(left: u32, right: u32) -> Ordering {
    left.wrapping_sub(right).cast_signed().cmp(&0)
}

fn addresses(left: Addr, right: Addr) -> Ordering {
    let pairs = words(left).into_iter().zip(words(right));
    pairs.fold(Ordering::Equal, |order, (left, right)| order.then(wrapped(left, right)))
}

/// The address as IPVS keeps it: an IPv4 address in the first of four words.
fn words(address: Addr) -> [u32; 4] {
    match address.family() {
        Family::V4 => [address.v4_number(), 0, 0, 0],
        Family::V6 => {
            let [high, low] = address.words();
            [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32]
        }
    }
}

fn merge_sort<T>(rows: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering + Copy) {
    if rows.len() < 2 {
        return;
    }
    let mut right = rows.split_off(rows.len() / 2);
    merge_sort(rows, compare);
    merge_sort(&mut right, compare);
    let mut left = std::mem::take(rows).into_iter().peekable();
    let mut right = right.into_iter().peekable();
    while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
        let from_left = compare(first, second) != Ordering::Greater;
        rows.extend(if from_left { left.next() } else { right.next() });
    }
    rows.extend(left);
    rows.extend(right);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn sorted(texts: &[&str]) -> Vec<String> {
        let parse = |text: &&str| Addr::from(text.parse::<IpAddr>().unwrap());
        let mut list: Vec<Addr> = texts.iter().map(parse).collect();
        merge_sort(&mut list, |left, right| addresses(*left, *right));
        list.iter().map(Addr::to_string).collect()
    }

    #[test]
    fn differences_wrap_at_32_bits() {
        assert_eq!(sorted(&["1.1.1.1", "192.1.1.1"]), ["192.1.1.1", "1.1.1.1"]);
        assert_eq!(sorted(&["172.16.0.13", "172.16.0.9"]), ["172.16.0.9", "172.16.0.13"]);
        assert_eq!(sorted(&["2001:db8::1", "fd00::1"]), ["fd00::1", "2001:db8::1"]);
        assert_eq!(sorted(&["2001:db8::2", "2001:db8::1"]), ["2001:db8::1", "2001:db8::2"]);
    }

    #[test]
    fn addresses_in_a_circle_are_ordered_as_a_merge_sort_meets_them() {
        let circle = ["10.0.0.1", "100.0.0.1", "200.0.0.1"];
        assert_eq!(sorted(&circle), ["10.0.0.1", "100.0.0.1", "200.0.0.1"]);
        let other = ["200.0.0.1", "100.0.0.1", "10.0.0.1"];
        assert_eq!(sorted(&other), ["200.0.0.1", "10.0.0.1", "100.0.0.1"]);
        // Recorded: this is the kernel's list, head first, and ipvsadm prints it so.
        let recorded = ["10.255.255.1", "127.0.0.1", "172.16.0.11"];
        assert_eq!(sorted(&recorded), recorded);
    }

    #[test]
    fn every_length_is_sorted_completely_and_equal_rows_keep_their_order() {
        for length in 0..40u32 {
            let mut rows: Vec<(u32, u32)> =
                (0..length).map(|n| (n.wrapping_mul(2_654_435_761) % 7, n)).collect();
            let mut expected = rows.clone();
            expected.sort();
            merge_sort(&mut rows, |left, right| left.0.cmp(&right.0));
            assert_eq!(rows, expected);
        }
    }
}
