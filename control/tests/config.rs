//! Configuration files as operators write them: good ones load, each bad one yields
//! exactly the problems that are written beside it.
//!
//! `BLESS=1 cargo test -p control --test config` rewrites the expected texts; read the
//! difference before keeping it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use control::config::model::OnDown;
use control::config::{self, Code, Model, Problems};

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} file in {}", folder.display());
    files
}

/// What comes with the product, and what the tests add to it.
fn good_files() -> Vec<PathBuf> {
    ["../conf", "../conf/examples", "tests/fixtures/config/good"]
        .iter()
        .flat_map(|folder| files(folder, "yaml"))
        .collect()
}

fn bad_files() -> Vec<PathBuf> {
    files("tests/fixtures/config/bad", "yaml")
}

fn parse(path: &Path) -> Result<Model, Problems> {
    let name = path.file_name().unwrap().to_str().unwrap();
    config::parse(fs::read(path).unwrap(), name)
}

fn good(path: &Path) -> Model {
    parse(path).unwrap_or_else(|problems| panic!("{}:\n{problems}", path.display()))
}

#[test]
fn every_good_file_loads() {
    for path in good_files() {
        config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn each_bad_file_yields_exactly_its_listed_problems() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    for path in bad_files() {
        let got = match parse(&path) {
            Ok(_) => "no problems\n".to_owned(),
            Err(problems) => problems.to_string(),
        };
        let expected_path = path.with_extension("expected");
        if bless {
            fs::write(&expected_path, &got).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if got != expected {
            wrong += &format!("{}\nexpected:\n{expected}got:\n{got}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_bad_file_is_accepted_and_no_expectation_is_left_over() {
    for path in bad_files() {
        assert!(parse(&path).is_err(), "{} has no problem", path.display());
    }
    for path in files("tests/fixtures/config/bad", "expected") {
        assert!(path.with_extension("yaml").exists(), "{} has no file", path.display());
    }
}

#[test]
fn every_code_is_seen_in_some_file() {
    let mut seen: BTreeSet<Code> = BTreeSet::new();
    for path in bad_files() {
        seen.extend(parse(&path).unwrap_err().iter().map(|problem| problem.code));
    }
    // These need megabytes or no file at all.
    let large = ["a\n".repeat(5 << 20), "- a\n".repeat(1_600_000)];
    for text in large {
        seen.extend(config::parse(text, "large").unwrap_err().iter().map(|problem| problem.code));
    }
    let missing = config::load(Path::new("/nonexistent/director.yaml")).unwrap_err();
    seen.extend(missing.iter().map(|problem| problem.code));
    let unseen: Vec<&Code> = Code::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(unseen.is_empty(), "no file shows {unseen:?}");
}

#[test]
fn every_problem_says_where_it_is_and_what_to_do() {
    for path in bad_files() {
        let bytes = fs::read(&path).unwrap();
        let lines = String::from_utf8_lossy(&bytes).lines().count().max(1);
        for problem in &parse(&path).unwrap_err() {
            let name = path.display();
            assert!(problem.line >= 1 && problem.line as usize <= lines + 1, "{name}: {problem:?}");
            assert!(problem.column >= 1, "{name}: {problem:?}");
            assert!(problem.hint.as_deref() != Some(""), "{name}: {problem:?}");
            let text = format!("{problem}");
            assert!(!text.contains(|c: char| c.is_control()), "{name}: {text:?}");
        }
    }
}

#[test]
fn a_model_written_as_yaml_reads_back_as_the_same_model() {
    for path in good_files() {
        let model = good(&path);
        let text = config::to_yaml(&model).unwrap();
        let again = config::parse(&text, "written").unwrap_or_else(|problems| {
            panic!("{}:\n{problems}\n{text}", path.display());
        });
        assert_eq!(again, model, "{}:\n{text}", path.display());
    }
}

#[test]
fn defaults_are_those_of_the_reference() {
    let shortest = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]\n\
                    services: [{ vip: 198.18.255.1, protocol: tcp, vip_port: 80,\n \
                    real_servers: [{ address: 198.18.10.11 }] }]\n";
    let model = config::parse(shortest, "shortest").unwrap_or_else(|e| panic!("{e}"));
    let expected = "\
ports:
- name: lan0
  device: net_null0
  cores:
  - 1
  addresses:
  - 198.18.10.1/24
  routes: []
  mtu: 1500
  rx_descriptors: 1024
  tx_descriptors: 1024
  promiscuous: false
  require_link: false
memory:
  no_huge: false
  mib: 1024
  mbufs: 65535
  file_prefix: director
tables:
  connections: 1000000
  connections6: 128000
  templates: 1000000
  templates6: 128000
  clients: 1000000
  clients6: 128000
  fragments: 8000
fragments:
  remembered: 30
  early: 64
timeouts:
  tcp: 900
  tcp_fin: 120
  udp: 300
ttl: decrement
neighbours:
  reachable: 30000ms
  retransmit: 1000ms
  retries: 3
  held_frames: 16
  entries: 4096
control:
  socket: /run/director/control.sock
  watch: true
  allow:
    users: []
    groups: []
log:
  level: info
  format: text
compat:
  defaults: safe
  kernel: new
  sloppy_tcp: false
  sloppy_sctp: false
  conn_reuse_mode: 1
  expire_nodest_conn: false
  expire_quiescent_template: false
  schedule_icmp: false
  nat_icmp_send: false
  pmtu_disc: true
  secure_tcp: 0
  drop_entry: 0
  drop_packet: 0
  am_droprate: 10
  amemthresh: 1024
  ip_forward: false
  ip_vs_ftp: true
  renew_extended_templates: false
services:
- name: tcp/198.18.255.1:80
  selectors:
  - vip: 198.18.255.1
    protocol: tcp
    vip_port: 80
  scheduler: wlc
  persistence: false
  tracking: full
  one_packet: false
  on_drain: keep
  on_down: rebind
  real_servers:
  - address: 198.18.10.11
    real_port: 80
    weight: 1
    state: up
    forwarding: route
    upper_threshold: 0
    lower_threshold: 0
";
    assert_eq!(config::to_yaml(&model).unwrap(), expected);
}

#[test]
fn the_short_forms_mean_what_the_long_ones_do() {
    let base = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]\n";
    let pairs = [
        ("log: debug", "log: { level: debug }"),
        ("compat: ipvs", "compat: { defaults: ipvs }"),
        ("compat: safe", "compat: {}"),
        (
            "services: [{ vip: 198.18.255.1, protocol: tcp, vip_port: 80 }]",
            "services: [{ selectors: [{ vip: 198.18.255.1, protocol: tcp, vip_port: 80 }] }]",
        ),
        (
            "services: [{ vip: 198.18.255.1, protocol: tcp, vip_port: 80, persistence: true }]",
            "services:\n- { vip: 198.18.255.1, protocol: tcp, vip_port: 80,\n    \
             persistence: { timeout: 6m, netmask: 255.255.255.255 }, scheduler: { name: wlc } }",
        ),
    ];
    for (short, long) in pairs {
        let read = |text: &str| {
            config::parse(format!("{base}{text}\n"), "pair").unwrap_or_else(|e| panic!("{e}"))
        };
        assert_eq!(read(short), read(long), "{short}");
    }
}

#[test]
fn the_kernels_defaults_are_taken_where_a_service_says_nothing_else() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/good");
    let text = fs::read_to_string(folder.join("as-ipvs.yaml")).unwrap();
    let down = |text: &str| {
        let model = config::parse(text, "as-ipvs").unwrap_or_else(|e| panic!("{e}"));
        model.services.iter().map(|service| service.on_down).collect::<Vec<_>>()
    };
    assert_eq!(down(&text), [OnDown::Keep, OnDown::Rebind, OnDown::Keep]);
    // By our own rules the mark's selectors would meet the other service's.
    let safe = text.replace("compat: ipvs", "compat: safe");
    let problems = config::parse(&safe, "safe").unwrap_err();
    assert_eq!(problems.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::SelectorOverlap]);
    let apart = safe.replace("vip_port: 80 }", "vip_port: 81 }");
    assert_eq!(down(&apart), [OnDown::Rebind, OnDown::Rebind, OnDown::Rebind]);
}

#[test]
fn the_first_file_in_the_readme_loads() {
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let readme = fs::read_to_string(conf.join("README.md")).unwrap();
    let yaml = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let model = config::parse(yaml, "README.md").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(model.services.len(), 1);
}

/// A file that `serde_yaml` has read and written again means the same.
#[test]
fn both_yaml_parsers_see_the_same_values() {
    for path in good_files() {
        let bytes = fs::read(&path).unwrap();
        let other: serde_yaml::Value = serde_yaml::from_slice(&bytes).unwrap();
        let rewritten = serde_yaml::to_string(&other).unwrap();
        let again = config::parse(&rewritten, "rewritten").unwrap_or_else(|problems| {
            panic!("{}:\n{problems}\n{rewritten}", path.display());
        });
        assert_eq!(again, good(&path), "{}:\n{rewritten}", path.display());
    }
}
