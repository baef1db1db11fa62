//! Where log lines go and which ones are written.

use std::io;

use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
    // The steps by which DPDK comes up are of interest only when something is wrong.
    let quiet = if level > Level::INFO { level } else { Level::WARN };
    let filter = Targets::new().with_default(level).with_target("capsule", quiet);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_target(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    // Started once; a second start (in tests) keeps the first.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
