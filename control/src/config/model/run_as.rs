//! Who the director is while it runs.

use documented::{Documented, DocumentedFields};
use serde::Serialize;

/// `run_as`: a user without privileges. The director starts as root, opens its ports and
/// then becomes this user in every thread: no capability is left, and none can be gained again.
/// The control socket, the runtime folder and the state folder are given to the user; the
/// configuration must be readable for it, or it is not read again. A NIC whose driver asks
/// the kernel for more while it runs (such as mlx5) needs to stay root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct RunAs {
    /// `user`: its name; `run_as: director` is short for `run_as: { user: director }`.
    pub user: String,
    /// `group`: the group's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}
