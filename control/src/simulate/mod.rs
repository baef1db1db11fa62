//! `director simulate`: recorded scenarios of a kernel's IPVS, played on the real packet path
//! in virtual time and compared step by step.
//!
//! A scenario is a file of the format `ipvs-oracle-vector/1`: commands, packets and listings
//! with the moments at which they happened. The director stands between two ports in memory;
//! its timers end when the kernel's timer wheel would end them, so that every step is
//! comparable.

mod frame;
mod marks;
mod observe;
mod play;
mod proc;
mod programs;
mod settings;
mod shell;
mod text;
mod vector;
mod world;

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use play::Difference;

/// What is compared, and how much is told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the texts of listings and commands count.
    pub text: bool,
    /// Whether every step that differs is told, not only the first ones.
    pub verbose: bool,
}

/// What became of one scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// Steps that were compared.
    pub steps: usize,
    /// Where the director did something else; empty if nowhere.
    pub differences: Vec<Difference>,
}

impl Outcome {
    /// Whether the director did as the kernel in every step.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// What became of all scenarios.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for every scenario, in the order of their files' names.
    pub outcomes: Vec<Outcome>,
    /// What could not be played, a sentence each.
    pub unreadable: Vec<String>,
    /// Whether every difference is printed.
    pub verbose: bool,
}

/// Differences of one scenario that are printed unless all are asked for.
const TOLD: usize = 3;

impl Report {
    /// How many scenarios passed.
    pub fn passed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.passed()).count()
    }

    /// How many did not.
    pub fn failed(&self) -> usize {
        self.outcomes.len() - self.passed()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            if outcome.passed() {
                writeln!(f, "ok    {} ({} steps)", outcome.name, outcome.steps)?;
                continue;
            }
            let count = outcome.differences.len();
            let told = if self.verbose { count } else { TOLD };
            writeln!(f, "FAIL  {}: {count} of {} steps differ", outcome.name, outcome.steps)?;
            for difference in outcome.differences.iter().take(told) {
                write!(f, "{difference}")?;
            }
            if count > told {
                writeln!(f, "      and {} more", count - told)?;
            }
        }
        writeln!(f, "{} passed, {} failed", self.passed(), self.failed())
    }
}

/// Plays the scenarios in these files, and in these folders' files that end in `.json`.
pub fn run(paths: &[PathBuf], options: Options) -> Report {
    let mut report = Report { verbose: options.verbose, ..Report::default() };
    for path in paths {
        match files(path) {
            Ok(files) => {
                for file in files {
                    match run_file(&file, options) {
                        Ok(outcome) => report.outcomes.push(outcome),
                        Err(error) => {
                            report.unreadable.push(format!("{}: {error}", file.display()));
                        }
                    }
                }
            }
            Err(error) => report.unreadable.push(format!("{}: {error}", path.display())),
        }
    }
    report
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let cannot = |error: std::io::Error| format!("the folder cannot be read: {error}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        if file.extension().is_some_and(|extension| extension == "json") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err("the folder has no scenario: no file in it ends in .json".into())
    } else {
        Ok(files)
    }
}

/// Bytes of a scenario that are read; recorded ones have a few hundred thousand.
const LONGEST: u64 = 64 << 20;

fn run_file(file: &Path, options: Options) -> Result<Outcome, String> {
    let mut text = String::new();
    let read =
        std::fs::File::open(file).and_then(|opened| opened.take(LONGEST).read_to_string(&mut text));
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    })?;
    let vector = vector::Vector::read(&text).map_err(|error| {
        format!("this is no scenario of the format ipvs-oracle-vector/1: {error}")
    })?;
    let differences = play::play(&vector, options.text);
    let steps = vector.steps.len();
    Ok(Outcome { name: vector.name, file: file.to_owned(), steps, differences })
}
