//! From one set of services to another by the smallest number of changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::reals::check_thresholds;
use super::spec::{Farm, Selector, SelectorKey};
use super::{Catalog, Refused};
use crate::ids::{RealId, ScopeId};
use crate::snapshot::{Identity, Snapshot};

/// What [`Catalog::apply`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services added.
    pub services_added: usize,
    /// Services edited.
    pub services_edited: usize,
    /// Services removed.
    pub services_removed: usize,
    /// Real servers added to services that were there before.
    pub reals_added: usize,
    /// Real servers edited.
    pub reals_edited: usize,
    /// Real servers removed from services that stay.
    pub reals_removed: usize,
    /// Selectors added to services that were there before.
    pub selectors_added: usize,
    /// Selectors removed from services that stay.
    pub selectors_removed: usize,
}

impl Changes {
    /// Whether everything was as asked for already.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("no change of services or real servers");
        }
        let parts = [
            (self.services_added, "service", "added"),
            (self.services_edited, "service", "edited"),
            (self.services_removed, "service", "removed"),
            (self.reals_added, "real server", "added"),
            (self.reals_edited, "real server", "edited"),
            (self.reals_removed, "real server", "removed"),
            (self.selectors_added, "selector", "added"),
            (self.selectors_removed, "selector", "removed"),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, noun, done)| {
                format!("{count} {noun}{} {done}", if *count == 1 { "" } else { "s" })
            })
            .collect();
        f.write_str(&said.join(", "))
    }
}

impl Catalog {
    /// Whether [`Self::apply`] could make the services be these.
    ///
    /// # Errors
    /// More real servers or scopes than there are ids, those of removed ones included that
    /// clients or connections still hold; thresholds that exclude each other.
    pub fn check(&self, farms: &[Farm]) -> Result<(), Refused> {
        let (mut reals, mut scopes) = (0, HashSet::new());
        for Farm { service, reals: wanted } in farms {
            let id = self.service_ids.get(&service.identity);
            for real in wanted {
                check_thresholds(real)?;
                let known = id
                    .is_some_and(|id| self.real_ids.contains_key(&(*id, real.address, real.port)));
                reals += usize::from(!known);
            }
            let scope = service.identity.scope();
            scopes.extend((!self.scopes.contains_key(&scope)).then_some(scope));
        }
        let free = (RealId::LIMIT as usize).saturating_sub(self.reals.len());
        // Id 0 is nobody's.
        let free_scopes = (ScopeId::LIMIT as usize - 1).saturating_sub(self.scopes.len());
        match reals > free + self.free_reals.len() || scopes.len() > free_scopes {
            true => Err(Refused::TooMany),
            false => Ok(()),
        }
    }

    /// Makes the services be exactly these. Services are told apart by identity and real
    /// servers by address and port, so another order changes nothing.
    ///
    /// # Errors
    /// As [`Self::check`]; nothing was changed then.
    pub fn apply(&mut self, farms: &[Farm], selectors: Vec<Selector>) -> Result<Changes, Refused> {
        self.check(farms)?;
        let mut changes = Changes::default();
        let wanted: HashSet<Identity> = farms.iter().map(|farm| farm.service.identity).collect();
        let stays = |one: &&Selector| {
            let identity = one.identity();
            wanted.contains(&identity) && self.service(&identity).is_some()
        };
        let keys = |selectors: &[Selector]| -> HashSet<SelectorKey> {
            selectors.iter().filter(stays).map(Selector::key).collect()
        };
        let (old, new) = (keys(&self.selectors), keys(&selectors));
        changes.selectors_added = new.difference(&old).count();
        changes.selectors_removed = old.difference(&new).count();
        self.set_selectors(selectors);
        for old in self.farms() {
            if !wanted.contains(&old.service.identity) {
                self.delete_service(&old.service.identity)?;
                changes.services_removed += 1;
            }
        }
        for farm in farms {
            self.apply_farm(farm, &mut changes)?;
        }
        Ok(changes)
    }

    fn apply_farm(&mut self, farm: &Farm, changes: &mut Changes) -> Result<(), Refused> {
        let identity = farm.service.identity;
        let Some(old) = self.service(&identity).cloned() else {
            self.add_service(farm.service.clone())?;
            changes.services_added += 1;
            for real in &farm.reals {
                self.add_real(&identity, *real)?;
            }
            return Ok(());
        };
        if old != farm.service {
            self.edit_service(farm.service.clone())?;
            changes.services_edited += 1;
        }
        let present = self.reals_of(&identity);
        for gone in present.iter().filter(|old| !farm.reals.iter().any(|new| same_server(old, new)))
        {
            self.delete_real(&identity, gone.address, gone.port)?;
            changes.reals_removed += 1;
        }
        for new in &farm.reals {
            match present.iter().find(|old| same_server(old, new)) {
                Some(old) if old == new => {}
                Some(_) => {
                    self.edit_real(&identity, *new)?;
                    changes.reals_edited += 1;
                }
                None => {
                    self.add_real(&identity, *new)?;
                    changes.reals_added += 1;
                }
            }
        }
        Ok(())
    }

    fn reals_of(&self, identity: &Identity) -> Vec<super::spec::RealSpec> {
        let members = self.entry(identity).map(|(_, entry)| entry.members.clone());
        members.unwrap_or_default().iter().rev().filter_map(|m| self.spec_of(m.real)).collect()
    }

    /// [`Self::apply`] and the snapshot that comes of it.
    pub fn applied(
        &mut self,
        farms: &[Farm],
        selectors: Vec<Selector>,
    ) -> Result<(Changes, Arc<Snapshot>), Refused> {
        let changes = self.apply(farms, selectors)?;
        Ok((changes, self.snapshot()))
    }
}

fn same_server(a: &super::spec::RealSpec, b: &super::spec::RealSpec) -> bool {
    a.address == b.address && a.port == b.port
}
