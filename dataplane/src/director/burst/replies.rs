//! Plain packets of masqueraded real servers to their clients.

#[cfg(target_arch = "x86_64")]
use super::fours::FOUR;
#[cfg(target_arch = "x86_64")]
use super::fours_replies;
use super::lane::{Kind, Lane};
use super::read::{HeaderV4, eight, is_ack_v4, read_v4};
use super::reading::Sight;
use super::services::Way;
use super::{Desk, Learned, Reading};
use crate::conn::Signal;
use crate::conn::table::{EntryV4, Flow, Table};
use crate::cpu::Tier;
use crate::forward::ftp;
use crate::mailbox::Seen;
use crate::port::Frame;
use crate::reply::{Origin, Place, ReplyBurst, ReplyKeyV4, ReplyTable};
use crate::wire::{Addr, Family, NO_CHUNK, Protocol, TcpFlags, ipv4, tcp};

impl Learned {
    /// Reads packets of masqueraded real servers from a place on, and answers how many there
    /// are in a row. `way` is that of the frame before; `by_fours`: several in a row are likely.
    #[inline(always)]
    pub(super) fn read_answers<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        from: usize,
        frames: &[F],
        sight: Sight<'_>,
        way: &Way,
        by_fours: bool,
    ) -> usize {
        let Some(table) = sight.replies else { return 0 };
        let mut at = from;
        while let Some(frame) = frames.get(at) {
            let Some((header, head)) = read_v4::<L3, HEAD>(frame.bytes(), sight.gate) else {
                break;
            };
            let vip = Addr::v4(header.target.vip());
            if way.is_to(header.target) || sight.snapshot.classifier.may_have(vip) {
                break;
            }
            let lane = read_reply_v4::<L3, HEAD>(
                &mut reading.replies,
                at,
                &header,
                head,
                (table, sight.conns),
            );
            reading.clients.clear(at);
            reading.put_lane(at, lane);
            at += 1;
            if by_fours {
                let rest = frames.get(at..).unwrap_or_default();
                at += self.read_more::<F, L3, HEAD>(reading, at, rest, sight, table, lane.kind());
            }
        }
        at - from
    }

    /// Reads frames from a place on as long as they are plain and of real servers, by fours where
    /// the CPU can, and answers how many there were.
    #[inline(always)]
    fn read_more<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        at: usize,
        frames: &[F],
        sight: Sight<'_>,
        table: &ReplyTable,
        kind: Kind,
    ) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.tier == Tier::Avx512 && frames.len() >= FOUR {
            let [of_tcp, of_udp] = self.answers.of::<L3>(sight.gate);
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            return unsafe {
                match kind {
                    Kind::ReplyTcp => fours_replies::read::<F, L3, HEAD, false>(
                        reading, at, frames, sight, table, of_tcp,
                    ),
                    Kind::ReplyUdp => fours_replies::read::<F, L3, HEAD, true>(
                        reading, at, frames, sight, table, of_udp,
                    ),
                    _ => 0,
                }
            };
        }
        0
    }
}

/// The key of a reply that was read.
#[inline(always)]
fn key_of<const L3: usize, const HEAD: usize>(head: &[u8; HEAD], protocol: Protocol) -> ReplyKeyV4 {
    let words = [L3 + ipv4::SRC, L3 + ipv4::HEADER_LEN].map(|at| eight(head, at).swap_bytes());
    ReplyKeyV4::of_words(words, protocol)
}

/// Puts a packet that no service takes to a place among the replies, and answers its lane.
#[inline(always)]
fn read_reply_v4<const L3: usize, const HEAD: usize>(
    replies: &mut ReplyBurst,
    at: usize,
    header: &HeaderV4,
    head: &[u8; HEAD],
    (table, conns): (&ReplyTable, &Table<EntryV4>),
) -> Lane {
    let protocol = Protocol::of(header.target.protocol(), Family::V4);
    replies.put(at, key_of::<L3, HEAD>(head, protocol), table, conns);
    let kind = match protocol {
        Protocol::Udp => Kind::ReplyUdp,
        Protocol::Tcp if is_ack_v4::<L3, HEAD>(head) => Kind::ReplyTcp,
        _ => return Lane::BIND,
    };
    Lane::new(kind, 0).with_len(header.total_len)
}

impl Desk<'_> {
    /// Tells another core of a reply to one of its connections, if it is time to.
    #[inline(never)]
    pub(super) fn notes<const L3: usize>(
        &self,
        key: &ReplyKeyV4,
        place: Place,
        origin: &Origin,
        frame: &[u8],
    ) -> bool {
        if origin.vip_port == ftp::CONTROL_PORT {
            return false;
        }
        let Some(signal) = signal_of::<L3>(frame, key.protocol()) else { return false };
        if self.replies.note_is_due(place, self.now) {
            let flow = Flow {
                client: Addr::v4(key.client()),
                vip: origin.vip,
                client_port: key.client_port(),
                vip_port: origin.vip_port,
                protocol: key.protocol(),
            };
            self.note(origin, Seen { slot: origin.slot, flow, real: origin.real, signal });
        }
        true
    }
}

/// What a plain frame says to the state machine.
fn signal_of<const L3: usize>(frame: &[u8], protocol: Protocol) -> Option<Signal> {
    let flags = match protocol {
        Protocol::Tcp => *frame.get(L3 + ipv4::HEADER_LEN + tcp::FLAGS)?,
        _ => 0,
    };
    let tcp_flags = TcpFlags::from_bits_retain(flags);
    Some(Signal { protocol, tcp_flags, sctp_chunks: [NO_CHUNK; 2] })
}
