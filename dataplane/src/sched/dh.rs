//! Destination hashing: 256 buckets over the destination address, weights ignored.

use super::sh::{BUCKETS, folded, multiplicative};
use super::{Listed, Pool};
use crate::ids::RealId;
use crate::wire::Packet;

/// Bucket i gets the list's real servers in turn.
pub(super) fn buckets(listed: &[Listed]) -> Box<[RealId]> {
    let buckets = if listed.is_empty() { 0 } else { BUCKETS };
    listed.iter().map(|member| member.real).cycle().take(buckets).collect()
}

pub(super) fn pick(pool: &Pool<'_>, buckets: &[RealId], packet: &Packet) -> Option<RealId> {
    let real = *buckets.get(usize::from(multiplicative(folded(packet.dst))))?;
    pool.is_usable(real).then_some(real)
}
