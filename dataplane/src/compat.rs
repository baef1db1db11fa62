//! The switches that IPVS has as sysctls, and the two generations of kernels.

/// Whose rules are followed where kernels differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Stable kernels since mid-2026 (6.1.192, 6.12.107 and later): load is
    /// 257 x active + inactive, thresholds act at once when they are edited.
    #[default]
    New,
    /// Stable kernels before that: load is 256 x active + inactive.
    Classic,
}

/// What happens to the TTL (hop limit) of a forwarded packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TtlPolicy {
    /// Decremented by one, as today's kernels do; at 1 the client gets "time exceeded".
    #[default]
    Decrement,
    /// Left alone: direct routing then changes the twelve MAC bytes and nothing else.
    Keep,
}

/// When a defence is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Defence {
    /// Never (mode 0).
    #[default]
    Off,
    /// When the connection table runs full; under [`Compat::as_kernel`] when the machine's
    /// memory does (modes 1 and 2).
    Pressed,
    /// Always (mode 3).
    Always,
}

/// IPVS's sysctls under their own names, with the kernel's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Compat {
    /// Load formula and threshold rules.
    pub kernel: Kernel,
    /// What direct routing does to the TTL.
    pub ttl: TtlPolicy,
    /// Any TCP segment but RST may open a connection (for a director that takes over).
    pub sloppy_tcp: bool,
    /// Any SCTP packet but ABORT may open a connection.
    pub sloppy_sctp: bool,
    /// Bits: 1 = a SYN on a connection in TIME_WAIT or CLOSE is scheduled anew,
    /// 2 = also in FIN_WAIT under direct routing. Never for persistent services.
    pub conn_reuse_mode: u8,
    /// Connections of a removed real server end at once instead of being dropped silently.
    pub expire_nodest_conn: bool,
    /// Templates of a real server with weight 0 are not honoured any more.
    pub expire_quiescent_template: bool,
    /// ICMP errors about unknown flows are scheduled like new connections.
    pub schedule_icmp: bool,
    /// A masqueraded real server's packet that belongs to no connection is answered with
    /// "port unreachable" instead of being sent on.
    pub nat_icmp_send: bool,
    /// A tunnel's outer packet may be fragmented only where the inner one may, and packets
    /// that are too long are answered. Off: all outer packets may be fragmented.
    pub pmtu_disc: bool,
    /// Connections that look like an attack's are ended early.
    pub drop_entry: Defence,
    /// Every so many packets without a connection are dropped.
    pub drop_packet: Defence,
    /// Of how many packets [`Defence::Always`] drops one.
    pub am_droprate: u32,
    /// Free entries of a core's connection table below which [`Defence::Pressed`] is up; under
    /// [`Self::as_kernel`] free pages of memory.
    pub amemthresh: u32,
    /// The second TCP state table, for times of attack.
    pub secure_tcp: Defence,
    /// Data connections of masqueraded FTP servers are understood, as with the kernel's module
    /// of this name; to third hosts, too, under [`Self::as_kernel`].
    pub ip_vs_ftp: bool,
    /// A template that a new connection uses gets the service's timeout back even after it
    /// outlived its own (the kernel leaves it at 60 s). Not a kernel switch.
    pub renew_extended_templates: bool,
    /// Where Director does better than the kernel on purpose, the kernel's way is taken: what
    /// finds a full table is dropped, errors are limited by their receiver, `rr` and its like
    /// have one cursor for all cores, defences look at the machine's memory, FTP's words are taken
    /// for other hosts too. Not a kernel switch.
    pub as_kernel: bool,
}

impl Default for Compat {
    fn default() -> Self {
        Self {
            kernel: Kernel::New,
            ttl: TtlPolicy::Decrement,
            sloppy_tcp: false,
            sloppy_sctp: false,
            conn_reuse_mode: 1,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            drop_entry: Defence::Off,
            drop_packet: Defence::Off,
            am_droprate: 10,
            amemthresh: 1024,
            secure_tcp: Defence::Off,
            ip_vs_ftp: true,
            renew_extended_templates: false,
            as_kernel: false,
        }
    }
}
