//! The description of the keys, the parser, the schema and the reference are held together:
//! every key, bound, word, default and example is tried with both.
//!
//! `BLESS=1 cargo test -p control --test keys` renews the reference in `conf/README.md`.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use control::config::keys::{self, Default, Found, Section, Value};
use control::config::{self, Code, Model};
use jsonschema::Validator;
use serde_json::Value as Json;

/// A file in which a key has a value, with what else must be there.
fn file(found: &Found, value: &str) -> String {
    let names: Vec<&str> = found.path.split('.').collect();
    let mut yaml = String::new();
    write(keys::find("").unwrap().section().unwrap(), &names, value, &mut yaml);
    yaml
}

/// Writes a mapping in flow style that leads to the value.
fn write(section: &Section, names: &[&str], value: &str, yaml: &mut String) {
    let written = names[0];
    let name = written.trim_end_matches("[]");
    let mut parts = Vec::new();
    for key in section.keys {
        if key.name == name {
            let mut inner = value.to_owned();
            if names.len() > 1 {
                inner.clear();
                write(key.value.section().unwrap().0, &names[1..], value, &mut inner);
                if written.ends_with("[]") {
                    inner = format!("[{inner}]");
                }
            }
            parts.push(format!("{name}: {inner}"));
        } else if let Some(value) = beside(section, name, key) {
            parts.push(format!("{}: {value}", key.name));
        }
    }
    *yaml += &format!("{{ {} }}", parts.join(", "));
}

/// What a key has to be so that the key of this name can be there, too.
fn beside(section: &Section, name: &str, key: &keys::Key) -> Option<String> {
    let mut wanted = key.default == Default::Compulsory;
    for rule in section.rules {
        match rule {
            keys::Rule::OneOf { groups, unless } => {
                let excluded = section.rules.iter().any(|rule| match rule {
                    keys::Rule::NotBoth(a, b) => *a == name && groups[0].contains(b),
                    keys::Rule::OneOf { .. } | keys::Rule::With { .. } => false,
                });
                let group = groups.iter().find(|group| group.contains(&name)).unwrap_or(&groups[0]);
                if groups.iter().any(|group| group.contains(&key.name)) {
                    wanted = !excluded && group.contains(&key.name);
                }
                wanted |= excluded && key.name == *unless;
            }
            keys::Rule::With { key: one, when, is, .. } if *one == name && *when == key.name => {
                // The last word is the one that allows most.
                return Some(is.last().unwrap().to_string());
            }
            keys::Rule::With { key: one, compulsory: true, .. } if *one == key.name => {
                wanted = name == "checksum";
            }
            keys::Rule::With { .. } | keys::Rule::NotBoth(..) => {}
        }
    }
    wanted.then(|| key.example.to_owned())
}

/// The path in messages: every list's first item.
fn shown(path: &str) -> String {
    path.replace("[]", "[0]")
}

/// The problems of a value by itself, not of how it goes with others.
fn refused(yaml: &str, found: &Found) -> Option<String> {
    let Err(problems) = config::parse(yaml, "tried") else { return None };
    let path = shown(&found.path);
    let path = path.strip_suffix("[0]").unwrap_or(&path);
    problems
        .iter()
        .find(|problem| {
            let below = problem.path.strip_prefix(path);
            let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            if problem.code == Code::MissingKey && problem.path == parent {
                return true;
            }
            let here =
                below.is_some_and(|rest| matches!(rest.chars().next(), None | Some('.' | '[')));
            here && by_itself(problem.code)
        })
        .map(ToString::to_string)
}

fn by_itself(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownKey
            | Code::MissingKey
            | Code::WrongKind
            | Code::MissingValue
            | Code::BadValue
            | Code::OutOfRange
            | Code::UnknownWord
            | Code::Pointless
    )
}

fn validator() -> Validator {
    let schema = keys::schema::schema();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// What YAML's rules make of a text; `None` for what is no JSON.
fn json(yaml: &[u8]) -> Option<Json> {
    serde_yaml::from_slice(yaml).ok()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 5);
    files
}

/// The parser says of every mapping which keys it knows.
#[test]
fn the_parser_knows_the_described_keys_and_no_others() {
    let mut sections = vec![(keys::find("").unwrap(), "{ qqqqqqqq: 1 }".to_owned())];
    for found in keys::every().into_iter().filter(|found| found.section().is_some()) {
        let mapping =
            if found.path.ends_with("[]") { "[{ qqqqqqqq: 1 }]" } else { "{ qqqqqqqq: 1 }" };
        let yaml = file(&found, mapping);
        sections.push((found, yaml));
    }
    for (found, yaml) in sections {
        let problems = config::parse(&yaml, "tried").unwrap_err();
        let unknown = problems.iter().find(|problem| problem.code == Code::UnknownKey).unwrap();
        assert_eq!(unknown.path, shown(&found.path), "{yaml}");
        let hint = unknown.hint.as_deref().unwrap();
        let known: Vec<&str> = hint.split('`').skip(1).step_by(2).collect();
        let described: Vec<&str> =
            found.section().unwrap().keys.iter().map(|key| key.name).collect();
        assert_eq!(known, described, "{}", found.path);
    }
}

#[test]
fn every_example_is_accepted_by_parser_and_schema() {
    let validator = validator();
    for found in keys::every() {
        let (_, key) = found.key.unwrap();
        let yaml = file(&found, key.example);
        assert_eq!(refused(&yaml, &found), None, "{yaml}");
        let json = json(yaml.as_bytes()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&json).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{yaml}: {errors:?}");
    }
}

/// A file with a default written out means the same as one without.
#[test]
fn every_default_is_the_parser_s_own() {
    let mut tried = 0;
    for found in keys::every() {
        let (_, key) = found.key.unwrap();
        let Default::Is(default) = key.default else { continue };
        let with = file(&found, default);
        let model = |yaml: &str| -> Model {
            config::parse(yaml, "tried").unwrap_or_else(|problems| panic!("{yaml}\n{problems}"))
        };
        // The same file without the key: it is the last thing between its neighbours.
        let written = format!("{}: {default}", key.name);
        assert!(with.contains(&written), "{with}");
        let without =
            with.replacen(&format!(", {written}"), "", 1).replacen(&format!("{written}, "), "", 1);
        let without = if without == with { with.replacen(&written, "", 1) } else { without };
        assert_ne!(with, without);
        assert_eq!(model(&with), model(&without), "{with}");
        tried += 1;
    }
    assert!(tried > 50, "only {tried} defaults were tried");
}

/// Values of all kinds, and the bounds of the key with what lies beyond them.
fn values(found: &Found) -> Vec<String> {
    let mut values: Vec<String> = [
        "true",
        "false",
        "maybe",
        "-1",
        "0",
        "1",
        "2",
        "3",
        "7",
        "64",
        "100",
        "1024",
        "70000",
        "99999999999999999999999",
        "1.5",
        "5k",
        "2M",
        "3s",
        "15m",
        "1500ms",
        "1w",
        "x",
        "lan0",
        "a b",
        "tcp",
        "wlc",
        "198.18.255.1",
        "\"2001:db8::1\"",
        "\"::ffff:198.18.0.1\"",
        "198.18.255.1:80",
        "198.18.10.1/24",
        "198.18.10.1/33",
        "255.255.255.0",
        "255.0.255.0",
        "02:00:00:00:00:11",
        "0000:3b:00.0",
        "\"net_tap0,iface=x\"",
        "8000-8010",
        "\"1-3,7\"",
        "/run/x.sock",
        "run",
        "~",
        "[]",
        "{}",
        "[1]",
        "[x]",
        "[[1]]",
        "{ x: 1 }",
        "[{}]",
    ]
    .map(str::to_owned)
    .into();
    let (_, key) = found.key.unwrap();
    bounds(&key.value, &mut values);
    values
}

fn bounds(value: &Value, values: &mut Vec<String>) {
    match value {
        Value::Number { from, to, .. }
        | Value::PowerOfTwo { from, to }
        | Value::Count { from, to } => {
            for bound in [u128::from(*from), u128::from(*to)] {
                values.extend([bound.saturating_sub(1), bound, bound + 1].map(|n| n.to_string()));
            }
        }
        Value::Time { from_ms, to_ms } => {
            for bound in [from_ms / 1_000, to_ms / 1_000] {
                values.extend([bound.saturating_sub(1), bound, bound + 1].map(|n| n.to_string()));
            }
        }
        Value::Word(words) => values.extend(words.names().iter().map(|word| (*word).to_owned())),
        Value::List { of, .. } => {
            let mut items = Vec::new();
            bounds(of, &mut items);
            values.extend(items.iter().map(|item| format!("[{item}]")));
        }
        Value::Either(either) => either.iter().for_each(|value| bounds(value, values)),
        Value::Switch | Value::Text(_) | Value::Mapping(_) => {}
    }
}

/// What a schema cannot say of a value; each has to be needed.
fn beyond_a_schema(found: &Found, text: &str) -> Option<&'static str> {
    let (_, key) = found.key.unwrap();
    let any = |test: &dyn Fn(&Value) -> bool| match &key.value {
        Value::Either(values) => values.iter().any(test),
        Value::List { of, .. } => test(of),
        other => test(other),
    };
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    match (key.name, text) {
        (_, "\"::ffff:198.18.0.1\"") => Some("an IPv4 address in IPv6's clothes"),
        (_, "198.18.10.1/33" | "255.0.255.0" | "0.0.0.0") => Some("arithmetic on an address"),
        ("cores", "8000-8010") => Some("numbers inside a text"),
        ("prefix", _) if text.parse::<u8>().is_ok() => Some("what the family makes of a number"),
        ("checksum", "true" | "false") => Some("which kind goes with which tunnel"),
        _ if digits.is_empty() || digits == text => None,
        _ if any(&|value| matches!(value, Value::Time { .. } | Value::Count { .. })) => {
            Some("the range of a number with a unit")
        }
        _ => None,
    }
}

#[test]
fn parser_and_schema_accept_the_same_values() {
    let validator = validator();
    let (mut tried, mut needed) = (0, BTreeSet::new());
    let mut wrong = String::new();
    for found in keys::every() {
        for text in values(&found) {
            let yaml = file(&found, &text);
            let parser = refused(&yaml, &found);
            let Some(json) = json(yaml.as_bytes()) else { continue };
            let schema = validator.iter_errors(&json).next().map(|error| error.to_string());
            tried += 1;
            if parser.is_some() == schema.is_some() {
                continue;
            }
            match beyond_a_schema(&found, &text) {
                Some(why) if schema.is_none() => {
                    needed.insert(why);
                }
                _ => {
                    wrong += &format!(
                        "{}: {text}\n  parser: {parser:?}\n  schema: {schema:?}\n",
                        found.path
                    )
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(needed.len(), 6, "{needed:?}");
    assert!(tried > 3_000, "only {tried} values were tried");
}

#[test]
fn every_good_file_is_valid() {
    let validator = validator();
    for path in yaml_files(&["../conf", "../conf/examples", "tests/fixtures/config/good"]) {
        let json = json(&fs::read(&path).unwrap()).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&json)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

/// Faults of keys, kinds and words are what a schema can always say.
#[test]
fn bad_files_whose_fault_a_schema_can_say_are_invalid() {
    let validator = validator();
    let sayable = |code: Code| {
        matches!(
            code,
            Code::UnknownKey
                | Code::MissingKey
                | Code::WrongKind
                | Code::MissingValue
                | Code::UnknownWord
        )
    };
    let mut said = 0;
    for path in yaml_files(&["tests/fixtures/config/bad"]) {
        let bytes = fs::read(&path).unwrap();
        let problems = config::parse(&bytes, "bad").unwrap_err();
        // What is no YAML, or has a key twice, never reaches a schema.
        let Some(json) = json(&bytes) else { continue };
        if problems.iter().any(|problem| sayable(problem.code)) {
            assert!(!validator.is_valid(&json), "{} is valid:\n{problems}", path.display());
            said += 1;
        }
    }
    assert!(said > 20, "only {said} files");
}

#[test]
fn the_reference_in_the_readme_is_up_to_date() {
    let path = root().join("../conf/README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) =
        readme.split_once(keys::reference::BEGIN).expect("the mark where it begins");
    let (made, after) = rest.split_once(keys::reference::END).expect("the mark where it ends");
    let wanted = format!("\n\n{}", keys::reference::markdown());
    if std::env::var_os("BLESS").is_some() {
        let (begin, end) = (keys::reference::BEGIN, keys::reference::END);
        fs::write(&path, format!("{before}{begin}{wanted}{end}{after}")).unwrap();
        return;
    }
    assert!(
        made == wanted,
        "the keys changed; renew the reference with BLESS=1 cargo test -p control --test keys"
    );
}

#[test]
fn every_key_is_in_the_annotated_file() {
    let text = fs::read_to_string(root().join("../conf/director.yaml")).unwrap();
    for found in keys::every() {
        let (_, key) = found.key.unwrap();
        assert!(text.contains(&format!("{}:", key.name)), "director.yaml lacks `{}`", found.path);
    }
}
