//! What a reload cannot change.

use std::fmt::Write as _;

use crate::config::Model;

/// What cannot change while the director runs, each difference in a line.
pub(super) fn needed(running: &Model, wanted: &Model) -> Result<(), String> {
    let mut said = String::new();
    let mut differ = |key: &str, differs: bool| {
        if differs {
            let _ = writeln!(
                said,
                "{key} differs from the running configuration and needs a restart \
                 (systemctl restart director); undo the change to apply the rest"
            );
        }
    };
    differ("memory", running.memory != wanted.memory);
    differ("tables.fragments", running.tables.fragments != wanted.tables.fragments);
    differ("main_core", running.main_core != wanted.main_core);
    differ("control.socket", running.control.socket != wanted.control.socket);
    differ("run_as", running.run_as != wanted.run_as);
    differ("the number of ports", running.ports.len() != wanted.ports.len());
    for (old, new) in running.ports.iter().zip(&wanted.ports) {
        let key = |name: &str| format!("ports.{}.{name}", old.name);
        differ(&key("name"), old.name != new.name);
        differ(&key("device"), old.device != new.device);
        differ(&key("kernel_port"), old.kernel_port != new.kernel_port);
        differ(&key("cores"), old.cores != new.cores);
        differ(&key("mtu"), old.mtu != new.mtu);
        differ(&key("rx_descriptors"), old.rx_descriptors != new.rx_descriptors);
        differ(&key("tx_descriptors"), old.tx_descriptors != new.tx_descriptors);
        differ(&key("promiscuous"), old.promiscuous != new.promiscuous);
    }
    if said.is_empty() { Ok(()) } else { Err(said) }
}
