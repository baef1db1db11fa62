//! What the doctor says: what is needed, and what was found.

use std::fmt;

use nic::{Machine, NicConfig, preflight};
use serde_json::{Value, json};

use crate::counted::counted;

use super::finding::{Finding, Severity};

/// The result of an examination.
#[derive(Clone, Debug)]
pub struct Report {
    needs: Vec<(String, String)>,
    running: Option<i32>,
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn new(
        nic: &NicConfig,
        machine: &Machine,
        running: Option<i32>,
        findings: Vec<Finding>,
    ) -> Self {
        Self { needs: needs(nic, machine), running, findings }
    }

    /// What was found, the worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// How many findings there are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The report as JSON.
    pub fn json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "severity": finding.severity,
                "about": finding.about,
                "what": finding.what,
                "why": finding.why,
                "mend": finding.mend,
                "command": finding.command(),
            })
        };
        let needs = self.needs.iter().map(|(what, how)| (what.clone(), Value::from(how.clone())));
        json!({
            "needs": needs.collect::<serde_json::Map<String, Value>>(),
            "running_pid": self.running,
            "findings": self.findings.iter().map(finding).collect::<Vec<Value>>(),
        })
    }
}

fn needs(nic: &NicConfig, machine: &Machine) -> Vec<(String, String)> {
    let needs = preflight::needs(nic, machine);
    let pages = if nic.memory.no_huge { "ordinary memory" } else { "hugepages" };
    let mut nodes: Vec<String> = (needs.memory_mib.iter())
        .map(|(node, mib)| format!("{mib} MiB of {pages} on NUMA node {node}"))
        .collect();
    nodes.push(format!("{} MiB to be reserved (memory.mib)", nic.memory.mib));
    let cores: Vec<String> = nic.cores().iter().map(usize::to_string).collect();
    let mut list = vec![
        ("memory".to_owned(), nodes.join(", ")),
        ("mbufs".to_owned(), format!("{} at least, {} configured", needs.mbufs, nic.mbufs)),
        ("cores".to_owned(), format!("{} to poll, {} for control", cores.join(" "), nic.main_core)),
    ];
    for port in &nic.ports {
        let queues = format!(
            "{} of {} + {} descriptors, MTU {}",
            counted(port.cores.len(), "queue pair"),
            port.rx_descriptors,
            port.tx_descriptors,
            port.mtu
        );
        list.push((format!("port {}", port.name), queues));
    }
    list
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "needed")?;
        for (what, how) in &self.needs {
            writeln!(f, "  {what:<12} {how}")?;
        }
        if let Some(pid) = self.running {
            writeln!(f, "a director runs with this control socket (pid {pid}): it has its memory")?;
        }
        writeln!(f)?;
        for finding in &self.findings {
            writeln!(f, "{:<8} {}: {}", finding.severity.word(), finding.about, finding.what)?;
            writeln!(f, "{:<8} why:  {}", "", finding.why)?;
            writeln!(f, "{:<8} mend: {}", "", finding.mend)?;
        }
        let [fatal, warnings, advice] =
            [Severity::Fatal, Severity::Warning, Severity::Advice].map(|one| self.count(one));
        match self.findings.is_empty() {
            true => writeln!(f, "nothing is missing"),
            false => {
                writeln!(
                    f,
                    "{fatal} fatal, {}, {} of advice",
                    counted(warnings, "warning"),
                    counted(advice, "piece")
                )
            }
        }
    }
}
