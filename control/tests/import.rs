//! What `director import` makes of other programs' files: each folder of
//! `tests/fixtures/import` is one import, its files read in their order, beside what is
//! expected of them.
//!
//! `BLESS=1 cargo test -p control --test import` rewrites the expected texts; read the
//! difference before keeping it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

#[path = "support/imported.rs"]
mod imported_yaml;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use control::config::model::{Kind as Binding, Netmask, Scheduler};
use control::import::{Imported, Input, Kind, import};
use control::ipvsadm::Names;
use imported_yaml::load;

/// The texts of a folder, by name.
fn texts(folder: &Path) -> Vec<(Kind, String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let text = |path: &PathBuf| {
        let kind = match path.extension()?.to_str()? {
            "ipvsadm" => Kind::Ipvsadm,
            "iptables" => Kind::Iptables,
            "keepalived" => Kind::Keepalived,
            _ => return None,
        };
        let name = path.file_name()?.to_str()?.to_owned();
        Some((kind, name, fs::read(path).unwrap()))
    };
    paths.iter().filter_map(text).collect()
}

fn read(texts: &[(Kind, String, Vec<u8>)]) -> Imported {
    let input =
        |(kind, name, text): &'_ (Kind, String, Vec<u8>)| (*kind, name.clone(), text.clone());
    let owned: Vec<_> = texts.iter().map(input).collect();
    let inputs: Vec<Input<'_>> =
        owned.iter().map(|(kind, name, text)| Input { kind: *kind, name, text }).collect();
    import(&inputs, &Names::offline(), None)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name)
}

fn imported(name: &str) -> Imported {
    read(&texts(&folder(name)))
}

#[test]
fn every_import_is_as_it_is_written_beside_it_and_loads() {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for folder in folders {
        let done = read(&texts(&folder));
        let model = load(&done);
        assert_eq!(model.services.len(), done.services, "{}", folder.display());
        let expected = folder.join("expected.yaml");
        if bless {
            fs::write(&expected, &done.yaml).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != done.yaml {
            wrong.push(format!("{}:\n{}", expected.display(), done.yaml));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_articles_command_lines_make_its_three_kinds_of_services() {
    let service = |name: &str| {
        let done = imported(name);
        assert_eq!(done.notes, []);
        let model = load(&done);
        let all: BTreeSet<String> = model
            .services
            .iter()
            .map(|service| {
                assert_eq!(service.scheduler, Scheduler::Wlc);
                let persistence = service.persistence.unwrap();
                assert_eq!((persistence.timeout_s, persistence.mask), (360, Netmask::Prefix(32)));
                assert_eq!(service.real_servers.len(), 2);
                service.name.clone()
            })
            .collect();
        (model.services[0].kind(), all.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(
        service("seed-port"),
        (Binding::Ppc, vec!["tcp/192.168.0.220:22".into(), "tcp/192.168.0.220:80".into()])
    );
    assert_eq!(service("seed-client"), (Binding::Pcc, vec!["tcp/192.168.0.220:0".into()]));
    assert_eq!(service("seed-mark"), (Binding::Pfm, vec!["mark/10".into()]));
}

#[test]
fn passwords_are_in_no_note() {
    let done = imported("keepalived-web");
    assert!(done.yaml.contains("198.18.255.1/24 dev eth0"));
    assert!(!done.yaml.contains("secret"));
}

#[test]
fn the_config_id_decides_about_conditions() {
    let text =
        b"@main virtual_server 198.18.255.1 80 {\n@^main virtual_server 198.18.255.2 80 {\n}\n";
    let inputs = [Input { kind: Kind::Keepalived, name: "k", text }];
    let vip = |id| {
        let done = import(&inputs, &Names::offline(), id);
        (load(&done).services[0].name.clone(), done.notes.len())
    };
    assert_eq!(vip(Some("main")), ("tcp/198.18.255.1:80".into(), 0));
    assert_eq!(vip(Some("other")), ("tcp/198.18.255.2:80".into(), 0));
    assert_eq!(vip(None), ("tcp/198.18.255.2:80".into(), 2));
}

#[test]
fn nothing_makes_an_empty_configuration() {
    for text in ["", "\n\n", "# nothing\n", "}\n"] {
        for kind in [Kind::Ipvsadm, Kind::Iptables, Kind::Keepalived] {
            let done = read(&[(kind, "f".into(), text.into())]);
            assert_eq!((done.services, load(&done).services.len()), (0, 0));
        }
    }
    assert_eq!(load(&import(&[], &Names::offline(), None)).services, []);
}

#[test]
fn marks_of_connections_are_told_as_not_carried_over() {
    let rules = "*mangle\n\
         -A PREROUTING -j CONNMARK --restore-mark\n\
         -A PREROUTING -d 198.18.255.1/32 -p tcp --dport 80 -j CONNMARK --set-mark 10\n\
         -A PREROUTING -d 198.18.255.1/32 -p tcp --dport 443 -j MARK --set-mark 10\n\
         -A PREROUTING -m connmark --mark 0xa -j MARK --set-mark 10\n\
         -A PREROUTING -j CONNMARK --save-mark\n\
         COMMIT\n";
    let services = "-A -f 10 -s rr\n-a -f 10 -r 198.18.10.11 -g\n";
    let done = read(&[
        (Kind::Ipvsadm, "services".into(), services.into()),
        (Kind::Iptables, "rules".into(), rules.into()),
    ]);
    let of = |line: usize| {
        let mut notes = done.notes.iter().filter(|note| note.file == "rules" && note.line == line);
        notes.next().unwrap_or_else(|| panic!("line {line}: {:?}", done.notes)).to_string()
    };
    for line in [2, 6] {
        assert!(of(line).contains("Director tracks no marks of connections"), "{}", of(line));
    }
    assert!(of(3).contains("--set-mark 10: it marks the connection and not the packet"));
    assert!(of(3).contains("mark the packets with the same mark"), "{}", of(3));
    assert!(of(5).contains("a selector cannot ask for a connection's mark (0xa)"), "{}", of(5));
    assert_eq!(done.notes.iter().filter(|note| note.line == 4).count(), 0);
    assert!(done.yaml.contains("vip_port: 443") && !done.yaml.contains("vip_port: 80"));
}
