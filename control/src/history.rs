//! What ran before: every configuration that was taken over, who asked for it and when.
//!
//! The newest ones are in memory, and all of them in a folder, so that they outlive the
//! program; both are bounded. A thread of its own writes the files: a change waits for no disk.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::{self, Model};

/// Entries that are kept.
const ENTRIES: usize = 100;
/// Services and real servers, of all configurations together, that are kept in memory; older
/// ones are read from their files.
const IN_MEMORY: usize = 200_000;
/// ipvsadm's commands that follow each other within this time are one entry: a script of a
/// thousand lines must not push everything else out.
const BURST_S: u64 = 60;
/// A burst's entry is written when so long nothing came.
const REST: Duration = Duration::from_secs(2);
/// Commands of a burst that are told; the others are counted.
const TOLD: usize = 5;

/// What made a configuration run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The program started with it.
    Start,
    /// A file, by its own change or by a signal.
    File,
    /// `director apply`.
    Apply,
    /// `director rollback`.
    Rollback,
    /// ipvsadm's commands.
    Ipvsadm,
    /// `director drain` and `undrain`, and drains that come to their deadline.
    Drain,
    /// `director pin` and `unpin`.
    Pin,
}

/// One configuration that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its generation; of a burst the last one.
    pub generation: u64,
    /// When, in seconds since 1970; of a burst the last time.
    pub at_unix_s: u64,
    /// Who asked for it.
    pub who: String,
    /// What made it run.
    pub cause: Cause,
    /// The file, or the commands.
    pub what: String,
    /// What it changed.
    pub changes: String,
    /// Commands of a burst.
    #[serde(default)]
    commands: usize,
}

struct Kept {
    entry: Entry,
    model: Option<Arc<Model>>,
}

/// Every configuration that ran, oldest first.
pub struct History {
    kept: VecDeque<Kept>,
    folder: PathBuf,
    /// The newest entry while a burst may still replace it, and since when it is there.
    unsaved: Option<(Entry, Arc<Model>, Instant)>,
    writer: Option<(Sender<Job>, JoinHandle<()>)>,
}

enum Job {
    Write(PathBuf, Entry, Arc<Model>),
    Remove(PathBuf),
}

impl History {
    /// Reads the folder's history and goes on with it. A folder that cannot be used is said
    /// once; the history is then kept in memory alone.
    pub fn open(folder: &Path) -> Self {
        let mut history =
            Self { kept: VecDeque::new(), folder: folder.to_owned(), unsaved: None, writer: None };
        match history.read() {
            Ok(()) => history.writer = writer(),
            Err(error) => warn!(
                "the history cannot be kept in {}: {error}; it ends with this program \
                 (give another folder with --state)",
                folder.display()
            ),
        }
        history
    }

    fn read(&mut self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                entries.extend(read_entry(&path));
            }
        }
        entries.sort_by_key(|entry: &Entry| entry.generation);
        self.kept = entries.into_iter().map(|entry| Kept { entry, model: None }).collect();
        Ok(())
    }

    /// The newest generation in it; 0 for none.
    pub fn newest(&self) -> u64 {
        self.kept.back().map_or(0, |kept| kept.entry.generation)
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.kept.iter().map(|kept| &kept.entry)
    }

    /// Notes a configuration that runs now.
    pub fn note(
        &mut self,
        generation: u64,
        who: String,
        cause: Cause,
        what: String,
        changes: String,
        model: &Arc<Model>,
    ) {
        let entry =
            Entry { generation, at_unix_s: now_unix_s(), who, cause, what, changes, commands: 1 };
        let entry = self.joined(entry);
        self.save();
        self.unsaved = Some((entry.clone(), Arc::clone(model), Instant::now()));
        if cause != Cause::Ipvsadm {
            self.save();
        }
        self.kept.push_back(Kept { entry, model: Some(Arc::clone(model)) });
        while self.kept.len() > ENTRIES {
            if let Some(old) = self.kept.pop_front() {
                self.send(Job::Remove(self.path(old.entry.generation)));
            }
        }
        let mut size = 0;
        for kept in self.kept.iter_mut().rev() {
            size += kept.model.as_ref().map_or(0, |model| weight(model));
            if size > IN_MEMORY && kept.entry.generation != generation {
                kept.model = None;
            }
        }
    }

    /// Writes what has come to rest; to be called now and then.
    pub fn flush(&mut self) {
        if self.unsaved.as_ref().is_some_and(|(.., since)| since.elapsed() > REST) {
            self.save();
        }
    }

    fn save(&mut self) {
        if let Some((entry, model, _)) = self.unsaved.take() {
            self.send(Job::Write(self.path(entry.generation), entry, model));
        }
    }

    /// The entry with those of the burst that it ends, which leave.
    fn joined(&mut self, mut entry: Entry) -> Entry {
        // What stood before everything was cleared has to be somewhere to go back to.
        let clears = matches!(&*entry.what, "ipvsadm -C" | "ipvsadm --clear");
        let joins = |old: &Entry| {
            entry.cause == Cause::Ipvsadm
                && (!clears || old.what == entry.what)
                && old.cause == Cause::Ipvsadm
                && old.who == entry.who
                && entry.at_unix_s.saturating_sub(old.at_unix_s) < BURST_S
        };
        if !self.kept.back().is_some_and(|kept| joins(&kept.entry)) {
            return entry;
        }
        let Some(Kept { entry: old, .. }) = self.kept.pop_back() else { return entry };
        // Most of a burst never reaches the disk.
        match self.unsaved.take() {
            Some((unsaved, ..)) if unsaved.generation == old.generation => {}
            other => {
                self.unsaved = other;
                self.send(Job::Remove(self.path(old.generation)));
            }
        }
        entry.commands = old.commands + 1;
        entry.what = match entry.commands <= TOLD {
            true => format!("{}; {}", old.what, entry.what),
            false => {
                let told =
                    old.what.split_once("; and ").map_or(old.what.as_str(), |(told, _)| told);
                format!("{told}; and {} more", entry.commands - TOLD)
            }
        };
        entry
    }

    /// The configuration of a generation.
    ///
    /// # Errors
    /// A sentence: there is none of that generation, or its file has problems.
    pub fn model(&self, generation: u64) -> Result<Arc<Model>, String> {
        let kept = self.kept.iter().find(|kept| kept.entry.generation == generation);
        let kept = kept.ok_or_else(|| {
            format!("generation {generation} is not in the history; 'director history' lists it\n")
        })?;
        match &kept.model {
            Some(model) => Ok(Arc::clone(model)),
            None => match config::load(&self.path(generation)) {
                Ok(model) => Ok(Arc::new(model)),
                Err(problems) => Err(format!("{}\n", problems.to_string().trim_end())),
            },
        }
    }

    /// The newest generation before the last one whose configuration is another than this one:
    /// where a drain's deadline passed, two entries in a row say the same.
    pub fn before(&self, running: &Model) -> Option<u64> {
        let generations = self.kept.iter().rev().skip(1).map(|kept| kept.entry.generation);
        // What cannot be read any more is another one: going back to it says why.
        generations
            .into_iter()
            .find(|one| self.model(*one).map_or(true, |model| *model != *running))
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{generation:010}.yaml"))
    }

    fn send(&self, job: Job) {
        if let Some((jobs, _)) = &self.writer {
            // The writer ends with the sender alone.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.save();
        if let Some((jobs, thread)) = self.writer.take() {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

fn weight(model: &Model) -> usize {
    1 + model.services.iter().map(|service| 1 + service.real_servers.len()).sum::<usize>()
}

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The first line of a file: a remark with the entry in JSON.
fn read_entry(path: &Path) -> Option<Entry> {
    let mut line = String::new();
    BufReader::new(fs::File::open(path).ok()?).read_line(&mut line).ok()?;
    serde_json::from_str(line.strip_prefix("# ")?).ok()
}

fn writer() -> Option<(Sender<Job>, JoinHandle<()>)> {
    let (sender, jobs) = unbounded();
    let thread = thread::Builder::new().name("history".into()).spawn(move || write_all(&jobs));
    Some((sender, thread.ok()?))
}

fn write_all(jobs: &Receiver<Job>) {
    let mut complained = false;
    for job in jobs {
        let done = match &job {
            Job::Write(path, entry, model) => write(path, entry, model),
            Job::Remove(path) => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
        };
        if let Err(error) = done
            && !std::mem::replace(&mut complained, true)
        {
            warn!("the history cannot be written: {error}; it goes on in memory");
        }
    }
}

/// Written under another name first, so that no half of a file is ever read.
fn write(path: &Path, entry: &Entry, model: &Model) -> io::Result<()> {
    let line = serde_json::to_string(entry)?;
    let yaml = config::to_yaml(model).map_err(io::Error::other)?;
    let making = path.with_extension("new");
    fs::write(&making, format!("# {line}\n{yaml}"))?;
    fs::rename(&making, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(timeout_s: u32) -> Arc<Model> {
        let text = format!(
            "ports: [{{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }}]\n\
             timeouts: {{ tcp: {timeout_s} }}\n"
        );
        Arc::new(config::parse(text, "test").unwrap())
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("director-history-{name}-{}", std::process::id());
        std::env::temp_dir().join(name)
    }

    fn note(history: &mut History, generation: u64, cause: Cause, what: &str) {
        let model = model(generation as u32);
        history.note(generation, "root".into(), cause, what.into(), "none".into(), &model);
    }

    #[test]
    fn a_history_outlives_the_program_and_gives_back_every_configuration() {
        let folder = folder("outlives");
        let mut history = History::open(&folder);
        assert_eq!((history.newest(), history.before(&model(9))), (0, None));
        note(&mut history, 1, Cause::Start, "a.yaml");
        note(&mut history, 2, Cause::Apply, "b.yaml");
        assert_eq!(history.model(1).unwrap().timeouts.tcp_s, 1);
        drop(history);
        let again = History::open(&folder);
        assert_eq!((again.newest(), again.before(&model(2))), (2, Some(1)));
        assert_eq!(again.before(&model(1)), None, "it runs already");
        assert_eq!(again.model(2).unwrap(), model(2));
        let whats: Vec<&str> = again.entries().map(|entry| entry.what.as_str()).collect();
        assert_eq!(whats, ["a.yaml", "b.yaml"]);
        assert!(again.model(3).unwrap_err().contains("not in the history"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_history_is_bounded_and_a_script_of_ipvsadm_is_one_entry() {
        let folder = folder("bounded");
        let mut history = History::open(&folder);
        for generation in 1..=150 {
            note(&mut history, generation, Cause::Apply, "a.yaml");
        }
        assert_eq!(history.entries().count(), ENTRIES);
        for generation in 151..=1_000 {
            note(&mut history, generation, Cause::Ipvsadm, &format!("ipvsadm {generation}"));
        }
        assert_eq!(history.entries().count(), ENTRIES);
        assert_eq!(history.before(&model(1_000)), Some(150));
        let last = history.entries().next_back().unwrap();
        assert_eq!(last.generation, 1_000);
        assert!(last.what.starts_with("ipvsadm 151; ipvsadm 152; "), "{}", last.what);
        assert!(last.what.ends_with("; and 845 more"), "{}", last.what);
        drop(history);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), ENTRIES);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn clearing_everything_begins_an_entry_so_that_what_was_before_can_come_back() {
        let folder = folder("clear");
        let mut history = History::open(&folder);
        note(&mut history, 1, Cause::Start, "a.yaml");
        let lines = ["-A -f 1", "-A -f 2", "--clear", "--clear", "-A -f 3"];
        for (generation, line) in (2..).zip(lines) {
            note(&mut history, generation, Cause::Ipvsadm, &format!("ipvsadm {line}"));
        }
        let all: Vec<(u64, &str)> =
            history.entries().map(|entry| (entry.generation, entry.what.as_str())).collect();
        assert_eq!(
            all,
            [
                (1, "a.yaml"),
                (3, "ipvsadm -A -f 1; ipvsadm -A -f 2"),
                (6, "ipvsadm --clear; ipvsadm --clear; ipvsadm -A -f 3"),
            ]
        );
        assert_eq!(history.before(&model(6)), Some(3));
        drop(history);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_used_leaves_a_history_in_memory() {
        let file = folder("file");
        fs::write(&file, "no folder").unwrap();
        let mut history = History::open(&file.join("history"));
        note(&mut history, 1, Cause::Start, "a.yaml");
        assert_eq!(history.model(1).unwrap().timeouts.tcp_s, 1);
        fs::remove_file(&file).unwrap();
    }
}
