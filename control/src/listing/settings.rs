//! Timeouts and synchronisation daemons: `ipvsadm -l --timeout` and `--daemon`.

use dataplane::conn::Timeouts;

use super::row::{SyncDaemon, SyncRole};

/// The three timeouts that can be set, in seconds.
pub fn timeouts(timeouts: &Timeouts) -> String {
    let Timeouts { tcp_s, tcp_fin_s, udp_s } = timeouts;
    format!("Timeout (tcp tcpfin udp): {tcp_s} {tcp_fin_s} {udp_s}\n")
}

/// One line per running daemon; nothing if none runs.
pub fn daemons(daemons: &[SyncDaemon]) -> String {
    let line = |daemon: &SyncDaemon| {
        let SyncDaemon { interface, syncid, maxlen, group, port, ttl, .. } = daemon;
        let role = match daemon.role {
            SyncRole::Master => "master",
            SyncRole::Backup => "backup",
        };
        format!(
            "{role} sync daemon (mcast={interface}, syncid={syncid}, maxlen={maxlen}, \
             group={group}, port={port}, ttl={ttl})\n"
        )
    };
    daemons.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_timeouts_are_listed_as_recorded() {
        let text = timeouts(&Timeouts::default());
        assert_eq!(text, "Timeout (tcp tcpfin udp): 900 120 300\n");
        let text = timeouts(&Timeouts { tcp_s: 20, tcp_fin_s: 6, udp_s: 5 });
        assert_eq!(text, "Timeout (tcp tcpfin udp): 20 6 5\n");
    }

    #[test]
    fn daemons_are_listed_as_recorded_and_none_as_nothing() {
        let daemon = |role, syncid| SyncDaemon {
            role,
            interface: "cli0".into(),
            syncid,
            maxlen: 1472,
            group: [224, 0, 0, 81].into(),
            port: 8848,
            ttl: 1,
        };
        assert_eq!(daemons(&[]), "");
        assert_eq!(
            daemons(&[daemon(SyncRole::Master, 7), daemon(SyncRole::Backup, 255)]),
            "master sync daemon (mcast=cli0, syncid=7, maxlen=1472, group=224.0.0.81, \
             port=8848, ttl=1)\n\
             backup sync daemon (mcast=cli0, syncid=255, maxlen=1472, group=224.0.0.81, \
             port=8848, ttl=1)\n"
        );
    }
}
