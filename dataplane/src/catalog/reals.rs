//! Real servers: added, edited, removed, and their ids given out again.

use std::sync::Arc;

use super::spec::RealSpec;
use super::{Catalog, RealEntry, Refused};
use crate::compat::Kernel;
use crate::ids::{Generation, RealId, ServiceId};
use crate::snapshot::{Identity, Member, Real};
use crate::wire::Addr;

impl Catalog {
    /// Puts a real server at the head of a service's list. One that was removed before and
    /// still has connections or templates comes back as itself, counters and all.
    pub fn add_real(&mut self, identity: &Identity, spec: RealSpec) -> Result<RealId, Refused> {
        check_thresholds(&spec)?;
        let (service, entry) = self.entry_mut(identity)?;
        let key = (service, spec.address, spec.port);
        let present = entry.members.iter().map(|member| member.real).collect::<Vec<_>>();
        let known = self.real_ids.get(&key).copied();
        if known.is_some_and(|id| present.contains(&id)) {
            return Err(Refused::RealExists);
        }
        let id = match known {
            Some(id) => id,
            None => self.new_real_id(key)?,
        };
        self.shared.loads.reserve(id);
        self.number(service, id);
        let incarnation = self
            .reals
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .map_or(0, |old| old.incarnation.wrapping_add(1));
        let real = self.make_real(id, service, &spec, spec.weight);
        let entry =
            RealEntry { built: Arc::new(real.clone()), real, spec, incarnation, removed_in: None };
        self.update_overload(&entry.real, None);
        if let Some(place) = self.reals.get_mut(id.0 as usize) {
            *place = Some(entry);
        }
        let (_, entry) = self.entry_mut(identity)?;
        entry.members.insert(0, Member { real: id, incarnation });
        self.rebuild(service, true);
        Ok(id)
    }

    /// Replaces everything of a real server but its address and port; it keeps its place.
    pub fn edit_real(&mut self, identity: &Identity, spec: RealSpec) -> Result<(), Refused> {
        check_thresholds(&spec)?;
        let (service, id) = self.find_real(identity, spec.address, spec.port)?;
        let last_weight = self
            .reals
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .map_or(spec.weight, |old| old.real.last_weight);
        let real = self.make_real(id, service, &spec, last_weight);
        let old = self.reals.get_mut(id.0 as usize).and_then(Option::as_mut);
        let mut upper_before = None;
        if let Some(entry) = old {
            upper_before = Some((entry.real.upper_threshold, entry.real.lower_threshold));
            entry.built = Arc::new(real.clone());
            entry.real = real.clone();
            entry.spec = spec;
        }
        self.update_overload(&real, upper_before);
        self.rebuild(service, true);
        Ok(())
    }

    /// Takes a real server out of its service's list.
    pub fn delete_real(
        &mut self,
        identity: &Identity,
        address: Addr,
        port: u16,
    ) -> Result<(), Refused> {
        let (service, id) = self.find_real(identity, address, port)?;
        let (_, entry) = self.entry_mut(identity)?;
        if let Some(gone) = entry.members.iter().find(|member| member.real == id).copied() {
            entry.rr_removals.record(entry.list_epoch, &entry.members, gone);
        }
        entry.members.retain(|member| member.real != id);
        self.retire(id);
        self.rebuild(service, true);
        Ok(())
    }

    pub(super) fn find_real(
        &self,
        identity: &Identity,
        address: Addr,
        port: u16,
    ) -> Result<(ServiceId, RealId), Refused> {
        let (service, entry) = self.entry(identity).ok_or(Refused::NoSuchService)?;
        let id = self.real_ids.get(&(service, address, port)).copied();
        let id = id.filter(|id| entry.members.iter().any(|member| member.real == *id));
        Ok((service, id.ok_or(Refused::NoSuchReal)?))
    }

    pub(super) fn retire(&mut self, id: RealId) {
        let generation = self.generation;
        if let Some(Some(entry)) = self.reals.get_mut(id.0 as usize) {
            entry.real.available = false;
            entry.built = Arc::new(entry.real.clone());
            entry.removed_in = Some(Generation(generation.0 + 1));
        }
        self.end_removed(id);
    }

    /// A real server was removed. With `expire_nodest_conn`, what belongs to it ends, and what
    /// belongs to those that were removed before; a switch that is thrown later ends nothing.
    fn end_removed(&mut self, removed: RealId) {
        let ends = |service: ServiceId| {
            let entry = self.services.get(service.0 as usize).and_then(Option::as_ref);
            entry.map_or(self.compat, |entry| entry.spec.compat).expire_nodest_conn
        };
        let of = self.reals.get(removed.0 as usize).and_then(Option::as_ref);
        if !of.is_some_and(|entry| ends(entry.real.service)) {
            return;
        }
        let gone = |entry: &RealEntry| !entry.real.available && !entry.real.flushed;
        let those: Vec<RealId> = self
            .reals
            .iter()
            .flatten()
            .filter(|entry| gone(entry) && ends(entry.real.service))
            .map(|entry| entry.real.id)
            .collect();
        for id in those {
            if let Some(Some(entry)) = self.reals.get_mut(id.0 as usize) {
                entry.real.flushed = true;
                entry.built = Arc::new(entry.real.clone());
            }
        }
    }

    /// Gives a real server the lowest free number of its service, unless it has one.
    fn number(&mut self, service: ServiceId, id: RealId) {
        let Some(numbers) = self.numbers.get_mut(service.0 as usize) else { return };
        if numbers.contains(&Some(id)) {
            return;
        }
        match numbers.iter().skip(2).position(Option::is_none) {
            Some(free) => {
                if let Some(place) = numbers.get_mut(free + 2) {
                    *place = Some(id);
                }
            }
            None => numbers.push(Some(id)),
        }
    }

    fn new_real_id(&mut self, key: (ServiceId, Addr, u16)) -> Result<RealId, Refused> {
        let id = match self.free_reals.pop() {
            Some(id) => id,
            None => {
                let id = RealId(self.reals.len() as u32);
                if id.0 >= RealId::LIMIT {
                    return Err(Refused::TooMany);
                }
                self.reals.push(None);
                id
            }
        };
        self.real_ids.insert(key, id);
        Ok(id)
    }

    /// Frees the ids of removed real servers that nothing refers to, once every core runs
    /// at least this generation. Called now and then by control.
    pub fn reclaim(&mut self, adopted: Generation) {
        let mut freed = Vec::new();
        for entry in self.reals.iter().flatten() {
            let gone = entry.removed_in.is_some_and(|removed| removed <= adopted);
            if gone && self.shared.loads.sum(entry.real.id).is_idle() {
                freed.push((
                    entry.real.id,
                    entry.real.service,
                    entry.real.address,
                    entry.real.port,
                ));
            }
        }
        for (id, service, address, port) in freed {
            self.real_ids.remove(&(service, address, port));
            for number in self.numbers.get_mut(service.0 as usize).into_iter().flatten() {
                if *number == Some(id) {
                    *number = None;
                }
            }
            if let Some(place) = self.reals.get_mut(id.0 as usize) {
                *place = None;
            }
            self.shared.loads.reset(id);
            self.free_reals.push(id);
        }
    }

    /// Follows an edit of the thresholds (IPVS: "classic" only ever clears the flag here,
    /// "new" sets it as well).
    fn update_overload(&self, real: &Real, before: Option<(u32, u32)>) {
        let (upper, lower) = (real.upper_threshold, real.effective_lower_threshold());
        let total = self.shared.loads.sum(real.id).total();
        let loads = &self.shared.loads;
        match self.compat.kernel {
            _ if upper == 0 => loads.set_overloaded(real.id, false),
            Kernel::Classic => {
                if before.is_some_and(|(old, _)| upper > old) {
                    loads.set_overloaded(real.id, false);
                }
            }
            Kernel::New if before == Some((upper, real.lower_threshold)) => {}
            Kernel::New if total >= u64::from(upper) => loads.set_overloaded(real.id, true),
            Kernel::New if total < u64::from(lower) => loads.set_overloaded(real.id, false),
            Kernel::New => {}
        }
    }
}

pub(super) fn check_thresholds(spec: &RealSpec) -> Result<(), Refused> {
    if spec.lower_threshold > spec.upper_threshold { Err(Refused::Thresholds) } else { Ok(()) }
}
