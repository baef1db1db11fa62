//! Plan, apply, take back: what runs, what a file would change, whom it would move, what ran
//! before.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;

use support::farm::{self, Farm, VIPS};
use support::node::Node;
use support::program::{Home, Program};
use support::server;

/// One port that nothing comes in on.
const QUIET: &str =
    "ports:\n  - name: lan0\n    device: net_ring0\n    addresses: [198.18.10.1/16]\n";

fn web(more: &str, reals: &[&str]) -> String {
    let reals: String = reals.iter().map(|one| format!("      - {{ {one} }}\n")).collect();
    let list = if reals.is_empty() { " []\n".to_owned() } else { format!("\n{reals}") };
    format!(
        "{QUIET}services:\n  - name: web\n    vip: 198.18.255.1\n    protocol: tcp\n    \
         vip_port: 80\n{more}    real_servers:{list}"
    )
}

#[test]
fn what_runs_is_compared_with_a_file_applied_and_taken_back() {
    let one = web("", &["address: 198.18.10.11, name: one", "address: 198.18.10.12"]);
    let program = Program::start(&Node::new(), &one);
    let same = program.ask(&["diff"]);
    assert_eq!((same.code(), same.stderr.as_str()), (Some(0), ""));
    assert!(same.stdout.starts_with("generation 1 is what "), "{}", same.stdout);

    let two = program.yaml(&web("    scheduler: rr\n", &["address: 198.18.10.12, weight: 7"]));
    let diff = program.ask_with_input(&["diff", "-"], &two);
    assert_eq!((diff.code(), diff.stderr.as_str()), (Some(1), ""));
    for line in [
        "generation 1 -> standard input",
        "~ services[web].scheduler: wlc -> rr",
        "~ services[web].real_servers[198.18.10.12:80].weight: 1 -> 7",
        "- services[web].real_servers[198.18.10.11:80]: {",
        "no live client would move",
    ] {
        assert!(diff.stdout.contains(line), "{line}: {}", diff.stdout);
    }
    let dry = program.ask_with_input(&["apply", "--dry-run", "-"], &two);
    assert_eq!((dry.code(), dry.stderr.as_str()), (Some(0), ""));
    assert!(dry.stdout.contains("standard input would change generation 1 in 3 places:"));
    assert!(dry.stdout.ends_with("nothing was changed: this was a dry run\n"), "{}", dry.stdout);
    assert_eq!(program.number(&["generation"]), 1);

    let applied = program.ask_with_input(&["apply", "-"], &two);
    assert_eq!(
        applied.stdout,
        "generation 2: 1 service edited, 1 real server edited, 1 real server removed\n"
    );
    let drift = program.ask(&["diff"]);
    assert_eq!(drift.code(), Some(1), "the file still says the first one");
    assert!(drift.stdout.contains("~ services[web].scheduler: rr -> wlc"), "{}", drift.stdout);

    let dry = program.told(&["rollback", "--dry-run"]);
    assert!(dry.contains("generation 1 would change generation 2"), "{dry}");
    let back = program.told(&["rollback"]);
    assert!(back.starts_with("back to generation 1 as generation 3: "), "{back}");
    assert_eq!(program.ask(&["diff"]).code(), Some(0));
    // What runs already is no change, and nothing to go back over.
    let entries = program.json(&["history"]);
    let again = program.told(&["apply", program.file().to_str().unwrap()]);
    assert!(again.ends_with("director.yaml is what runs already (generation 3)\n"), "{again}");
    let again = program.told(&["rollback", "1"]);
    assert_eq!(again, "rollback to generation 1 is what runs already (generation 3)\n");
    assert_eq!(program.json(&["history"]), entries);
    let forth = program.told(&["rollback"]);
    assert!(forth.starts_with("back to generation 2 as generation 4: "), "{forth}");
    program.told(&["rollback"]);
    let unknown = program.ask(&["rollback", "99"]);
    assert_eq!(unknown.code(), Some(1));
    assert!(unknown.stderr.contains("generation 99 is not in the history"), "{}", unknown.stderr);
    assert!(unknown.stderr.ends_with("\nnothing was changed\n"), "{}", unknown.stderr);
    let status = program.told(&["status"]);
    assert!(
        status.contains("last apply: rollback to generation 3 taken over"),
        "a slip is no refusal: {status}"
    );
    program.stop();
}

#[test]
fn a_netmask_with_holes_goes_through_file_and_history_unchanged() {
    let program = Program::start(&Node::new(), &web("", &[]));
    program.told(&["ipvsadm", "-A", "-t", "198.18.255.2:80", "-p", "600", "-M", "255.0.255.0"]);
    let holes = program.told(&["get", "-o", "yaml"]);
    assert!(holes.contains("netmask: 255.0.255.0"), "{holes}");
    let saved = program.told(&["ipvsadm", "-S", "-n"]);
    assert!(saved.contains(" -M 255.0.255.0\n"), "{saved}");
    assert_eq!(program.ask_with_input(&["diff", "-"], &holes).code(), Some(0));

    program.told(&["ipvsadm", "-C"]);
    program.told(&["rollback"]);
    assert_eq!(program.told(&["ipvsadm", "-S", "-n"]), saved, "the history kept it");
    program.told(&["ipvsadm", "-E", "-t", "198.18.255.2:80", "-p", "600", "-M", "255.0.0.0"]);
    let diff = program.ask_with_input(&["diff", "-"], &holes).stdout;
    assert!(diff.contains("persistence"), "{diff}");
    let applied = program.ask_with_input(&["apply", "-"], &holes);
    assert_eq!((applied.code(), applied.stderr.as_str()), (Some(0), ""));
    assert_eq!(program.told(&["ipvsadm", "-S", "-n"]), saved, "the file says it");
    let behind_generation = |yaml: &str| yaml.split_once('\n').map(|(_, rest)| rest.to_owned());
    let now = program.told(&["get", "-o", "yaml"]);
    assert_eq!(behind_generation(&now), behind_generation(&holes));
    program.stop();
}

#[test]
fn what_cannot_be_compared_or_applied_is_told_with_a_code_of_its_own() {
    let program = Program::start(&Node::new(), &web("", &[]));
    for words in [&["rollback"][..], &["rollback", "--dry-run"]] {
        let first = program.ask(words);
        assert_eq!(first.code(), Some(1));
        assert!(
            first.stderr.ends_with(" else is in the history\nnothing was changed\n"),
            "{}",
            first.stderr
        );
    }
    let broken = program.ask_with_input(&["diff", "-"], "ports: 7\n");
    assert_eq!(broken.code(), Some(2));
    assert!(broken.stderr.contains("standard input"), "{}", broken.stderr);
    assert_eq!(program.ask(&["diff", "/nonexistent"]).code(), Some(2));
    // What no configuration can be is not sent.
    let checked = support::program::director(&["check", "/dev/zero"]).stderr;
    assert!(checked.contains("D0002"), "{checked}");
    for words in [&["apply", "/dev/zero"][..], &["apply", "--dry-run", "/dev/zero"]] {
        let ended = program.ask(words);
        assert_eq!(ended.code(), Some(1));
        assert_eq!(ended.stderr, format!("{}\nnothing was changed\n", checked.trim_end()));
    }
    let ended = program.ask(&["diff", "/dev/zero"]);
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(2), checked.trim_end()));
    let refused = program.ask_with_input(&["apply", "--dry-run", "-"], "ports: 7\n");
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.ends_with("\nnothing was changed\n"), "{}", refused.stderr);
    let restart =
        program.yaml(&web("", &[])).replace("198.18.10.1/16]", "198.18.10.1/16]\n    mtu: 1400");
    let dry = program.ask_with_input(&["apply", "--dry-run", "-"], &restart);
    assert_eq!(dry.code(), Some(1));
    assert!(dry.stderr.contains("ports[lan0].mtu: 1500 -> 1400"), "{}", dry.stderr);
    assert!(dry.stderr.contains("it would be refused:\nports.lan0.mtu differs"), "{}", dry.stderr);
    let json = program.ask_with_input(&["diff", "--json", "-"], &restart);
    assert_eq!(json.code(), Some(1));
    let value: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(value["changes"][0]["path"], "ports[lan0].mtu");
    assert!(value["refused"].as_str().unwrap().contains("ports.lan0.mtu"));
    // What only this machine can tell is looked at, too.
    for (more, said) in [
        ("control: { allow: { users: [nosuchuser] } }\n", "nosuchuser"),
        ("metrics: { address: \"198.51.100.250:9100\" }\n", "198.51.100.250:9100"),
    ] {
        let file = format!("{}{more}", program.yaml(&web("", &[])));
        let dry = program.ask_with_input(&["apply", "--dry-run", "-"], &file);
        let real = program.ask_with_input(&["apply", "-"], &file);
        assert_eq!((dry.code(), real.code()), (Some(1), Some(1)), "{said}");
        for ended in [dry, real] {
            assert!(ended.stderr.contains(said), "{}", ended.stderr);
            let last = ended.stderr.lines().last().unwrap();
            assert!(last.starts_with("nothing was changed"), "{}", ended.stderr);
        }
    }
    program.stop();
}

#[test]
fn a_history_says_who_did_what_and_outlives_the_program() {
    let node = Node::new();
    let mut program = Program::start(&node, &web("", &["address: 198.18.10.11"]));
    for line in ["-A -t 198.18.255.9:80 -s rr", "-a -t 198.18.255.9:80 -r 198.18.10.12", "-Ln"] {
        let words: Vec<&str> = ["ipvsadm"].into_iter().chain(line.split(' ')).collect();
        program.told(&words);
    }
    let yaml = program.told(&["get", "-o", "yaml"]);
    assert!(yaml.starts_with("# generation 3\n"), "{yaml}");
    assert!(yaml.contains("name: tcp/198.18.255.9:80"), "{yaml}");
    let drift = program.ask(&["diff"]);
    assert_eq!(drift.code(), Some(1));
    assert!(drift.stdout.contains("- services[tcp/198.18.255.9:80]: {"), "{}", drift.stdout);
    let history = program.json(&["history"]);
    let entries = history.as_array().unwrap();
    assert_eq!(entries.len(), 2, "{history}");
    assert_eq!((&entries[0]["cause"], &entries[1]["cause"]), (&"ipvsadm".into(), &"start".into()));
    assert_eq!(entries[0]["who"], "root");
    let what = entries[0]["what"].as_str().unwrap();
    assert!(what.contains("--add-server") && what.contains("198.18.10.12"), "{what}");
    let table = program.told(&["history"]);
    assert!(table.contains("*3"), "{table}");

    // What ipvsadm made is a configuration like any other: it can be applied.
    fs::write(program.file(), &yaml).unwrap();
    program.logs("director.yaml is what runs already (generation 3)");
    assert_eq!(program.ask(&["diff"]).code(), Some(0));
    fs::write(program.file(), yaml.replace("198.18.10.12", "198.18.10.13")).unwrap();
    program.reaches(4);

    // A file is named as it is found from anywhere, also where it was named from its folder.
    fs::write(program.home.folder.join("other.yaml"), yaml.replace("198.18.10.12", "198.18.10.14"))
        .unwrap();
    let socket = program.home.socket();
    let mut apply = std::process::Command::new(env!("CARGO_BIN_EXE_director"));
    apply.args(["apply", "other.yaml"]).env("DIRECTOR_SOCKET", socket);
    apply.current_dir(&program.home.folder);
    let applied = support::program::run_to_end(&mut apply, "");
    assert_eq!((applied.code(), applied.stderr.as_str()), (Some(0), ""));
    let other = program.home.folder.join("other.yaml").display().to_string();
    assert_eq!(program.json(&["history"])[0]["what"], other);
    assert!(program.told(&["status"]).contains(&format!("last apply: {other} taken over")));

    let home = program.kill();
    let text = fs::read_to_string(home.file()).unwrap();
    let again = Program::start_as(&node, home, &text, &[]);
    assert!(again.number(&["generation"]) > 5, "generations go on");
    let entries = again.json(&["history"]).as_array().unwrap().len();
    assert!(entries >= 3, "{entries}");
    let back = again.told(&["rollback", "1"]);
    assert!(back.starts_with("back to generation 1 as "), "{back}");
    assert!(!again.told(&["get"]).contains("198.18.255.9"));
    again.stop();
}

#[test]
fn everything_that_runs_can_be_got_in_four_forms() {
    let body = web(
        "    persistence: 600\n",
        &[
            "address: 198.18.10.11, name: one, weight: 3",
            "address: 198.18.10.12, weight: 5, state: drain",
        ],
    );
    let body = format!("{body}  - {{ mark: 10, selectors: [] }}\n");
    let program = Program::start(&Node::new(), &body);
    let services = program.told(&["get", "services"]);
    let lines: Vec<Vec<&str>> =
        services.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[1],
        ["web", "tcp", "198.18.255.1:80", "PPC", "wlc", "600", "1/2", "0", "0", "0"]
    );
    assert_eq!(lines[2][..4], ["mark/10", "mark", "10", "-"]);
    assert!(program.told(&["get", "services", "-o", "wide"]).contains("TRACKING"));
    let json: serde_json::Value =
        serde_json::from_str(&program.told(&["get", "reals", "-o", "json"])).unwrap();
    assert_eq!((&json[0]["service"], &json[0]["name"]), (&"web".into(), &"one".into()));
    // It drains, and its weight is what the configuration says; ipvsadm's listings say 0.
    assert_eq!((&json[1]["state"], &json[1]["weight"]), (&"drain".into(), &5.into()));
    for form in ["table", "wide"] {
        let table = program.told(&["get", "reals", "-o", form]);
        let line: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(line[4..7], ["route", "5", "drain"], "{table}");
    }
    assert!(program.told(&["get", "reals", "-o", "yaml"]).contains("weight: 5"));
    let services: serde_json::Value =
        serde_json::from_str(&program.told(&["get", "services", "-o", "json"])).unwrap();
    assert_eq!(services[0]["real_servers"][1]["weight"], 5);
    assert_eq!(program.json(&["show"])["services"][0]["real_servers"][1]["weight"], 0);
    for listing in [&["show"][..], &["ipvsadm", "-Ln"]] {
        let listing = program.told(listing);
        let line = listing.lines().find(|line| line.contains("198.18.10.12:80")).unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some("0"), "{line}");
    }
    for kind in ["service", "real", "binding", "connection", "core", "port"] {
        let plural = program.told(&["get", &format!("{kind}s"), "-o", "json"]);
        let one: serde_json::Value =
            serde_json::from_str(&program.told(&["get", kind, "-o", "json"])).unwrap();
        let all: serde_json::Value = serde_json::from_str(&plural).unwrap();
        assert_eq!(one.as_array().unwrap().len(), all.as_array().unwrap().len(), "{kind}");
    }
    assert_eq!(program.told(&["get", "service", "web"]).lines().count(), 2);
    assert_eq!(program.told(&["get", "reals", "web"]).lines().count(), 3);
    assert_eq!(program.told(&["get", "reals", "one"]).lines().count(), 2);
    assert_eq!(program.told(&["get", "reals", "198.18.10.11:80"]).lines().count(), 2);
    for name in ["tcp/198.18.255.1:80", "198.18.255.1:80", "mark/10", "10"] {
        assert_eq!(program.told(&["get", "services", name]).lines().count(), 2, "{name}");
    }
    assert_eq!(program.told(&["get", "cores", "0"]).lines().count(), 2);
    for (words, code, sentence) in [
        (&["get", "reals", "198.18.10.11:81"][..], 1, "there is no real server or service"),
        (&["get", "reals", "nosuch"], 1, "there is no real server or service 'nosuch'; "),
        (&["get", "services", "255.1:80"], 1, "there is no service '255.1:80'"),
        (&["get", "services", "web", "nosuch"], 1, "there is no service 'nosuch'; 'director get"),
        (&["get", "ports", "eth7"], 1, "there is no port 'eth7'"),
        (&["get", "config", "web"], 2, "'director get services web' shows a part"),
        (&["get", "-o", "wide"], 2, "a configuration has no columns"),
        (&["get", "bindings", "nosuch"], 1, "there is no service 'nosuch'"),
    ] {
        let ended = program.ask(words);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(code), ""), "{words:?}");
        assert!(ended.stderr.contains(sentence), "{words:?}: {}", ended.stderr);
    }
    let yaml = program.told(&["get", "reals", "-o", "yaml"]);
    assert!(yaml.contains("service: web"), "{yaml}");
    assert!(program.told(&["get", "cores"]).contains("GENERATION"));
    assert!(program.told(&["get", "ports"]).contains("lan0"));
    let config: serde_json::Value =
        serde_json::from_str(&program.told(&["get", "config", "-o", "json"])).unwrap();
    assert_eq!(config["services"][0]["name"], "web");
    let home = Home::new();
    fs::write(home.file(), program.told(&["get"])).unwrap();
    let file = home.file();
    let checked = support::program::director(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    program.stop();
}

#[test]
fn a_dry_run_counts_the_live_clients_that_would_move_and_says_why() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let service = |reals: &str| {
        format!(
            "{}services:\n  - name: web\n    vip: {}\n    protocol: tcp\n    vip_port: 80\n    \
             scheduler: rr\n    persistence: 600\n    real_servers:\n{reals}",
            farm::one_port(),
            VIPS[0]
        )
    };
    let program = Program::start(&farm.director, &service(&farm::reals(2)));
    let to = format!("{}:80", VIPS[0]);
    let mut of_first = 0;
    for client in 1..=6 {
        let name = server::ask(&farm.client, &format!("198.18.64.{client}"), &to);
        of_first += usize::from(name == farm::name(0));
    }
    let first = farm::rip(0);
    assert_eq!(of_first, 3, "round robin");
    let without = program
        .yaml(&service(&farm::reals(2)).replace(&format!("      - {{ address: {first} }}\n"), ""));
    let dry = program.ask_with_input(&["apply", "--dry-run", "-"], &without);
    assert!(
        dry.stdout.contains(&format!(
            "! service web: 3 clients of {first} would move: it is removed; each gets another \
             one with its next connection"
        )),
        "{}",
        dry.stdout
    );
    let unbound =
        program.yaml(&service(&farm::reals(2)).replace("persistence: 600", "persistence: false"));
    let dry = program.ask_with_input(&["apply", "--dry-run", "-"], &unbound);
    assert!(
        dry.stdout.contains("! service web: 6 clients would move: persistence is switched off"),
        "{}",
        dry.stdout
    );
    let heavier = program.yaml(&service(&farm::reals(2)).replace("600", "60"));
    let dry = program.ask_with_input(&["apply", "--dry-run", "-"], &heavier);
    assert!(dry.stdout.contains("no live client would move"), "{}", dry.stdout);
    let down = program.yaml(&service(&farm::reals(2)).replace(
        &format!("{{ address: {first} }}"),
        &format!("{{ address: {first}, state: down }}"),
    ));
    let diff = program.ask_with_input(&["diff", "--json", "-"], &down);
    let value: serde_json::Value = serde_json::from_str(&diff.stdout).unwrap();
    assert_eq!(value["moves"][0]["clients"], 3, "{value}");
    program.stop();
}

#[test]
fn a_dry_run_says_which_selectors_a_service_would_lose_and_how_many_clients_it_has() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80, 443]);
    let service = |ports: &[&str]| {
        let selectors: String = ports
            .iter()
            .map(|port| {
                format!("      - {{ vip: {}, protocol: tcp, vip_port: {port} }}\n", VIPS[0])
            })
            .collect();
        format!(
            "{}services:\n  - name: shop\n    mark: 10\n    selectors:\n{selectors}    \
             scheduler: rr\n    persistence: 600\n    real_servers:\n{}",
            farm::one_port(),
            farm::reals(2)
        )
    };
    let program = Program::start(&farm.director, &service(&["80", "443"]));
    for (client, port) in [(1, 80), (2, 80), (3, 443)] {
        let to = format!("{}:{port}", VIPS[0]);
        server::ask(&farm.client, &format!("198.18.64.{client}"), &to);
    }
    let without = program.yaml(&service(&["80"]));
    for words in [&["apply", "--dry-run", "-"][..], &["diff", "-"]] {
        let told = program.ask_with_input(words, &without).stdout;
        assert!(
            told.contains(&format!(
                "! service shop: up to 3 clients would move: what comes to tcp {}:443 is not \
                 the service's any more; which of its clients use that is not known\n",
                VIPS[0]
            )),
            "{told}"
        );
    }
    // What a wider one still takes is not lost.
    let wider = program.yaml(&service(&["80-443"]));
    let told = program.ask_with_input(&["apply", "--dry-run", "-"], &wider).stdout;
    assert!(told.contains("no live client would move"), "{told}");
    let applied = program.ask_with_input(&["apply", "-"], &without);
    assert_eq!(applied.stdout, "generation 2: 1 selector removed\n", "{}", applied.stderr);
    let applied = program.ask_with_input(&["apply", "-"], &wider);
    assert_eq!(applied.stdout, "generation 3: 1 selector added, 1 selector removed\n");
    assert!(program.told(&["history"]).contains("1 selector added, 1 selector removed"));
    program.stop();
}
