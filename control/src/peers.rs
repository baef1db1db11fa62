//! Who may speak to the director: the kernel says who connected, the configuration who may.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

use crate::api::Peer;
use crate::config::model::Allow;

/// Users and groups that may use the control socket besides root and the director's own user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    users: Vec<Uid>,
    groups: Vec<Gid>,
}

impl Peers {
    /// Looks the configuration's names up on this machine.
    ///
    /// # Errors
    /// A sentence that names the first one that there is not.
    pub fn find(allow: &Allow) -> Result<Self, String> {
        let user = |name: &String| match name.parse() {
            Ok(number) => Ok(Uid::from_raw(number)),
            Err(_) => match User::from_name(name) {
                Ok(Some(user)) => Ok(user.uid),
                Ok(None) => Err(unknown("users", "user", name, "useradd")),
                Err(error) => Err(unreadable("users", name, error)),
            },
        };
        let group = |name: &String| match name.parse() {
            Ok(number) => Ok(Gid::from_raw(number)),
            Err(_) => match Group::from_name(name) {
                Ok(Some(group)) => Ok(group.gid),
                Ok(None) => Err(unknown("groups", "group", name, "groupadd")),
                Err(error) => Err(unreadable("groups", name, error)),
            },
        };
        Ok(Self {
            users: allow.users.iter().map(user).collect::<Result<_, _>>()?,
            groups: allow.groups.iter().map(group).collect::<Result<_, _>>()?,
        })
    }

    /// Whether only root and the director's own user may connect.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// Whether the process at the other end may be served.
    ///
    /// # Errors
    /// A sentence for the one who may not.
    pub fn admit(&self, peer: &Peer) -> Result<(), String> {
        let (user, group) = (Uid::from_raw(peer.uid), Gid::from_raw(peer.gid));
        if user.is_root() || user == geteuid() || self.users.contains(&user) {
            return Ok(());
        }
        if !self.groups.is_empty() && groups_of(user, group).any(|one| self.groups.contains(&one)) {
            return Ok(());
        }
        Err(format!(
            "user {user} may not speak to this director; be root, or have control.allow name \
             the user or a group of its"
        ))
    }
}

/// The groups of a process's user: the process's own, and those of the user database.
fn groups_of(user: Uid, group: Gid) -> impl Iterator<Item = Gid> {
    let name = User::from_uid(user).ok().flatten().and_then(|user| CString::new(user.name).ok());
    let listed = name.and_then(|name| getgrouplist(&name, group).ok()).unwrap_or_default();
    listed.into_iter().chain([group])
}

fn unknown(key: &str, what: &str, name: &str, command: &str) -> String {
    format!(
        "control.allow.{key}: there is no {what} {name} here; make it (`{command} {name}`), or remove it"
    )
}

fn unreadable(key: &str, name: &str, error: nix::Error) -> String {
    format!("control.allow.{key}: {name} cannot be looked up: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(users: &[&str], groups: &[&str]) -> Allow {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Allow { users: own(users), groups: own(groups) }
    }

    #[test]
    fn names_and_numbers_are_found_and_unknown_ones_are_said() {
        let found = Peers::find(&allow(&["root", "4242"], &["root", "4243"])).unwrap();
        assert_eq!(found.users, [Uid::from_raw(0), Uid::from_raw(4242)]);
        assert_eq!(found.groups, [Gid::from_raw(0), Gid::from_raw(4243)]);
        let error = Peers::find(&allow(&["no-such-user"], &[])).unwrap_err();
        assert!(error.contains("no user no-such-user") && error.contains("useradd"), "{error}");
        let error = Peers::find(&allow(&[], &["no-such-group"])).unwrap_err();
        assert!(error.contains("no group no-such-group"), "{error}");
    }

    #[test]
    fn the_owner_is_admitted_without_being_named() {
        let peer = |uid| Peer { uid, gid: uid, pid: 1 };
        assert_eq!(Peers::default().admit(&peer(geteuid().as_raw())), Ok(()));
        let refused = Peers::default().admit(&peer(4242)).unwrap_err();
        assert!(refused.contains("user 4242 may not speak"), "{refused}");
    }
}
