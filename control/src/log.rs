//! Where log lines go and which ones are written.

use std::io;

use tracing::Level;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::model::{Log, LogFormat, LogLevel};

/// Starts logging to standard error.
pub fn start(log: &Log, verbose: bool) {
    let level = match log.level {
        _ if verbose => Level::DEBUG,
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        .with_timer(SystemTime);
    // Started once; a second start (in tests) keeps the first.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(false).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}
