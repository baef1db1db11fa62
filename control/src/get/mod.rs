//! `director get`: what runs, in rows. A row is JSON; tables, YAML and JSON are made from the
//! same rows, so that they say the same.

mod rows;
mod table;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use rows::{cores, ports, reals, services};
pub use table::{Column, Table};

use crate::config;

/// What can be got in one answer. Bindings and connections come in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The running configuration, as a file would say it.
    Config,
    /// Virtual services.
    #[value(alias = "service")]
    Services,
    /// Real servers of all services.
    #[value(alias = "real")]
    Reals,
    /// Clients and the real servers that they are bound to.
    #[value(alias = "binding")]
    Bindings,
    /// Connections.
    #[value(alias = "connection")]
    Connections,
    /// The cores that poll.
    #[value(alias = "core")]
    Cores,
    /// NIC ports.
    #[value(alias = "port")]
    Ports,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// The columns that matter most.
    Table,
    /// Every column.
    Wide,
    /// JSON.
    Json,
    /// YAML; of the configuration, one that `director apply` takes.
    Yaml,
}

/// What is said where there is nothing of a name.
pub fn unknown(kind: Kind, name: &str) -> String {
    let (what, word) = match kind {
        Kind::Config => ("part of the configuration", "config"),
        Kind::Services => ("service", "services"),
        Kind::Reals => ("real server or service", "reals"),
        Kind::Bindings => ("service", "bindings"),
        Kind::Connections => ("service", "connections"),
        Kind::Cores => ("core", "cores"),
        Kind::Ports => ("port", "ports"),
    };
    format!("there is no {what} '{name}'; 'director get {word}' lists them all")
}

/// The columns of a kind; those that are marked as wide are left out of a plain table.
pub fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Config => &[],
        Kind::Services => rows::SERVICES,
        Kind::Reals => rows::REALS,
        Kind::Bindings => rows::BINDINGS,
        Kind::Connections => rows::CONNECTIONS,
        Kind::Cores => rows::CORES,
        Kind::Ports => rows::PORTS,
    }
}

/// Rows as text.
///
/// # Errors
/// A sentence, if they cannot be written; not seen in practice.
pub fn written(kind: Kind, rows: &[Value], output: Output) -> Result<String, String> {
    match output {
        Output::Table => Ok(Table::new(columns(kind), false).page(rows)),
        Output::Wide => Ok(Table::new(columns(kind), true).page(rows)),
        Output::Json => match serde_json::to_string_pretty(rows) {
            Ok(text) => Ok(text + "\n"),
            Err(error) => Err(format!("cannot be written as JSON: {error}\n")),
        },
        Output::Yaml => {
            config::yaml_of(&rows).map_err(|error| format!("cannot be written as YAML: {error}\n"))
        }
    }
}
