//! Every sample configuration of Debian's package keepalived is carried over, or is told why not.
//!
//! `scripts/setup` installs the package. A small reader of its own finds out what a sample says;
//! nothing of it may be missing both from the YAML and from the notes.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "support/imported.rs"]
mod imported;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use control::import::{Imported, Input, Kind, Note, import};
use control::ipvsadm::Names;

const SAMPLES: &str = "/usr/share/doc/keepalived/samples";

fn samples() -> Vec<PathBuf> {
    let entries = fs::read_dir(SAMPLES).unwrap_or_else(|error| {
        panic!("{SAMPLES}: {error}; scripts/setup installs the package keepalived")
    });
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().contains("/keepalived.conf."));
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    files
}

/// A line of a sample that says something.
#[derive(Clone, Debug)]
struct Line {
    number: usize,
    words: Vec<String>,
    /// The lines that opened the blocks around it, outermost first.
    inside: Vec<(usize, Vec<String>)>,
}

/// What a sample says, line by line. The samples have one thing a line.
fn lines(text: &str) -> Vec<Line> {
    let (mut lines, mut open): (Vec<Line>, Vec<(usize, Vec<String>)>) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let (said, number) = (line.split(['!', '#']).next().unwrap(), index + 1);
        let spaced = said.replace('{', " { ").replace('}', " } ");
        let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
        let said: Vec<String> =
            words.iter().filter(|word| *word != "{" && *word != "}").cloned().collect();
        if !said.is_empty() {
            lines.push(Line { number, words: said.clone(), inside: open.clone() });
        }
        for word in &words {
            match word.as_str() {
                "{" => open.push((number, said.clone())),
                "}" => drop(open.pop()),
                _ => {}
            }
        }
    }
    lines
}

/// The words of YAML that a line becomes; `None` for what only a note can tell.
fn carried(line: &Line) -> Option<Vec<String>> {
    let inside: Vec<&str> = line.inside.iter().map(|(_, words)| words[0].as_str()).collect();
    let words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    let say = |text: String| Some(vec![text]);
    match (&inside[..], &words[..]) {
        ([], ["virtual_server_group", _] | ["virtual_server", "group", _]) => Some(Vec::new()),
        ([] | ["virtual_server_group"], ["virtual_server", "fwmark", mark] | ["fwmark", mark]) => {
            say(format!("mark: {mark}"))
        }
        ([], ["virtual_server", vip, port]) | (["virtual_server_group"], [vip, port]) => {
            let first = vip.split('-').next().unwrap();
            Some(vec![format!("vip: {}", quoted(first)), format!("vip_port: {port}")])
        }
        (["virtual_server"], ["real_server", address, ..]) => {
            say(format!("address: {}", quoted(address)))
        }
        (["virtual_server"], ["lb_algo", name]) => say(format!("scheduler: {name}")),
        (["virtual_server"], ["lb_kind", kind]) => say(format!(
            "forwarding: {}",
            match *kind {
                "NAT" => "masq",
                "DR" => "route",
                other => panic!("no sample had lb_kind {other}"),
            }
        )),
        (["virtual_server"], ["persistence_timeout", seconds]) => {
            say(format!("persistence: {seconds}"))
        }
        (["virtual_server"], ["protocol", protocol]) => {
            say(format!("protocol: {}", protocol.to_lowercase()))
        }
        (["virtual_server", "real_server"], ["weight", weight]) => say(format!("weight: {weight}")),
        _ => None,
    }
}

fn quoted(address: &str) -> String {
    if address.contains(':') { format!("\"{address}\"") } else { address.to_owned() }
}

/// Whether a note tells of a line, or of a block around it that is not carried over as a whole.
fn told(line: &Line, notes: &[Note]) -> bool {
    let own = (line.number, line.words.clone());
    line.inside.iter().chain([&own]).any(|(number, words)| {
        let word = words[0].as_str();
        // Of the samples' services these are only the frame for the rest.
        let frame = ["virtual_server", "real_server", "virtual_server_group"].contains(&word);
        notes.iter().any(|note| {
            let here = |number: &usize| note.line == *number || alike(note).contains(number);
            let near = here(number) || line.inside.iter().any(|(opened, _)| here(opened));
            near && !frame && note.what.contains(word)
        })
    })
}

/// The lines of other real servers that have the same as the one that a note is about.
fn alike(note: &Note) -> Vec<usize> {
    let ends = [" more in lines ", " one more in line "];
    let numbers = ends.iter().find_map(|end| note.what.rsplit_once(end));
    numbers.map_or(Vec::new(), |(_, numbers)| {
        numbers.split(", ").map(|number| number.parse().unwrap()).collect()
    })
}

fn import_sample(text: &str) -> Imported {
    let inputs = [Input { kind: Kind::Keepalived, name: "sample", text: text.as_bytes() }];
    import(&inputs, &Names::offline(), None)
}

#[test]
fn nothing_that_a_sample_says_is_lost_silently_and_its_yaml_loads() {
    let (mut services, mut lost) = (0, Vec::new());
    for path in samples() {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let done = import_sample(&text);
        assert_eq!(imported::load(&done).services.len(), done.services, "{}", path.display());
        services += done.services;
        for line in lines(&text) {
            let in_yaml = carried(&line)
                .is_some_and(|parts| parts.iter().all(|part| done.yaml.contains(part)));
            if !in_yaml && !told(&line, &done.notes) {
                lost.push(format!("{}:{}: {}", path.display(), line.number, line.words.join(" ")));
            }
        }
    }
    assert!(lost.is_empty(), "neither in the YAML nor told of:\n{}", lost.join("\n"));
    assert!(services > 15, "only {services} services");
}

#[test]
fn the_program_writes_each_sample_or_tells_all_that_it_has_no_place_for() {
    for path in samples() {
        let output = Command::new(env!("CARGO_BIN_EXE_director"))
            .args(["import", "keepalived"])
            .arg(&path)
            .output()
            .unwrap();
        let (yaml, said) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        let done = import_sample(&String::from_utf8_lossy(&fs::read(&path).unwrap()));
        assert_eq!(output.status.code(), Some(if done.found { 3 } else { 1 }), "{said}");
        assert_eq!(yaml.is_empty(), !done.found);
        for note in &done.notes {
            let line = format!("{}:{}: {}: ", path.display(), note.line, note.what);
            assert!(said.contains(&line), "{line}\n{said}");
        }
    }
    assert!(Path::new(SAMPLES).is_dir());
}

#[test]
fn a_line_that_nobody_tells_of_is_found() {
    let text = "virtual_server 198.18.255.1 80 {\n  lb_algo rr\n  delay_loop 6\n}\n";
    let line = &lines(text)[2];
    assert_eq!((line.number, line.inside.len(), carried(line)), (3, 1, None));
    assert!(told(line, &import_sample(text).notes));
    assert!(!told(line, &[]));
}
