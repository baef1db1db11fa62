//! The configuration file: YAML in, a [`Model`] that cannot be wrong out, or everything
//! that is wrong with it at once.
//!
//! ```text
//! bytes -> text (size, UTF-8) -> tree (YAML with positions, limits) -> raw (as written)
//!       -> check (defaults, cross-checks) -> Model
//! ```
//!
//! **Why a tree of our own, and which parser.** A serde deserializer stops at the first
//! mistake and knows positions only in its error; an operator wants every mistake, each
//! with line and column. So the values are read from a tree that remembers where each
//! of them stands. It is built from the events of `granit-parser`: maintained, MIT or
//! Apache-2.0, no `unsafe`, linear on nested brackets, and it streams: 8 MiB of `a,a,a`
//! pass through it in no memory to speak of, where `serde_yaml` needs 541 MB and
//! `saphyr-parser` 1.4 GB. A file of 10,000 services with 8 real servers each costs
//! `serde_yaml` 107 MB before the first value is looked at, and a reader has to stay
//! within 128 MB whatever it is fed.
//!
//! `serde_yaml` (its maintained continuation) writes configurations ([`to_yaml`]), and in
//! the tests it reads every example, too: both parsers must see the same values.
//!
//! Nothing outside this folder knows how YAML is read or written.

mod check;
mod code;
mod fields;
mod findings;
pub mod keys;
pub mod model;
mod path;
mod problem;
mod raw;
mod scalar;
mod suggest;
mod text;
mod tree;

use std::io::Read;
use std::path::Path;

pub use code::Code;
pub use model::Model;
pub use problem::{Problem, Problems};
pub use text::MAX_BYTES;

/// Reads and checks a configuration file.
///
/// # Errors
///
/// Every problem of the file, sorted by line. Where it cannot be read on (no such file, too
/// large, no text, no YAML), that is the last one.
pub fn load(path: &Path) -> Result<Model, Problems> {
    let name = path.display().to_string();
    match text::read(path) {
        Ok(bytes) => parse(&bytes, &name),
        Err(problem) => Err(Problems::single(&name, problem)),
    }
}

/// The same from something that is read to its end, such as standard input; `name` stands
/// for it in messages.
///
/// # Errors
///
/// As for [`load`].
pub fn load_from(reader: &mut dyn Read, name: &str) -> Result<Model, Problems> {
    match text::read_from(reader) {
        Ok(bytes) => parse(&bytes, name),
        Err(problem) => Err(Problems::single(name, problem)),
    }
}

/// Checks a configuration that is already in memory; `name` stands for it in messages.
///
/// Whatever the bytes are, this ends within about a second and 128 MB.
///
/// # Errors
///
/// As for [`load`].
pub fn parse(bytes: impl AsRef<[u8]>, name: &str) -> Result<Model, Problems> {
    let (settings, problems) = read(bytes.as_ref(), name);
    match settings {
        Some(settings) if problems.is_empty() => Ok(Model::of_checked(settings)),
        _ => Err(problems),
    }
}

/// The model as YAML, every default spelt out; [`parse`] reads it back as an equal model.
///
/// # Errors
///
/// None in practice: every field has a YAML form. The writer's own error is passed on.
pub fn to_yaml(model: &Model) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(model)
}

/// Anything as YAML: rows of `director get`.
///
/// # Errors
///
/// As for [`to_yaml`].
pub fn yaml_of(value: &impl serde::Serialize) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(value)
}

/// What rules a text out before any YAML is looked at: too many bytes, no UTF-8, control
/// characters. `name` stands for it in messages.
///
/// # Errors
///
/// That one problem.
pub fn text_of(bytes: Vec<u8>, name: &str) -> Result<String, Problems> {
    match text::checked(&bytes) {
        // It is UTF-8.
        Ok(_) => Ok(String::from_utf8(bytes).unwrap_or_default()),
        Err(problem) => Err(Problems::single(name, problem)),
    }
}

fn read(bytes: &[u8], name: &str) -> (Option<model::Settings>, Problems) {
    let text = match text::checked(bytes) {
        Ok(text) => text,
        Err(problem) => return (None, Problems::single(name, problem)),
    };
    let (root, noted) = match tree::build(text) {
        Ok(built) => built,
        Err(problems) => return (None, Problems::in_text(name, text, problems, false)),
    };
    let mut findings = findings::Findings::new(text, &root, noted);
    let settings =
        raw::File::read(&root, &mut findings).and_then(|file| check::settings(file, &mut findings));
    (settings, findings.finish(name))
}
