//! No problem hides another: two bad files in one show the problems of both, and a value
//! that is broken keeps to itself what it would have said, and nothing else.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use control::config::{self, Code};
use serde_yaml::Value;

/// What most of the bad files have under `ports`.
const PLAIN_PORTS: &str = "ports:
  - name: lan0
    device: net_null0
    addresses: [198.18.10.1/24, 2001:db8:10::1/64]
    gateway: 198.18.10.254
";

/// Where each problem is, and what kind it is.
type Found = BTreeSet<(Code, String)>;

fn bad_files() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/bad");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect()
}

fn problems(text: &str) -> Found {
    match config::parse(text, "together") {
        Ok(_) => Found::new(),
        Err(problems) => problems.iter().map(|p| (p.code, p.path.clone())).collect(),
    }
}

/// A bad file taken apart by its top-level keys.
struct Parts {
    name: String,
    /// The lines of each key, with the key's own.
    sections: BTreeMap<String, String>,
    services: usize,
    found: Found,
}

impl Parts {
    /// `None` for what cannot stand in one file with anything else.
    fn of(name: &str, bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.replace("\r\n", "\n");
        let value: Value = serde_yaml::from_str(&text).ok()?;
        let Value::Mapping(top) = &value else { return None };
        let mut sections: BTreeMap<String, String> = BTreeMap::new();
        let mut key = String::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if !line.starts_with(' ') {
                key = line.split(':').next()?.to_owned();
            }
            let section = sections.entry(key.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
        // A key in quotes, tags, a list in one line: such files stay by themselves.
        let whole = top.len() == sections.len()
            && !text.contains("\n---")
            && !["alias", "anchor", "tag", "merge", "deep"].iter().any(|word| name.contains(word))
            && sections.get("services").is_none_or(|lines| lines.starts_with("services:\n  -"));
        let services = match value.get("services") {
            Some(Value::Sequence(items)) => items.len(),
            _ => 0,
        };
        let found = problems(&text);
        whole.then(|| Self { name: name.to_owned(), sections, services, found })
    }

    fn has_plain_ports(&self) -> bool {
        self.sections.get("ports").is_some_and(|lines| lines == PLAIN_PORTS)
    }

    /// Both in one file, if they fit: this one's ports and services first.
    fn and(&self, other: &Parts) -> Option<String> {
        if !other.has_plain_ports() || !self.sections.contains_key("ports") {
            return None;
        }
        let mut sections = self.sections.clone();
        for (key, lines) in &other.sections {
            match (key.as_str(), sections.get_mut(key)) {
                ("ports", Some(_)) => {}
                ("services", Some(there)) => {
                    there.push_str(lines.strip_prefix("services:\n").unwrap());
                }
                (_, Some(_)) => return None,
                (_, None) => drop(sections.insert(key.clone(), lines.clone())),
            }
        }
        Some(sections.into_values().collect())
    }
}

/// Codes whose problem is about the ports that the file has.
const ABOUT_PORTS: &[Code] = &[
    Code::MainCorePolls,
    Code::TooFewMbufs,
    Code::TooLittleMemory,
    Code::VipIsDirector,
    Code::VipOfNetwork,
    Code::RealServerIsDirector,
    Code::NotConnected,
    Code::Unreachable,
    Code::LocalNeedsKernelPort,
    Code::RealServerOfNetwork,
];

/// The path of a problem when so many services stand before those of its file.
fn shifted(path: &str, services: usize) -> String {
    let Some(rest) = path.strip_prefix("services[") else { return path.to_owned() };
    let (index, rest) = rest.split_once(']').unwrap();
    format!("services[{}]{rest}", index.parse::<usize>().unwrap() + services)
}

#[test]
fn two_bad_files_in_one_show_the_problems_of_both() {
    let parts: Vec<Parts> =
        bad_files().iter().filter_map(|(name, bytes)| Parts::of(name, bytes)).collect();
    let (mut pairs, mut hidden) = (0, String::new());
    for first in &parts {
        for second in &parts {
            let Some(text) = first.and(second) else { continue };
            pairs += 1;
            let found = problems(&text);
            // The first file's ports stay; without them some things cannot be said.
            let same_ports = first.has_plain_ports();
            // Under the kernel's rules selectors with a mark meet none without.
            let rules = [first, second].map(|file| file.sections.get("compat"));
            // A section that cannot be read leaves open whether `no_huge` is in it.
            let memory = second.sections.contains_key("memory");
            let of_second = second
                .found
                .iter()
                .filter(|(code, _)| same_ports || !ABOUT_PORTS.contains(code))
                .map(|(code, path)| (*code, shifted(path, first.services)));
            let of_first = first
                .found
                .iter()
                .filter(|(code, _)| !(memory && *code == Code::MainCorePolls))
                .cloned();
            let by_rules = |(code, _): &(Code, String)| {
                *code == Code::SelectorOverlap && rules.iter().any(Option::is_some)
            };
            let lost = of_first.chain(of_second).filter(|problem| !found.contains(problem));
            for lost in lost.filter(|problem| !by_rules(problem)) {
                let (code, path) = lost;
                let (a, b) = (&first.name, &second.name);
                hidden += &format!("{a} and {b}: {code} at `{path}` is not seen:\n{text}\n");
            }
        }
    }
    assert!(pairs > 3_000, "only {pairs} pairs of files fit together");
    assert!(hidden.is_empty(), "{hidden}");
}

/// The keys that a check looks at besides the value that it reports.
fn needs(code: Code) -> &'static [&'static str] {
    match code {
        Code::BadValue => &["vip"],
        Code::OutOfRange => &["vip", "addresses"],
        Code::MissingKey | Code::UnknownWord => &["type"],
        Code::Conflict => &["forwarding"],
        Code::Pointless => &["name", "forwarding", "type", "on_down", "compat"],
        Code::NotUnicast => &["forwarding", "addresses"],
        Code::DuplicateName => &["name", "vip", "protocol", "vip_port", "mark"],
        Code::DuplicateDevice => &["device", "kernel_port"],
        Code::DeviceNeedsRoot => &["user"],
        Code::MainCorePolls => &["cores", "no_huge"],
        Code::DuplicateAddress | Code::NetworkOverlap => &["addresses"],
        Code::NextHopNotConnected | Code::NextHopIsDirector => &["addresses"],
        Code::DuplicateRoute => &["to"],
        Code::TooFewMbufs => &["cores", "rx_descriptors", "tx_descriptors"],
        Code::TooLittleMemory => &["mbufs"],
        Code::SelectorOverlap => &["vip", "protocol", "vip_port", "compat"],
        Code::Engine => &["protocol", "tracking"],
        Code::DuplicateMark => &["mark", "vip"],
        Code::MixedFamilies => &["vip", "to"],
        Code::NeedsPersistence => &["vip_port", "persistence", "mark"],
        Code::ClientTrackingNeedsPersistence => &["persistence"],
        Code::ClientTrackingForwarding => &["tracking"],
        Code::OnePacket => &["protocol", "tracking"],
        Code::VipIsDirector => &["vip_port", "addresses"],
        Code::VipOfNetwork | Code::RealServerOfNetwork => &["addresses"],
        Code::DuplicateRealServer => &["address", "real_port", "forwarding"],
        Code::RealServerFamily | Code::RealServerIsVip => &["vip", "forwarding"],
        Code::RealPortFixed => &["vip_port", "forwarding"],
        Code::Thresholds => &["upper_threshold"],
        Code::RealServerIsDirector | Code::NotConnected => &["forwarding", "addresses"],
        // Whose clients a service has is said by its VIP; what a pin is held against, by the
        // other pins and the real servers.
        Code::Pin => &["vip", "client", "address"],
        Code::Unreachable => &["forwarding", "addresses", "gateway", "gateway6", "to", "via"],
        _ => &[],
    }
}

/// Every scalar of a file with its path and the last key in it.
fn scalars(value: &Value, path: &str, key: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Mapping(entries) => {
            for (name, value) in entries {
                let name = name.as_str().unwrap();
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                scalars(value, &path, name, found);
            }
        }
        Value::Sequence(items) => {
            for (index, value) in items.iter().enumerate() {
                scalars(value, &format!("{path}[{index}]"), key, found);
            }
        }
        _ => found.push((path.to_owned(), key.to_owned())),
    }
}

fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    let steps = path.replace('[', ".[");
    steps.split('.').fold(value, |value, step| match step.strip_prefix('[') {
        Some(index) => &mut value[index.strip_suffix(']').unwrap().parse::<usize>().unwrap()],
        None => &mut value[step],
    })
}

fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
fn a_broken_value_hides_only_what_depends_on_it() {
    let (mut breaks, mut hidden) = (0, String::new());
    for (name, bytes) in bad_files() {
        let Ok(whole @ Value::Mapping(_)) = serde_yaml::from_slice::<Value>(&bytes) else {
            continue;
        };
        // Files with hundreds of items are about their number.
        let special = ["hostile", "alias", "anchors", "merge", "complex", "unknown-key"];
        if bytes.len() > 4_000 || special.iter().any(|word| name.contains(word)) {
            continue;
        }
        let before = problems(&serde_yaml::to_string(&whole).unwrap());
        let mut values = Vec::new();
        scalars(&whole, "", "", &mut values);
        for (path, key) in values {
            let mut broken = whole.clone();
            *at(&mut broken, &path) = Value::String("~!".to_owned());
            let after = problems(&serde_yaml::to_string(&broken).unwrap());
            breaks += 1;
            for (code, place) in &before {
                let about = within(place, &path) || within(&path, place);
                let depends = needs(*code).contains(&key.as_str());
                if !about && !depends && !after.contains(&(*code, place.clone())) {
                    hidden += &format!("{name}: `{path}` broken hides {code} at `{place}`\n");
                }
            }
            let said = after.iter().any(|(_, place)| within(place, &path) || within(&path, place));
            assert!(said, "{name}: `{path}` broken is no problem: {after:?}");
        }
    }
    assert!(breaks > 800, "only {breaks} values were broken");
    assert!(hidden.is_empty(), "{hidden}");
}
