//! Recordings of a kernel's IPVS, played to Director: every decision and every text is equal.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use control::simulate::{Options, run};

/// What is not built yet, by the scenario that shows it. A scenario that passes must leave this
/// list.
const KNOWN_TO_DIFFER: &[(&str, &str)] = &[];

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../dataplane/tests/vectors")
}

#[test]
fn every_recorded_scenario_is_decided_and_told_as_the_kernel_did() {
    let report = run(&[vectors()], Options { text: true, verbose: false });
    assert!(report.outcomes.len() > 100, "the recordings are missing");
    let known: BTreeMap<&str, &str> = KNOWN_TO_DIFFER.iter().copied().collect();
    let mut wrong = String::new();
    for outcome in &report.outcomes {
        match (outcome.passed(), known.get(outcome.name.as_str())) {
            (true, None) | (false, Some(_)) => {}
            (true, Some(why)) => {
                wrong += &format!("{} passes now: take it off the list ({why})\n", outcome.name);
            }
            (false, None) => {
                wrong += &format!("{} differs:\n", outcome.name);
                for difference in outcome.differences.iter().take(3) {
                    wrong += &difference.to_string();
                }
            }
        }
    }
    for (name, _) in KNOWN_TO_DIFFER {
        if !report.outcomes.iter().any(|outcome| outcome.name == *name) {
            wrong += &format!("{name} is on the list, but there is no such scenario\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_is_no_scenario_is_neither_passed_nor_failed() {
    for path in [vectors().join("README.md"), PathBuf::from("/nowhere"), PathBuf::from("src")] {
        let report = run(std::slice::from_ref(&path), Options { text: true, verbose: false });
        assert!(report.outcomes.is_empty(), "{report}");
        assert_eq!(report.unreadable.len(), 1);
        assert!(report.unreadable[0].starts_with(&path.display().to_string()));
    }
}

#[test]
fn without_texts_only_decisions_count() {
    let file = vectors().join("admin-errors.json");
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.replace("Service already exists", "Service is there already");
    let folder = std::env::temp_dir().join(format!("director-simulate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let changed = folder.join("changed.json");
    std::fs::write(&changed, text).unwrap();
    let differing = |text| {
        let report = run(std::slice::from_ref(&changed), Options { text, verbose: true });
        let stderr = |d: &&control::simulate::Difference| d.part == "stderr";
        report.outcomes[0].differences.iter().filter(stderr).count()
    };
    let (with, without) = (differing(true), differing(false));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(with > 0);
    assert_eq!(without, 0);
}
