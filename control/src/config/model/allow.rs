//! `control.allow`: who else may use the control socket.

use documented::{Documented, DocumentedFields};
use serde::Serialize;

/// `control.allow`: users and groups of this machine that may use the control socket, for
/// everything that it can do, besides root and the director's own user. Names or numbers,
/// at most 64 each. Default: nobody else. Taken over by a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Allow {
    /// `users`: by name (`alice`) or number.
    pub users: Vec<String>,
    /// `groups`: everybody who is in one of them, by name (`director-ops`) or number.
    pub groups: Vec<String>,
}
