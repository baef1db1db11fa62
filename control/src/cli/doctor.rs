//! The words of `director doctor`.

use std::path::PathBuf;

use clap::Args;

use super::DEFAULT_CONFIG;

/// `director doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub config: PathBuf,
    /// End with status 1 for warnings, too.
    #[arg(long)]
    pub strict: bool,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}
