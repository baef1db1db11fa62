//! Who the director is once its ports are up: an ordinary user, with no capability left.
//!
//! DPDK needs root to open ports and hugepages, and nothing of it to poll them: sockets,
//! queues and memory stay open. So a director with `run_as` becomes that user before it says that
//! it is ready. [`Account::seal`] comes first, while there is one thread: what it takes away
//! cannot be taken away from others later. [`Account::take`] changes every thread, because
//! the C library's `setresuid` does, and looks whether it did.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set,
    set_no_new_privs,
};
use thiserror::Error;

use crate::config::model::RunAs;

/// Why the director cannot be who it should be.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// No such user.
    #[error(
        "run_as: there is no user `{0}` on this machine; make one \
         (`useradd --system --no-create-home {0}`) or name another"
    )]
    NoUser(String),
    /// No such group.
    #[error(
        "run_as: there is no group `{0}` on this machine; make one (`groupadd --system {0}`) or name another"
    )]
    NoGroup(String),
    /// Only root can become somebody else.
    #[error(
        "run_as: only root can become `{0}`, and this process is not root; start it as root, \
         or remove run_as"
    )]
    NotRoot(String),
    /// The system refused a step.
    #[error("run_as: {what}: {error}")]
    System {
        /// The step.
        what: String,
        /// What it said.
        error: io::Error,
    },
    /// A thread kept capabilities.
    #[error(
        "run_as: a thread kept the capabilities {0}; this system does not drop them with the user"
    )]
    Kept(String),
}

/// A user and group that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// Looks the user and group up. The group is the user's own unless one is named.
    ///
    /// # Errors
    /// [`PrivilegeError`] where one of them is missing, or this process cannot become them.
    pub fn find(run_as: &RunAs) -> Result<Self, PrivilegeError> {
        let failed = |what: &str, error: nix::Error| PrivilegeError::System {
            what: format!("{what} cannot be looked up"),
            error: error.into(),
        };
        let user = User::from_name(&run_as.user)
            .map_err(|error| failed(&run_as.user, error))?
            .ok_or_else(|| PrivilegeError::NoUser(run_as.user.clone()))?;
        let gid = match &run_as.group {
            None => user.gid,
            Some(name) => {
                let group = Group::from_name(name).map_err(|error| failed(name, error))?;
                group.ok_or_else(|| PrivilegeError::NoGroup(name.clone()))?.gid
            }
        };
        if !Uid::effective().is_root() && Uid::effective() != user.uid {
            return Err(PrivilegeError::NotRoot(user.name));
        }
        Ok(Self { name: user.name, uid: user.uid, gid })
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// No program that this process might start gets a privilege. For this thread and those
    /// it starts later; what this thread may do itself stays.
    ///
    /// # Errors
    /// [`PrivilegeError::System`].
    pub fn seal(&self) -> Result<(), PrivilegeError> {
        let failed = |what: &str, error: rustix::io::Errno| PrivilegeError::System {
            what: what.to_owned(),
            error: error.into(),
        };
        set_no_new_privs(true).map_err(|error| failed("no_new_privs cannot be set", error))?;
        for capability in CapabilitySet::all().iter() {
            // One that this kernel does not know is in no set of it.
            if !capability_is_in_bounding_set(capability).unwrap_or(false) {
                continue;
            }
            match remove_capability_from_bounding_set(capability) {
                // Without CAP_SETPCAP the set stays as it is; no_new_privs holds all the same.
                Ok(()) | Err(rustix::io::Errno::PERM) => {}
                Err(error) => return Err(failed("the bounding set cannot be emptied", error)),
            }
        }
        Ok(())
    }

    /// Becomes the user in every thread, after giving it the files that the director will
    /// write to or remove. A path that is not there is passed over.
    ///
    /// # Errors
    /// [`PrivilegeError`]; then the process may be half of each and must end.
    pub fn take(&self, files: &[PathBuf]) -> Result<(), PrivilegeError> {
        for file in files {
            self.give(file, MAX_DEPTH).map_err(|error| PrivilegeError::System {
                what: format!("{} cannot be given to `{}`", file.display(), self.name),
                error,
            })?;
        }
        let failed = |what: &str, error: nix::Error| PrivilegeError::System {
            what: format!("{what} of `{}` cannot be taken on", self.name),
            error: error.into(),
        };
        if Uid::effective().is_root() {
            setgroups(&[self.gid]).map_err(|error| failed("the groups", error))?;
        }
        setresgid(self.gid, self.gid, self.gid).map_err(|error| failed("the group", error))?;
        setresuid(self.uid, self.uid, self.uid).map_err(|error| failed("the user", error))?;
        if self.uid.is_root() { Ok(()) } else { no_thread_keeps_capabilities() }
    }

    fn give(&self, path: &Path, depth: usize) -> io::Result<()> {
        let there = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            there => there?,
        };
        lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))?;
        if there.is_dir() && depth > 0 {
            for entry in fs::read_dir(path)? {
                self.give(&entry?.path(), depth - 1)?;
            }
        }
        Ok(())
    }
}

/// Folders in folders that are given away: `RUNTIME/dpdk/PREFIX/FILE`.
const MAX_DEPTH: usize = 3;

/// How long a thread may take to end.
const ENDING: Duration = Duration::from_secs(2);

/// A thread that is about to end is not changed by the C library, and is still listed for a
/// moment: it has to be gone soon.
fn no_thread_keeps_capabilities() -> Result<(), PrivilegeError> {
    let began = Instant::now();
    loop {
        match no_thread_has_capabilities() {
            Err(PrivilegeError::Kept(_)) if began.elapsed() < ENDING => {
                std::thread::sleep(Duration::from_millis(10));
            }
            found => return found,
        }
    }
}

fn no_thread_has_capabilities() -> Result<(), PrivilegeError> {
    let failed = |error| PrivilegeError::System { what: "/proc/self/task".to_owned(), error };
    for thread in fs::read_dir("/proc/self/task").map_err(failed)? {
        let path = thread.map_err(failed)?.path().join("status");
        // A thread that ended meanwhile has none.
        let Ok(status) = fs::read_to_string(path) else { continue };
        for line in status.lines() {
            if let Some((name @ ("CapPrm" | "CapEff"), set)) = line.split_once(":\t")
                && set.bytes().any(|digit| digit != b'0')
            {
                return Err(PrivilegeError::Kept(format!("{name} {set}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_as(user: &str, group: Option<&str>) -> RunAs {
        RunAs { user: user.to_owned(), group: group.map(str::to_owned) }
    }

    #[test]
    fn who_is_not_there_is_named_with_the_command_that_makes_him() {
        let told = |run_as| Account::find(&run_as).unwrap_err().to_string();
        let text = told(run_as("no-such-user", None));
        assert!(text.contains("`no-such-user`") && text.contains("useradd --system"), "{text}");
        let text = told(run_as("root", Some("no-such-group")));
        assert!(text.contains("groupadd --system no-such-group"), "{text}");
    }

    #[test]
    fn the_group_is_the_user_s_own_unless_one_is_named() {
        let own = Account::find(&run_as("root", None)).unwrap();
        assert_eq!((own.uid.as_raw(), own.gid.as_raw()), (0, 0));
        let other = Account::find(&run_as("root", Some("daemon"))).unwrap();
        assert_eq!(other.gid, Group::from_name("daemon").unwrap().unwrap().gid);
    }
}
