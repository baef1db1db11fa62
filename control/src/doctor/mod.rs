//! `director doctor`: what a configuration needs, and what the machine lacks of it.
//!
//! The same checks run at every start. What stops a start is said by the start itself, in one
//! sentence; the rest is logged as warnings.
//!
//! Everything is read from files below `/sys` and `/proc` of a [`Machine`], so that any
//! machine can be shown to it. What only a running kernel can be asked (offloads of an
//! interface) is asked on this machine alone.

mod cores;
mod finding;
mod interfaces;
mod kernel;
mod memory;
mod people;
mod place;
mod ports;
mod report;
mod tunnels;

use std::process::ExitCode;

use nic::{Machine, NicConfig};
use tracing::warn;

pub use finding::{Finding, Severity};
pub use report::Report;

use crate::config::{self, Model};
use crate::output;
use crate::{cli, compile, cores as usable};

/// What is being compared.
struct Examination<'a> {
    model: &'a Model,
    nic: &'a NicConfig,
    machine: &'a Machine,
    /// The process id of a director that runs with the same control socket.
    running: Option<i32>,
    findings: Vec<Finding>,
}

impl Examination<'_> {
    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What is only slower matters where speed is wanted: with NICs and hugepages.
    fn slower(&self) -> Severity {
        if self.nic.memory.no_huge { Severity::Advice } else { Severity::Warning }
    }

    /// Cores that poll a port, in rising order.
    fn polling(&self) -> Vec<usize> {
        self.nic.cores()
    }

    /// Whether a port is on the PCI bus.
    fn has_nic(&self) -> bool {
        self.nic.ports.iter().any(|port| port.pci_address().is_some())
    }
}

/// Compares a configuration with a machine.
pub fn examine(model: &Model, machine: &Machine) -> Report {
    let mut examination = Vec::new();
    let cpus = place::usable_cpus(machine);
    // Where a core is missing, the lowest one stands for the main core in the other checks.
    let main_core = match usable::main_core(model, &cpus) {
        Ok(main_core) => main_core.core,
        Err(missing) => {
            examination.push(cores::missing(&missing));
            cpus.first().copied().unwrap_or_default()
        }
    };
    let nic = compile::nic_config(model, main_core);
    let running = place::running(model, machine);
    let mut patient = Examination { model, nic: &nic, machine, running, findings: examination };
    memory::examine(&mut patient);
    ports::examine(&mut patient);
    interfaces::examine(&mut patient);
    kernel::examine(&mut patient);
    tunnels::examine(&mut patient);
    cores::examine(&mut patient);
    place::examine(&mut patient);
    people::examine(&mut patient);
    let mut findings = patient.findings;
    findings.sort_by_key(|finding| finding.severity);
    Report::new(&nic, machine, running, findings)
}

/// `director doctor`: prints the report; 1 if the director would not start.
///
/// # Errors
/// What is wrong with the configuration.
pub fn run(args: &cli::Doctor) -> Result<ExitCode, String> {
    let model = config::load(&args.config).map_err(|problems| problems.to_string())?;
    let report = examine(&model, &Machine::this());
    let text = match args.json {
        true => serde_json::to_string_pretty(&report.json())
            .map_err(|error| format!("the report cannot be written as JSON: {error}"))?,
        false => report.to_string(),
    };
    // A pipe that nobody reads any more is no error.
    output::print(&format!("{}\n", text.trim_end()));
    let bad =
        report.count(Severity::Fatal) > 0 || args.strict && report.count(Severity::Warning) > 0;
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Logs what is not as it should be, at a start that succeeded all the same.
pub fn warn_at_start(model: &Model) {
    let report = examine(model, &Machine::this());
    for finding in report.findings() {
        if finding.severity == Severity::Warning {
            warn!("{}", finding.line());
        }
    }
}
