//! New TCP connections of one service, opened one after the other: what is the same for all of
//! them is looked up once.

use super::count::check_thresholds;
use super::{Bindings, pool};
use crate::classify::Classifier;
use crate::compat::Defence;
use crate::conn::table::{EntryV4, Table, Wanted};
use crate::conn::{Conn, ConnFlags, Direction, State, Timeouts, tcp};
use crate::counters::CoreCounters;
use crate::forward::Forwarding;
use crate::ids::RealId;
use crate::load::LoadShelf;
use crate::sched::{Picker, Race};
use crate::shared::Shared;
use crate::snapshot::{Real, Service, Snapshot};
use crate::table::{SoleTemplates, TemplateBurst, VacantSlot};
use crate::tick::Tick;
use crate::wire::{Addr, TcpFlags};

/// Opens plain connections of one service, directly routed ones. While there is one, nothing else
/// may change a load or a table.
pub(crate) struct Opener<'a> {
    shared: &'a Shared,
    core: usize,
    snapshot: &'a Snapshot,
    classifier: &'a Classifier,
    race: Race<'a>,
    table: &'a mut Table<EntryV4>,
    /// `None` without persistence.
    templates: Option<SoleTemplates<'a>>,
    loads: LoadShelf<'a>,
    counters: Option<&'a CoreCounters>,
    /// A connection, but for its real server and its template.
    first: Conn,
    /// Whether real servers' own ports count.
    fixed_port: bool,
}

/// Where a connection goes that can be opened.
pub(crate) struct Opened<'a> {
    /// Its real server.
    pub real: &'a Real,
    place: usize,
    vacant: Option<VacantSlot>,
}

impl Bindings {
    /// What opens a service's connections by segments with SYN and without ACK, FIN and RST;
    /// `None` where each of them is to be opened by [`Self::open_at`].
    pub(crate) fn opener<'a>(
        &'a mut self,
        (service, own_port): (&'a Service, bool),
        snapshot: &'a Snapshot,
        now: Tick,
    ) -> Option<Opener<'a>> {
        let Self { shared, schedulers, core, v4, .. } = self;
        let (shared, core) = (&**shared, *core);
        let is_plain = service.compat.secure_tcp == Defence::Off
            && !shared.replies.is_open()
            && !v4.is_growing()
            && !snapshot.masqueraded.everybody;
        if !is_plain {
            return None;
        }
        let pool = pool(shared, core, service, snapshot, now);
        let Picker::Race(Some(race)) = schedulers.picker(service, &pool) else { return None };
        let templates = match service.persistence {
            Some(_) => Some(shared.templates.sole(service.timeout_index, now)?),
            None => None,
        };
        let first = Conn {
            template: None,
            real: RealId(0),
            expires: now,
            timeout: Timeouts::NEW,
            real_port: 0,
            state: State::TcpNone,
            flags: ConnFlags::NO_OUTPUT,
            forwarding: Forwarding::Route,
            in_packets: 1,
        };
        let next = tcp::next(first.state, TcpFlags::SYN, Direction::InOnly, false);
        if !next.is_active() {
            return None;
        }
        Some(Opener {
            shared,
            core,
            snapshot,
            classifier: &snapshot.classifier,
            race,
            table: v4,
            templates,
            loads: shared.loads.core(core)?.shelf()?,
            counters: shared.counters.get(core).map(|padded| &**padded),
            first: first.in_state(next, &snapshot.timeouts, now),
            fixed_port: own_port || service.persistence.is_none(),
        })
    }
}

impl<'a> Opener<'a> {
    /// Where the connection of this key would go, whose client is the one at a place of the burst
    /// of templates. `None` where the reference path is to look at it.
    #[inline(always)]
    pub(crate) fn look(
        &self,
        clients: &TemplateBurst,
        at: usize,
        wanted: Wanted<'_, EntryV4>,
    ) -> Option<Opened<'a>> {
        let [addresses, _] = *wanted.key;
        let (client, vip) = (Addr::v4((addresses >> 32) as u32), Addr::v4(addresses as u32));
        // It could be an answer that passes the director as the real server's gateway.
        if client.is_inside_a_host()
            || vip.is_inside_a_host()
            || self.classifier.may_have(client)
            || self.table.find_wanted(wanted).is_some()
        {
            return None;
        }
        let vacant = match &self.templates {
            Some(templates) => Some(templates.vacant_at(clients, at)?),
            None => None,
        };
        let (place, real) = self.race.winner()?;
        let real = self.snapshot.real(real)?;
        (real.forwarding == Forwarding::Route).then_some(Opened { real, place, vacant })
    }

    /// Opens it, and counts its first packet. `false`, and nothing is done, where there is no
    /// room.
    #[inline(always)]
    pub(crate) fn open(
        &mut self,
        Opened { real, place, vacant }: Opened<'_>,
        wanted: Wanted<'_, EntryV4>,
        total_len: u16,
    ) -> bool {
        let [_, ports] = *wanted.key;
        let own_port = self.fixed_port && real.port != 0;
        let conn = Conn {
            template: vacant.map(VacantSlot::handle),
            real: real.id,
            real_port: if own_port { real.port } else { (ports >> 32) as u16 },
            ..self.first
        };
        let Some(load) = self.loads.of(real.id) else { return false };
        if self.table.insert_wanted(wanted, &conn).is_err() {
            return false;
        }
        if let (Some(templates), Some(vacant)) = (&self.templates, vacant) {
            templates.make(vacant, real.id);
        }
        if let Some(counters) = self.counters {
            counters.scheduled.add(1);
            counters.followed.add(u64::from(vacant.is_some()));
        }
        let counts = load.opening(i64::from(vacant.is_some()), u64::from(total_len));
        // Whoever was picked is not overloaded, and without a threshold does not become so.
        let is_overloaded = real.upper_threshold != 0 && {
            check_thresholds(self.shared, self.core, real, true);
            self.shared.loads.is_overloaded(real.id)
        };
        self.race.follow(place, counts, is_overloaded);
        true
    }
}
