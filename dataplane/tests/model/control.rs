//! What `ipvsadm` does to the model.

use super::pick;
use super::{Flow, Model, Real, RealKey, Service, ServiceIndex, Settings, Weights};

impl Model {
    pub fn add_service(&mut self, index: ServiceIndex, settings: Settings) {
        let rounds = vec![pick::Round::default(); self.cores];
        self.services.insert(index, Service { settings, list: Vec::new(), rounds });
        self.list_changed(index, None);
    }

    pub fn edit_service(&mut self, index: ServiceIndex, settings: Settings) {
        let service = self.services.get_mut(&index).unwrap();
        let another = service.settings.scheduler != settings.scheduler;
        service.settings = settings;
        if another {
            service.rounds.fill(pick::Round::default());
            self.list_changed(index, None);
        }
    }

    pub fn delete_service(&mut self, index: ServiceIndex) {
        let service = self.services.remove(&index).unwrap();
        for number in service.list {
            self.reals.get_mut(&(index, number)).unwrap().available = false;
        }
        self.flush_removed();
    }

    pub fn add_real(&mut self, index: ServiceIndex, number: u8, settings: Weights) {
        let fresh = Real {
            settings,
            active: 0,
            inactive: 0,
            bound: 0,
            conns: 0,
            in_packets: 0,
            overloaded: false,
            available: false,
        };
        self.reals.entry((index, number)).or_insert(fresh);
        self.set(index, number, settings);
        self.reals.get_mut(&(index, number)).unwrap().available = true;
        self.services.get_mut(&index).unwrap().list.insert(0, number);
        self.list_changed(index, None);
    }

    pub fn edit_real(&mut self, index: ServiceIndex, number: u8, settings: Weights) {
        self.set(index, number, settings);
        self.list_changed(index, None);
    }

    fn set(&mut self, index: ServiceIndex, number: u8, settings: Weights) {
        let real = self.reals.get_mut(&(index, number)).unwrap();
        let old = real.settings;
        real.settings = settings;
        let (total, upper) = (real.total(), u64::from(settings.upper));
        if upper == 0 {
            real.overloaded = false;
        } else if (old.upper, old.lower) != (settings.upper, settings.lower) {
            real.overloaded = total >= upper || real.overloaded && total >= real.low_mark();
        }
    }

    pub fn delete_real(&mut self, index: ServiceIndex, number: u8) {
        self.reals.get_mut(&(index, number)).unwrap().available = false;
        let list = &mut self.services.get_mut(&index).unwrap().list;
        let place = list.iter().position(|each| *each == number).unwrap();
        let before = place.checked_sub(1).map(|before| list[before]);
        list.remove(place);
        self.list_changed(index, Some((number, before)));
        self.flush_removed();
    }

    /// Schedulers hear of a change; of a removal with who stood before.
    fn list_changed(&mut self, index: ServiceIndex, removed: Option<(u8, Option<u8>)>) {
        let service = self.services.get_mut(&index).unwrap();
        let weights: Vec<u64> = service
            .list
            .iter()
            .map(|number| u64::from(self.reals[&(index, *number)].settings.weight))
            .collect();
        for round in &mut service.rounds {
            round.list_changed(service.settings.scheduler, &weights, removed);
        }
    }

    /// `expire_nodest_conn`: what belongs to a removed real server ends.
    fn flush_removed(&mut self) {
        if !self.switches.expire_nodest_conn {
            return;
        }
        let gone = |real: RealKey| !self.reals[&real].available;
        let flows: Vec<Flow> =
            self.connections.iter().filter(|(_, c)| gone(c.real)).map(|(f, _)| *f).collect();
        let templates: Vec<u64> =
            self.templates.iter().filter(|(_, t)| gone(t.real)).map(|(id, _)| *id).collect();
        for flow in flows {
            self.remove(flow);
        }
        for id in templates {
            self.remove_template(id);
        }
    }
}
