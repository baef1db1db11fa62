//! Per-core counters: one writer, any number of readers, no line shared between cores.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::verdict::DropReason;

/// A number that one core counts up and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; only ever called by the owning core.
    #[inline]
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// Takes from it (gauges).
    #[inline]
    pub fn sub(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(by), Relaxed);
    }

    /// Sets it (gauges).
    #[inline]
    pub fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    /// Reads it.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! core_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One counter per drop reason.
        #[derive(Debug)]
        pub struct Drops([Counter; DropReason::COUNT]);

        impl Default for Drops {
            fn default() -> Self {
                Self(std::array::from_fn(|_| Counter::default()))
            }
        }

        /// What one core has done. Conservation holds whenever the core is between two
        /// turns: `received = forwarded + punted + dropped + unsent + held`.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct CoreCounters {
            $($(#[$doc])* pub $name: Counter,)*
            /// Frames dropped, by reason.
            pub dropped: Drops,
        }

        /// One reading of [`CoreCounters`], or the sum of several.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CoreTotals {
            $($(#[$doc])* pub $name: u64,)*
            /// Frames dropped, by reason.
            pub dropped: Vec<u64>,
        }

        impl CoreCounters {
            /// Reads all of them.
            pub fn read(&self) -> CoreTotals {
                CoreTotals {
                    $($name: self.$name.get(),)*
                    dropped: self.dropped.0.iter().map(Counter::get).collect(),
                }
            }
        }

        impl CoreTotals {
            /// Adds another core's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
                self.dropped.resize(DropReason::COUNT, 0);
                for (sum, more) in self.dropped.iter_mut().zip(&other.dropped) {
                    *sum = sum.wrapping_add(*more);
                }
            }
        }
    };
}

core_counters! {
    /// Frames received from all ports.
    received,
    /// Frames sent on: balanced traffic, answers, and what passed to or from the
    /// kernel-facing port.
    forwarded,
    /// Frames handed to the control thread.
    punted,
    /// Frames that a port's full queue refused.
    unsent,
    /// Frames waiting for a next hop's MAC address (a gauge).
    held,
    /// Of the forwarded: answers given as a host (ARP, echo, RST, ICMP errors).
    answered,
    /// Of the forwarded: handed to the kernel-facing port.
    to_kernel,
    /// Frames sent that answer to no received one (ARP requests, announcements).
    originated,
    /// Connections scheduled.
    scheduled,
    /// New connections that followed a template.
    followed,
    /// New clients placed by hash, because the template table was full.
    untracked,
    /// Connections in the table (a gauge).
    connections,
    /// Of these, IPv6 ones (a gauge).
    connections_v6,
    /// IPv4 connections that there is room for (a gauge).
    room_v4,
    /// IPv6 connections that there is room for (a gauge).
    room_v6,
    /// Bytes that the connection tables take (a gauge).
    connection_bytes,
    /// Of these, those of IPv6 connections.
    connection_bytes_v6,
    /// The age that clients of `tracking: client` get now, modulo 256 (a gauge).
    client_age,
    /// Turns of the poll loop.
    turns,
    /// Turns that received something.
    busy_turns,
    /// The generation of the snapshot in use (a gauge).
    generation,
    /// Real servers that answered ARP for a VIP: the VIP is not hidden on them.
    vip_claims,
}

impl CoreCounters {
    /// Counts a dropped frame.
    #[inline]
    pub fn dropped(&self, reason: DropReason) {
        if let Some(counter) = self.dropped.0.get(reason as usize) {
            counter.add(1);
        }
    }
}

impl CoreTotals {
    /// All drops together.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Drops for one reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    /// `received = forwarded + punted + dropped + unsent + held`.
    pub fn is_conserved(&self) -> bool {
        self.received
            == self.forwarded + self.punted + self.dropped_total() + self.unsent + self.held
    }
}
