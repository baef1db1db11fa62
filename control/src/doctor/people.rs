//! Who the director becomes, who may speak to it, and where it offers itself.

use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::{Examination, Finding, Severity};
use crate::metrics;
use crate::peers::Peers;
use crate::privileges::Account;

pub(super) fn examine(patient: &mut Examination<'_>) {
    // Users, folders and addresses of another machine are not in its `/sys` and `/proc`.
    if !patient.machine.is_this() {
        return;
    }
    accounts(patient);
    others(patient);
    socket(patient);
    scrapes(patient);
}

/// A sentence of the start, taken apart: what it is about, what is wrong, and after a
/// semicolon what to do.
fn of_sentence(sentence: &str, why: &str) -> Finding {
    let (about, rest) = sentence.split_once(": ").unwrap_or(("configuration", sentence));
    let (what, mend) = rest.split_once("; ").unwrap_or((rest, "correct it"));
    Finding::new(Severity::Fatal, about, what, why, mend)
}

fn accounts(patient: &mut Examination<'_>) {
    let refused = patient.model.run_as.as_ref().and_then(|run_as| Account::find(run_as).err());
    if let Some(refused) = refused {
        let why = "the director becomes this user once its ports are up";
        patient.find(of_sentence(&refused.to_string(), why));
    }
    if let Err(refused) = Peers::find(&patient.model.control.allow) {
        let why = "a name that nobody has could be anybody's later";
        patient.find(of_sentence(&refused, why));
    }
}

/// Those who are let in have to get as far as the socket.
fn others(patient: &mut Examination<'_>) {
    let allowed = Peers::find(&patient.model.control.allow).is_ok_and(|peers| !peers.is_empty());
    let Some(folder) = patient.model.control.socket.parent().filter(|_| allowed) else { return };
    // One that is missing is made for the owner alone.
    let open = folder.metadata().is_ok_and(|folder| folder.mode() & 0o001 != 0);
    if open {
        return;
    }
    let name = folder.display();
    patient.find(Finding::new(
        Severity::Warning,
        "control.allow",
        format!("nobody else gets into {name}"),
        "the socket lies there",
        format!(
            "let others pass (`install -d -m 711 {name}`; under systemd RuntimeDirectoryMode=0711)"
        ),
    ));
}

fn socket(patient: &mut Examination<'_>) {
    let path = &patient.model.control.socket;
    let is_other = path.symlink_metadata().is_ok_and(|there| !there.file_type().is_socket());
    if !is_other {
        return;
    }
    patient.find(Finding::new(
        Severity::Fatal,
        "control socket",
        format!("{} is there already and is no socket", path.display()),
        "the director is spoken to through a socket there, and replaces nothing else",
        "move it away, or write another path under control.socket",
    ));
}

/// A director that runs has the address itself.
fn scrapes(patient: &mut Examination<'_>) {
    let Some(wanted) = patient.model.metrics.as_ref().filter(|_| patient.running.is_none()) else {
        return;
    };
    if let Err(refused) = metrics::listen(wanted.address) {
        let why = "metrics and health are offered there";
        patient.find(of_sentence(&format!("metrics: {refused}"), why));
    }
}
