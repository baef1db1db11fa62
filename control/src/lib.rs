//! The parts of the program `director` that tests and benches use, too.

pub mod config;
pub mod listing;
