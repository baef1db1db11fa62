//! Switches that the kernel's IPVS has as sysctls, and what Director does by default.

use documented::{Documented, DocumentedFields};
use serde::Serialize;

/// `compat`: what the kernel has under `/proc/sys/net/ipv4/vs/`, with the kernel's defaults.
/// Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Compat {
    /// `defaults`: what holds where nothing is written; `compat: ipvs` is short for `compat: {
    /// defaults: ipvs }`.
    pub defaults: Defaults,
    /// `kernel`: whose rules decide where kernels differ.
    pub kernel: Kernel,
    /// `sloppy_tcp`: a connection may begin with any segment but a RST.
    pub sloppy_tcp: bool,
    /// `sloppy_sctp`: a connection may begin with any chunk but an ABORT.
    pub sloppy_sctp: bool,
    /// `conn_reuse_mode`: when a SYN on a known connection is scheduled anew: 0 never, bit 1
    /// after TIME_WAIT and CLOSE, bit 2 also after FIN_WAIT seen in one direction.
    pub conn_reuse_mode: u8,
    /// `expire_nodest_conn`: forget connections at once when their real server is taken out,
    /// instead of dropping their packets until they time out.
    pub expire_nodest_conn: bool,
    /// `expire_quiescent_template`: a client bound to a real server of weight 0 is scheduled
    /// anew.
    pub expire_quiescent_template: bool,
    /// `schedule_icmp`: an ICMP error about a flow that is not known is scheduled as if it were
    /// the flow's first packet.
    pub schedule_icmp: bool,
    /// `nat_icmp_send`: a masqueraded real server's packet that belongs to no connection is
    /// answered with "port unreachable".
    pub nat_icmp_send: bool,
    /// `pmtu_disc`: tunnels tell senders of packets that are too long for them; without it the
    /// outer packet may be fragmented.
    pub pmtu_disc: bool,
    /// `secure_tcp`: the second TCP state table, for times of attack: 0 never, 1 and 2 while
    /// there is less room than `amemthresh` says, 3 always.
    pub secure_tcp: u8,
    /// `drop_entry`: half-open and idle connections are dropped at random: 0 never, 1 and 2
    /// while there is less room than `amemthresh` says, 3 always.
    pub drop_entry: u8,
    /// `drop_packet`: every n-th packet that would open a connection is dropped: 0 never, 1 and
    /// 2 while there is less room than `amemthresh` says, 3 always.
    pub drop_packet: u8,
    /// `am_droprate`: the n of `drop_packet: 3`.
    pub am_droprate: u32,
    /// `amemthresh`: free entries of a core's connection table below which modes 1 and 2 act;
    /// under `compat: ipvs`, as in the kernel, free pages of the machine's memory.
    pub amemthresh: u32,
    /// `ip_forward`: the director is a router, too, as a Linux host with
    /// `net.ipv4.ip_forward = 1` is: packets for nobody here go on by the ports' routes, and
    /// IPv4 packets from its own addresses are refused. Without it only packets of masqueraded
    /// real servers go on.
    pub ip_forward: bool,
    /// `ip_vs_ftp`: data connections of masqueraded FTP servers on port 21 are understood, as
    /// with the kernel's module of this name.
    pub ip_vs_ftp: bool,
    /// `renew_extended_templates`: a template that outlived its timeout because connections
    /// held it gets the whole timeout back with its client's next connection; the kernel leaves
    /// it at 60 s.
    pub renew_extended_templates: bool,
}

/// `compat.defaults`: what holds where nothing is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Defaults {
    /// Director's own: as IPVS, but no client is sent to a server that is down (`on_down:
    /// rebind`), and the most specific selector decides, whether or not it has a mark.
    #[default]
    Safe,
    /// The kernel's exactly, where Director does better on purpose, too: clients stay with a
    /// server that is down (`on_down: keep`), a mark's service goes before all others, fragments
    /// wait until their datagram is whole (`fragments.whole`), what finds a table full is
    /// dropped, errors are limited by their receiver, `rr`, `wrr`, `lblc` and `lblcr` have one
    /// cursor or memory for all cores, methods share a route, defences look at the machine's
    /// memory, FTP's words are taken for other hosts too (`ip_vs_ftp`), and a hidden connection
    /// lives on.
    Ipvs,
}

/// `services[].compat`: the switches that a service has otherwise than the others. A key that
/// is not there is as in the `compat` of the whole director.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct ServiceCompat {
    /// `sloppy_tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sloppy_tcp: Option<bool>,
    /// `sloppy_sctp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sloppy_sctp: Option<bool>,
    /// `conn_reuse_mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn_reuse_mode: Option<u8>,
    /// `expire_nodest_conn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_nodest_conn: Option<bool>,
    /// `expire_quiescent_template`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_quiescent_template: Option<bool>,
    /// `schedule_icmp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_icmp: Option<bool>,
    /// `pmtu_disc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pmtu_disc: Option<bool>,
    /// `secure_tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_tcp: Option<u8>,
    /// `drop_packet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_packet: Option<u8>,
    /// `ip_vs_ftp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_vs_ftp: Option<bool>,
    /// `renew_extended_templates`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_extended_templates: Option<bool>,
}

impl ServiceCompat {
    /// Whether the service has nothing otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Compat {
    /// The switches of a service that has these otherwise.
    #[must_use]
    pub fn with(self, service: &ServiceCompat) -> Self {
        let or = |own: Option<bool>, other: bool| own.unwrap_or(other);
        Self {
            sloppy_tcp: or(service.sloppy_tcp, self.sloppy_tcp),
            sloppy_sctp: or(service.sloppy_sctp, self.sloppy_sctp),
            conn_reuse_mode: service.conn_reuse_mode.unwrap_or(self.conn_reuse_mode),
            expire_nodest_conn: or(service.expire_nodest_conn, self.expire_nodest_conn),
            expire_quiescent_template: or(
                service.expire_quiescent_template,
                self.expire_quiescent_template,
            ),
            schedule_icmp: or(service.schedule_icmp, self.schedule_icmp),
            pmtu_disc: or(service.pmtu_disc, self.pmtu_disc),
            secure_tcp: service.secure_tcp.unwrap_or(self.secure_tcp),
            drop_packet: service.drop_packet.unwrap_or(self.drop_packet),
            ip_vs_ftp: or(service.ip_vs_ftp, self.ip_vs_ftp),
            renew_extended_templates: or(
                service.renew_extended_templates,
                self.renew_extended_templates,
            ),
            ..self
        }
    }
}

/// `compat.kernel`: the generation of kernels whose decisions are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Kernel {
    /// 6.12.107 and later: load is 257 x active + inactive, and edited thresholds act at
    /// once.
    #[default]
    New,
    /// Before: load is 256 x active + inactive, and a lowered threshold acts on the next
    /// connection.
    Classic,
}

impl Default for Compat {
    fn default() -> Self {
        Self {
            defaults: Defaults::Safe,
            kernel: Kernel::New,
            sloppy_tcp: false,
            sloppy_sctp: false,
            conn_reuse_mode: 1,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            secure_tcp: 0,
            drop_entry: 0,
            drop_packet: 0,
            am_droprate: 10,
            amemthresh: 1_024,
            ip_forward: false,
            ip_vs_ftp: true,
            renew_extended_templates: false,
        }
    }
}
