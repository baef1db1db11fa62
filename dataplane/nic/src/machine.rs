//! What the kernel's files say of a machine: the one that this runs on, or another one whose
//! `/sys` and `/proc` lie under a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::interface::{self, Carrier, Offload};

/// A machine to be looked at.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `None` for this one.
    root: Option<PathBuf>,
}

impl Machine {
    /// The machine that this runs on, as this thread sees it.
    pub fn this() -> Self {
        Self { root: None }
    }

    /// A machine whose files lie under this folder: `ROOT/sys`, `ROOT/proc`.
    pub fn at(root: &Path) -> Self {
        Self { root: Some(root.to_owned()) }
    }

    /// Whether it is the machine that this runs on, so that its kernel can be asked.
    pub fn is_this(&self) -> bool {
        self.root.is_none()
    }

    /// Where a file of the machine lies; `path` is absolute.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.root {
            None => PathBuf::from(path),
            Some(root) => root.join(path.trim_start_matches('/')),
        }
    }

    /// A file's text without the blanks around it; `None` where there is no such file.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok().map(|text| text.trim().to_owned())
    }

    /// A file's number.
    pub fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.read(path)?.parse().ok()
    }

    /// Whether there is such a file or folder.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The last part of what a symbolic link points to.
    pub fn link(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// The names in a folder, sorted; none where there is no such folder.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    /// A list of CPUs as the kernel writes it: `0-3,8`.
    pub fn cpus(&self, path: &str) -> Option<Vec<usize>> {
        self.read(path).map(|text| cpu_list(&text))
    }

    /// The NUMA node of a CPU; 0 where the machine has no nodes.
    pub fn node_of(&self, cpu: usize) -> u32 {
        let holds = |node: &u32| {
            let path = format!("/sys/devices/system/node/node{node}/cpulist");
            self.cpus(&path).is_some_and(|cpus| cpus.contains(&cpu))
        };
        self.nodes().into_iter().find(holds).unwrap_or(0)
    }

    /// The NUMA nodes.
    pub fn nodes(&self) -> Vec<u32> {
        let names = self.list("/sys/devices/system/node");
        names.iter().filter_map(|name| name.strip_prefix("node")?.parse().ok()).collect()
    }

    /// Whether the network namespace has this interface.
    pub fn has_interface(&self, name: &str) -> bool {
        match self.root {
            None => interface::exists(name),
            Some(_) => self.has(&format!("/sys/class/net/{name}")),
        }
    }

    /// The interface's MTU in bytes; `None` where it is not known.
    pub fn mtu_of(&self, name: &str) -> Option<u32> {
        match self.root {
            None => interface::mtu(name),
            Some(_) => self.number(&format!("/sys/class/net/{name}/mtu")),
        }
    }

    /// Whether frames can pass the interface; `None` where it is not known.
    pub fn carrier_of(&self, name: &str) -> Option<Carrier> {
        const UP: u32 = 1;
        if self.is_this() {
            return interface::carrier(name);
        }
        // `flags` there has no IFF_RUNNING, and `carrier` cannot be read of one that is down.
        let folder = format!("/sys/class/net/{name}");
        let flags = self.read(&format!("{folder}/flags"))?;
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        Some(match self.number::<u8>(&format!("{folder}/carrier")) {
            _ if flags & UP == 0 => Carrier::Down,
            Some(0) => Carrier::Absent,
            _ => Carrier::There,
        })
    }

    /// The offloads that the interface has switched on, of those that no poll-mode port can
    /// live with. Only this machine's kernel can be asked; of others none is known.
    pub fn offloads_of(&self, name: &str) -> Vec<Offload> {
        match self.root {
            None => interface::offloads(name),
            Some(_) => Vec::new(),
        }
    }
}

/// The CPUs of a list such as `0-3,8`.
pub fn cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last.min(first.saturating_add(4096)));
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_reads_as_the_kernel_writes_it() {
        assert_eq!(cpu_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(cpu_list(""), [] as [usize; 0]);
        assert_eq!(cpu_list("x,3"), [3]);
    }

    #[test]
    fn another_machine_is_its_files() {
        let root = std::env::temp_dir().join(format!("nic-machine-{}", std::process::id()));
        for (path, text) in [
            ("sys/devices/system/node/node0/cpulist", "0-1\n"),
            ("sys/devices/system/node/node1/cpulist", "2-3\n"),
            ("sys/class/net/eth7/mtu", "9000\n"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine::at(&root);
        assert_eq!(machine.nodes(), [0, 1]);
        assert_eq!((machine.node_of(3), machine.node_of(1), machine.node_of(99)), (1, 0, 0));
        assert!(machine.has_interface("eth7") && !machine.has_interface("lo"));
        assert_eq!(machine.mtu_of("eth7"), Some(9000));
        fs::remove_dir_all(&root).unwrap();
        assert!(Machine::this().has_interface("lo"));
    }
}
