//! Which CPUs there are, and which one is left for everything that is not a packet.

use std::collections::BTreeSet;

use thiserror::Error;
use tracing::warn;

use crate::config::Model;

/// A core of the configuration that this machine does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "core {core} (`{key}`) does not exist: this machine has cores {have}; change `{key}`, or let \
     this process use the core (taskset, systemd's CPUAffinity=)"
)]
pub struct NoSuchCore {
    core: u16,
    key: String,
    have: String,
}

/// The CPU of the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainCore {
    /// Its number.
    pub core: u16,
    /// Whether it polls a port as well, because there is no other and none was named.
    pub shared: bool,
}

/// The CPUs that the affinity mask of this process allows, in rising order.
pub fn usable() -> BTreeSet<u16> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter().filter_map(|id| u16::try_from(id.id).ok()).collect()
}

/// The configured main core, or the lowest one that no port polls. Where all of them poll,
/// it is the last one of the ports' that the control thread shares.
///
/// # Errors
/// The first core of the configuration that is not among the usable ones, with its key.
pub fn main_core(model: &Model, usable: &BTreeSet<u16>) -> Result<MainCore, NoSuchCore> {
    let there = |core: u16, key: String| {
        if usable.contains(&core) {
            return Ok(core);
        }
        let have: Vec<String> = usable.iter().map(u16::to_string).collect();
        Err(NoSuchCore { core, key, have: have.join(", ") })
    };
    let mut polling = BTreeSet::new();
    for (index, port) in model.ports.iter().enumerate() {
        for core in &port.cores {
            polling.insert(there(core.0, format!("ports[{index}].cores"))?);
        }
    }
    if let Some(core) = model.main_core {
        return Ok(MainCore { core: there(core.0, "main_core".to_owned())?, shared: false });
    }
    match usable.difference(&polling).next() {
        Some(core) => Ok(MainCore { core: *core, shared: false }),
        None => Ok(MainCore { core: polling.last().copied().unwrap_or_default(), shared: true }),
    }
}

impl MainCore {
    /// Says that two have to take turns, if so.
    pub fn warn(&self) {
        if self.shared {
            warn!(
                "core {0} polls a port and also runs the control thread, so it forwards less; \
                 leave a core to itself (`ports[].cores`), or name another one (`main_core`)",
                self.core
            );
        }
    }
}

/// Keeps the calling thread and its children on this core.
pub fn pin(core: u16) {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: usize::from(core) }) {
        warn!("the control thread could not be pinned to core {core}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn chosen(cores: &str, more: &str, usable: &[u16]) -> Result<MainCore, String> {
        let text = format!(
            "ports: [{{ name: lan0, device: net_null0, addresses: [198.18.10.1/24], cores: {cores} }}]\n\
             memory: {{ no_huge: true }}\n{more}"
        );
        let model = config::parse(text, "test").unwrap();
        main_core(&model, &usable.iter().copied().collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_lowest_core_that_polls_nothing_is_the_main_core() {
        let alone = |core| Ok(MainCore { core, shared: false });
        assert_eq!(chosen("[1]", "", &[0, 1]), alone(0));
        assert_eq!(chosen("[0, 1]", "", &[0, 1, 5]), alone(5));
        assert_eq!(chosen("[3]", "", &[2, 3]), alone(2));
        assert_eq!(chosen("[1]", "main_core: 3", &[0, 1, 3]), alone(3));
    }

    #[test]
    fn where_every_core_polls_the_last_one_is_shared() {
        assert_eq!(chosen("[0, 1]", "", &[0, 1]), Ok(MainCore { core: 1, shared: true }));
        let asked = chosen("[0, 1]", "main_core: 0", &[0, 1]);
        assert_eq!(asked, Ok(MainCore { core: 0, shared: false }), "who asks knows");
    }

    #[test]
    fn a_core_that_is_not_there_is_named_with_its_key() {
        let polled = chosen("[1, 7]", "", &[0, 1]).unwrap_err();
        assert!(polled.starts_with("core 7 (`ports[0].cores`) does not exist"), "{polled}");
        assert!(polled.contains("cores 0, 1;"), "{polled}");
        let main = chosen("[1]", "main_core: 9", &[0, 1]).unwrap_err();
        assert!(main.starts_with("core 9 (`main_core`) does not exist"), "{main}");
    }
}
