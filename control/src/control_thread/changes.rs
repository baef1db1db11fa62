//! One configuration after another: taken over whole or not at all, compared before, noted
//! afterwards, and taken back.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dataplane::catalog::spec::Farm;
use serde_json::json;
use tracing::{error, info, warn};

use super::{ControlThread, neighbour_settings, restart, to_json};
use crate::api::{Peer, Reply};
use crate::config::model::Pin;
use crate::config::{self, Model};
use crate::counted::counted;
use crate::difference::{self, Change};
use crate::history::Cause;
use crate::peers::Peers;
use crate::preview::{self, Move, Selectors};
use crate::status::LastApply;
use crate::{compile, metrics, publish};

/// How long a change waits for the cores to take the new snapshot.
const ADOPTION: Duration = Duration::from_secs(2);
/// Between two looks whether they have; a core takes it within a turn.
const ADOPTION_LOOK: Duration = Duration::from_micros(200);

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) cause: Cause,
    /// Who asked: a process at the socket, or the file itself.
    pub(super) who: String,
    /// Its name in messages: a file, or a generation.
    pub(super) name: String,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It runs, and changed this.
    Over(String),
    /// It ran already: no new generation, and nothing in the history to go back over.
    Already,
}

/// What a configuration would do.
struct Plan {
    changes: Vec<Change>,
    moves: Vec<Move>,
    /// Why it would be refused.
    refused: Option<String>,
}

impl ControlThread {
    /// Makes a configuration the running one, or leaves the running one as it is.
    pub(super) fn take_over(
        &mut self,
        model: Result<Arc<Model>, String>,
        source: &Source,
    ) -> Result<Taken, String> {
        let result = model.and_then(|model| self.change_to(model));
        let Source { cause, who, name } = source;
        match &result {
            Ok(Taken::Already) => info!("{who}: {}", self.runs_already(name)),
            Ok(Taken::Over(said)) => {
                info!("{who}: {name} taken over: generation {}: {said}", self.snapshot.generation);
                self.note(*cause, who.clone(), name.clone(), said.clone());
            }
            Err(problems) => error!("{who}: {name} refused, nothing was changed:\n{problems}"),
        }
        self.observers.applied(result.is_ok());
        self.last_apply = LastApply {
            name: name.clone(),
            at: SystemTime::now(),
            problems: result.as_ref().err().cloned(),
        };
        self.tell_observers();
        result
    }

    fn change_to(&mut self, model: Arc<Model>) -> Result<Taken, String> {
        restart::needed(&self.model, &model)?;
        let peers = Peers::find(&model.control.allow)?;
        if *self.model == *model && self.unsaid.is_empty() {
            // Whom the names of `control.allow` mean may have changed on the machine.
            self.admit(peers);
            return Ok(Taken::Already);
        }
        let metrics = self.observers.prepare(&self.model, &model)?;
        let mut plan = compile::plan(&model);
        self.catalog.check(&plan.farms).map_err(|refused| refused.to_string())?;
        self.drains.settle(&model, &mut plan.farms, self.now_ms());
        self.catalog.timeouts = plan.timeouts;
        self.catalog.compat = plan.compat;
        self.catalog.routes_all = plan.routes_all;
        self.catalog.fragments = plan.fragments;
        self.catalog.set_site(plan.site);
        self.catalog.set_pins(plan.pins);
        let applied = self.catalog.applied(&plan.farms, plan.selectors);
        let (changes, snapshot) = applied.map_err(|refused| refused.to_string())?;
        self.admit(peers);
        self.observers.go_on(metrics);
        let before = std::mem::replace(&mut self.model, model);
        let tables = self.resize_tables(&before, &Arc::clone(&self.model));
        self.unsaid.clear();
        self.snapshot = snapshot;
        publish::publish(&self.shared, &self.snapshot);
        self.neighbours.configure(neighbour_settings(&self.model));
        self.settle_neighbours();
        let pins = pins_changed(&before, &self.model);
        Ok(Taken::Over(format!("{changes}{pins}{tables}")))
    }

    /// That a configuration changes nothing, in words.
    fn runs_already(&self, name: &str) -> String {
        format!("{name} is what runs already (generation {})", self.snapshot.generation)
    }

    /// Puts what runs now into the history.
    pub(super) fn note(&mut self, cause: Cause, who: String, what: String, changes: String) {
        let generation = self.snapshot.generation.0;
        self.history.note(generation, who, cause, what, changes, &self.model);
    }

    /// `director apply`, of a text that goes by `name` in messages and comes from `file`.
    pub(super) fn apply(
        &mut self,
        name: String,
        file: Option<String>,
        text: &str,
        peer: Peer,
    ) -> Reply {
        let model = config::parse(text.as_bytes(), &name);
        let model = model.map(Arc::new).map_err(|problems| problems.to_string());
        let name = file.unwrap_or(name);
        self.change_by(model, &Source { cause: Cause::Apply, who: peer.user(), name })
    }

    /// `director apply --dry-run`.
    pub(super) fn would_apply(&self, name: &str, text: &str) -> Reply {
        match config::parse(text.as_bytes(), name) {
            Ok(model) => self.dry_run(&model, name),
            Err(problems) => unchanged(&problems.to_string()),
        }
    }

    /// Takes over what a process at the socket asked for, and answers it.
    fn change_by(&mut self, model: Result<Arc<Model>, String>, source: &Source) -> Reply {
        match self.take_over(model, source) {
            Ok(Taken::Already) => Reply::done(format!("{}\n", self.runs_already(&source.name))),
            Ok(Taken::Over(said)) => {
                self.wait_for_cores();
                Reply::done(format!("generation {}: {said}\n", self.snapshot.generation))
            }
            Err(problems) => Reply::refused(format!(
                "{}\nnothing was changed; generation {} runs on\n",
                problems.trim_end(),
                self.snapshot.generation
            )),
        }
    }

    /// Waits until every core has taken the newest snapshot: whoever asked for it may then
    /// count on it.
    pub(super) fn wait_for_cores(&mut self) {
        let waited = Instant::now();
        while publish::adopted(&self.shared) < self.snapshot.generation {
            if waited.elapsed() > ADOPTION {
                warn!("not every core has taken generation {} yet", self.snapshot.generation);
                return;
            }
            self.hear();
            std::thread::sleep(ADOPTION_LOOK);
        }
    }

    fn plan(&self, model: &Model) -> Plan {
        let compile::Plan { mut farms, selectors, .. } = compile::plan(model);
        let selectors = Selectors { now: self.catalog.selectors(), then: &selectors };
        self.drains.clone().settle(model, &mut farms, self.now_ms());
        Plan {
            changes: difference::between(&self.model, model),
            moves: preview::moves(&self.snapshot, &self.shared.loads, &farms, selectors),
            refused: self.refusal(model, &farms).err(),
        }
    }

    /// Why [`Self::change_to`] would refuse a configuration.
    fn refusal(&self, model: &Model, farms: &[Farm]) -> Result<(), String> {
        restart::needed(&self.model, model)?;
        Peers::find(&model.control.allow)?;
        let metrics = |model: &Model| model.metrics.map(|metrics| metrics.address);
        if let Some(address) = metrics(model).filter(|new| Some(*new) != metrics(&self.model)) {
            // What was taken for the look is given back at once.
            metrics::listen(address).map_err(|error| error.to_string())?;
        }
        self.catalog.check(farms).map_err(|refused| refused.to_string())
    }

    fn dry_run(&self, model: &Model, name: &str) -> Reply {
        let Plan { changes, moves, refused } = self.plan(model);
        let generation = self.snapshot.generation;
        let mut text = match changes.len() {
            0 => format!("{}\n", self.runs_already(name)),
            some => {
                let places = counted(some, "place");
                format!("{name} would change generation {generation} in {places}:\n")
            }
        };
        push_lines(&mut text, &changes);
        if !changes.is_empty() {
            text.push_str(&preview::told(&moves));
        }
        match refused {
            None => {
                text.push_str("nothing was changed: this was a dry run\n");
                Reply::done(text)
            }
            Some(why) => unchanged(&format!("{text}it would be refused:\n{why}")),
        }
    }

    /// What runs against a file: the director's own, or one that is handed in.
    pub(super) fn diff(&self, file: Option<(String, String)>, as_json: bool) -> Reply {
        let (name, model) = match file {
            Some((name, text)) => {
                let model = config::parse(text.as_bytes(), &name);
                (name, model)
            }
            None => (self.config.display().to_string(), config::load(&self.config)),
        };
        let model = match model {
            Ok(model) => model,
            Err(problems) => {
                let text = format!("{}\n", problems.to_string().trim_end());
                return Reply { code: DIFF_FAILED, ..Reply::refused(text) };
            }
        };
        let Plan { changes, moves, refused } = self.plan(&model);
        let code = if changes.is_empty() { 0 } else { DIFFERENT };
        let generation = self.snapshot.generation;
        if as_json {
            let value = json!({
                "generation": generation.0,
                "file": name,
                "changes": changes,
                "moves": moves,
                "refused": refused,
            });
            return Reply { code, ..to_json(&value) };
        }
        if changes.is_empty() {
            return Reply::done(format!("generation {generation} is what {name} says\n"));
        }
        let mut text = format!("generation {generation} -> {name}\n");
        push_lines(&mut text, &changes);
        text.push_str(&preview::told(&moves));
        if let Some(why) = refused {
            text.push_str(&why);
        }
        Reply { code, ..Reply::done(text) }
    }

    pub(super) fn rollback(&mut self, generation: Option<u64>, dry: bool, peer: Peer) -> Reply {
        let Some(generation) = generation.or_else(|| self.history.before(&self.model)) else {
            return unchanged("there is nothing to go back to: nothing else is in the history");
        };
        // Nothing to take over is no refused configuration, of which monitoring would tell.
        let model = match self.history.model(generation) {
            Ok(model) => model,
            Err(sentence) => return unchanged(&sentence),
        };
        let name = format!("generation {generation}");
        if dry {
            return self.dry_run(&model, &name);
        }
        let name = format!("rollback to {name}");
        let source = Source { cause: Cause::Rollback, who: peer.user(), name };
        let newest = self.snapshot.generation;
        let reply = self.change_by(Ok(model), &source);
        match self.snapshot.generation > newest {
            true => Reply {
                text: format!("back to generation {generation} as {}", reply.text),
                ..reply
            },
            false => reply,
        }
    }

    pub(super) fn history(&self, as_json: bool) -> Reply {
        let entries: Vec<_> = self.history.entries().rev().collect();
        if as_json {
            return to_json(&entries);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut text = format!("{:>10}  {:>9}  {:<22}  WHAT\n", "GENERATION", "AGO", "WHO");
        for entry in entries {
            let ago = ago(now.saturating_sub(entry.at_unix_s));
            let current = if entry.generation == self.snapshot.generation.0 { "*" } else { "" };
            let _ = writeln!(
                text,
                "{:>10}  {ago:>9}  {:<22}  {}: {}",
                format!("{current}{}", entry.generation),
                entry.who,
                entry.what,
                entry.changes
            );
        }
        Reply::done(text)
    }
}

/// A refusal that leaves everything as it is, and says so.
fn unchanged(why: &str) -> Reply {
    Reply::refused(format!("{}\nnothing was changed\n", why.trim_end()))
}

/// How many clients' pins came and went, in words; nothing where none did.
fn pins_changed(before: &Model, after: &Model) -> String {
    let pins = |model: &Model| -> HashSet<(String, Pin)> {
        let services = model.services.iter().filter(|service| !service.pins.is_empty());
        let each = services.flat_map(|one| one.pins.iter().map(|pin| (one.name.clone(), *pin)));
        each.collect()
    };
    let (before, after) = (pins(before), pins(after));
    let mut said = String::new();
    for (count, what) in [
        (after.difference(&before).count(), "added"),
        (before.difference(&after).count(), "removed"),
    ] {
        if count > 0 {
            let _ = write!(said, ", {} {what}", counted(count, "pin"));
        }
    }
    said
}

/// `director diff` found a difference.
const DIFFERENT: u8 = 1;
/// `director diff` could not compare.
const DIFF_FAILED: u8 = 2;

fn push_lines(text: &mut String, changes: &[Change]) {
    for change in changes {
        let _ = writeln!(text, "{change}");
    }
}

/// A time in its two largest units: `3d4h`, `5m`, `12s`.
fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
