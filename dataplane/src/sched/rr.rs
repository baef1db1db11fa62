//! Round robin: the next usable real server after the one served last.

use std::sync::Arc;

use super::Pool;
use crate::ids::RealId;
use crate::snapshot::Member;

/// Where the round stands: the member served last, in the list as it was then.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    at: Option<Member>,
    list: Arc<[Member]>,
}

impl Cursor {
    /// The first usable member after the cursor, through the head once, up to and
    /// including the cursor itself.
    pub(super) fn pick(&mut self, pool: &Pool<'_>) -> Option<RealId> {
        let members = pool.members;
        let start = match self.at {
            Some(at) => members.iter().position(|member| *member == at).map_or(0, |i| i + 1),
            None => 0,
        };
        let (before, after) = members.split_at_checked(start)?;
        let next = after.iter().chain(before).find(|member| pool.is_usable(member.real))?;
        self.at = Some(*next);
        Some(next.real)
    }

    /// Follows a changed list: a cursor on a removed member falls back to its predecessor,
    /// so that the removed one's successor is next.
    pub(super) fn follow(&mut self, members: &Arc<[Member]>) {
        if let Some(at) = self.at
            && !members.contains(&at)
        {
            let place = self.list.iter().position(|member| *member == at).unwrap_or(0);
            self.at = self.list.iter().take(place).rev().find(|m| members.contains(m)).copied();
        }
        self.list = Arc::clone(members);
    }
}
