//! ipvsadm's command line, as version 1.31 of it reads one, against Director's catalog.
//!
//! [`parse`] turns the words of a command line into a [`Command`], or into the message and the
//! exit code that ipvsadm has for it. [`apply`] carries a command out and answers with what goes
//! to standard output and standard error, and with the exit code. The texts are the interface:
//! scripts and health checkers read them.

use serde::{Deserialize, Serialize};

mod address;
mod apply;
pub mod client;
mod command;
mod name;
mod option;
mod parse;
mod scan;
mod spec;
mod specify;

pub use apply::{Pending, Target, apply, told_alone};
pub use command::{
    Command, DaemonOptions, DaemonRole, Forward, ListOptions, ServerOptions, ServiceOptions, Show,
};
pub use name::{Names, PortNames};
pub use parse::parse;

/// A command line that ipvsadm refuses before it asks the director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What goes to standard error, without the line's end.
    pub message: String,
    /// The exit code: 2 for what ipvsadm itself finds, 255 for an option that is no option.
    pub exit: u8,
}

impl Usage {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: 2 }
    }

    /// No command where one has to be.
    fn try_help() -> Self {
        Self {
            message: "Try `ipvsadm -h' or 'ipvsadm --help' for more information.".into(),
            exit: 255,
        }
    }
}

/// What a command leaves behind in a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code.
    pub rc: u8,
}

impl Reply {
    /// Nothing went wrong, and this is the output.
    fn output(stdout: String) -> Self {
        Self { stdout, ..Self::default() }
    }

    /// The director refused.
    fn refusal(message: &str, rc: u8) -> Self {
        Self { stdout: String::new(), stderr: format!("{message}\n"), rc }
    }
}

impl From<Usage> for Reply {
    fn from(usage: Usage) -> Self {
        Self::refusal(&usage.message, usage.exit)
    }
}

/// Reads a command line and carries it out. `stdin` is what `--restore` reads.
pub fn run(args: &[String], stdin: &str, target: &mut Target<'_>) -> Reply {
    match parse(args, target.names) {
        Ok(command) => apply(target, &command, stdin),
        Err(usage) => usage.into(),
    }
}
