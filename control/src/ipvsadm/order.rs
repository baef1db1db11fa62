//! The order in which IPVS itself keeps services, seen with `--nosort` and in /proc.

use std::net::IpAddr;

use dataplane::snapshot::Identity;
use dataplane::wire::Addr;

use crate::listing::{Listing, ServiceRow};

/// Buckets of IPVS's two tables of services.
const BUCKETS: u32 = 256;
/// Bits of a port that are folded over the others.
const FOLD: u32 = 8;
/// IPVS mixes a number of each boot into the buckets; this one gives the order of the kernel
/// that Director is compared with.
const SALT: u32 = 0x30;

/// Puts services into the order of IPVS's hash tables: those with an address first, then
/// marks, each by their bucket. Real servers stay newest first.
pub fn as_in_kernel(listing: &mut Listing) {
    listing.services.sort_by_key(|row| (is_mark(row), bucket(&row.identity)));
}

fn is_mark(row: &ServiceRow) -> bool {
    matches!(row.identity, Identity::Mark { .. })
}

fn bucket(identity: &Identity) -> u32 {
    let hash = match *identity {
        Identity::Address { protocol, vip, vip_port } => {
            let port = u32::from(vip_port);
            u32::from(protocol.number()) ^ folded(vip) ^ (port >> FOLD) ^ port
        }
        Identity::Ports { vip, first, .. } => folded(vip) ^ u32::from(first),
        Identity::Mark { mark, .. } => mark.0.get(),
    };
    (hash ^ SALT) % BUCKETS
}

fn folded(address: Addr) -> u32 {
    match IpAddr::from(address) {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            (0..4).fold(0, |sum, word| sum ^ (bits >> (32 * word)) as u32)
        }
    }
}
