//! Round robin: the next usable real server after the one served last.

use super::Pool;
use crate::ids::RealId;
use crate::snapshot::Member;

/// The members that were taken out of a list, each with the one before it. A cursor on a
/// removed member falls back to that one; a core that has not picked for a while catches up
/// from here, removal by removal.
#[derive(Clone, Debug, Default)]
pub struct Removals(Vec<Removal>);

#[derive(Clone, Copy, Debug)]
struct Removal {
    /// The epoch of the list that the member was taken out of.
    list_epoch: u64,
    member: Member,
    before: Option<Member>,
}

impl Removals {
    /// A cursor on a member that was removed longer ago than this starts from the head.
    const KEPT: usize = 256;

    /// Records that this member is taken out of the list with this epoch.
    pub fn record(&mut self, list_epoch: u64, members: &[Member], member: Member) {
        let Some(place) = members.iter().position(|at| *at == member) else { return };
        let before = place.checked_sub(1).and_then(|before| members.get(before)).copied();
        if self.0.len() == Self::KEPT {
            self.0.remove(0);
        }
        self.0.push(Removal { list_epoch, member, before });
    }
}

/// The place after a member in the list, which it is looked for where it was last; 0 if it is
/// not there.
pub(super) fn after(members: &[Member], member: Option<Member>, place: usize) -> usize {
    let Some(member) = member else { return 0 };
    let found = match members.get(place) == Some(&member) {
        true => Some(place),
        false => members.iter().position(|at| *at == member),
    };
    found.map_or(0, |place| place + 1)
}

/// Where the round stands: the member served last.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    at: Option<Member>,
    /// Where it was found last.
    place: usize,
}

impl Cursor {
    /// The first usable member after the cursor, through the head once, up to and
    /// including the cursor itself.
    pub(super) fn pick(&mut self, pool: &Pool<'_>) -> Option<RealId> {
        let members = pool.members;
        let start = after(members, self.at, self.place);
        let count = members.len();
        let mut places = (start..count).chain(0..start.min(count));
        let usable = |place: &usize| members.get(*place).is_some_and(|m| pool.is_usable(m.real));
        self.place = places.find(usable)?;
        self.at = members.get(self.place).copied();
        self.at.map(|member| member.real)
    }

    /// Follows the removals since the list with this epoch: a cursor on a removed member falls
    /// back to its predecessor, so that the removed one's successor is next.
    pub(super) fn follow(&mut self, removals: &Removals, list_epoch: u64) {
        for removal in removals.0.iter().filter(|removal| removal.list_epoch >= list_epoch) {
            if self.at == Some(removal.member) {
                self.at = removal.before;
            }
        }
    }
}
