//! Bytes to meaning and back: one file per protocol.
//!
//! The contract of this layer: no function here panics, whatever the bytes; none
//! allocates, reads a clock or does I/O. [`parse`] checks every length once. Functions that take a
//! frame together with its [`Packet`] expect the packet that `parse` made of that frame; given
//! another one they may read or write the wrong bytes of the frame, but stay inside of it.
//!
//! Answers (ARP replies, resets, ICMP) are written over the frame that caused them: VLAN tags stay,
//! the MACs are reflected, and all checksums are complete.

pub mod addr;
pub mod answer;
pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod field;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod packet;
mod parse;
mod plain;
pub mod sctp;
pub mod tcp;
pub mod udp;

pub use addr::{Addr, Family};
pub use answer::Unanswerable;
pub use packet::{Fragment, Malformed, NO_CHUNK, Packet, Parsed, Protocol, TcpFlags, Vlan};
pub use parse::{parse, parse_piece};
