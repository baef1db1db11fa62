//! Clients on a running director: listed in pages, evicted, moved; servers drained.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::eventually;
use support::farm::{self, CLIENT6, Farm, VIP6, VIPS};
use support::program::Program;
use support::server::{self, Talk, ask};

fn service(name: &str, vip: &str, more: &str, reals: &str) -> String {
    format!(
        "  - name: {name}\n    vip: \"{vip}\"\n    protocol: tcp\n    vip_port: 80\n    \
         scheduler: rr\n{more}    real_servers:\n{reals}"
    )
}

fn start(farm: &Farm, more: &str) -> Program {
    server::everywhere(farm, &[80]);
    let body = format!(
        "{}services:\n{}{}{}",
        farm::one_port(),
        service("web", VIPS[0], &format!("    persistence: 600\n{more}"), &named()),
        service(
            "fast",
            VIPS[1],
            "    persistence: { timeout: 600, prefix: 24 }\n    tracking: client\n",
            &farm::reals(2)
        ),
        service("six", VIP6, "    persistence: 300\n", &farm::reals6(2)),
    );
    Program::start(&farm.director, &body)
}

/// What the real servers of the service web are called.
const NAMES: [&str; 2] = ["first", "second"];

fn named() -> String {
    let each = NAMES.iter().enumerate();
    each.map(|(index, name)| format!("      - {{ address: {}, name: {name} }}\n", farm::rip(index)))
        .collect()
}

fn web() -> String {
    format!("{}:80", VIPS[0])
}

fn fast() -> String {
    format!("{}:80", VIPS[1])
}

fn rows(program: &Program, words: &[&str]) -> Vec<Value> {
    let text = program.told(&[words, &["-o", "json"]].concat());
    let rows: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    rows
}

#[test]
fn clients_are_listed_filtered_evicted_and_moved() {
    let farm = Farm::new(2);
    let program = start(&farm, "");
    assert_eq!(program.told(&["clients"]).lines().count(), 1, "heads alone");
    assert_eq!(rows(&program, &["clients"]), [Value::Null; 0]);
    for client in 1..=4 {
        ask(&farm.client, &format!("198.18.64.{client}"), &web());
        ask(&farm.client, &format!("198.18.{}.9", 63 + client), &fast());
    }
    ask(&farm.client, CLIENT6, &format!("[{VIP6}]:80"));
    let all = rows(&program, &["clients"]);
    assert_eq!(all.len(), 9, "{all:?}");
    let of = |words: &[&str]| rows(&program, &[&["clients"], words].concat()).len();
    assert_eq!(of(&["--service", "web"]), 4);
    assert_eq!(of(&["--client", "198.18.64.2"]), 2, "the /24 of fast holds it, too");
    assert_eq!(of(&["--client", "198.18.64.2", "--service", "web"]), 1);
    assert_eq!(of(&["--client", "198.18.64.0/24", "--service", "web"]), 4);
    assert_eq!(of(&["--client", "2001:db8::/32"]), 1);
    assert_eq!(of(&["--server", &farm::rip(0), "--service", "web"]), 2);
    assert_eq!(of(&["--client", "203.0.113.0/24"]), 0);
    let one = &rows(&program, &["clients", "--client", "198.18.64.2", "--service", "web"])[0];
    assert_eq!(one["client"], "198.18.64.2");
    assert!((590..=600).contains(&one["expires_s"].as_u64().unwrap()), "{one}");
    assert!(one["age_s"].as_u64().unwrap() <= 10 && one["core"] == 0, "{one}");
    let network = &rows(&program, &["clients", "--service", "fast"])[0];
    assert!(network["client"].as_str().unwrap().ends_with(".0/24"), "{network}");
    assert_eq!(network["connections"], Value::Null);
    let table = program.told(&["get", "bindings", "web"]);
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.starts_with("CLIENT "), "{table}");
    let yaml = program.told(&["clients", "--service", "six", "-o", "yaml"]);
    assert!(yaml.starts_with("- age_s: ") || yaml.contains("client:"), "{yaml}");
    moving(&farm, &program);
    wrong(&program);
    program.stop();
}

fn moving(farm: &Farm, program: &Program) {
    let (client, other) = ("198.18.64.2", |name: &str| usize::from(name == farm::name(0)));
    let mut talk = Talk::open(&farm.client, client, &web());
    let bound = talk.say("who");
    let to = other(&bound);
    let moved = program.told(&["rebind", client, &farm::rip(to), "--service", "web"]);
    assert!(moved.starts_with(&format!("1 binding moved to {}\n", farm::rip(to))), "{moved}");
    assert!(moved.contains(" go on where they are until they end\n"), "{moved}");
    assert_eq!(talk.say("still"), bound);
    assert_eq!(ask(&farm.client, client, &web()), farm::name(to));
    let again = program.told(&["rebind", client, &farm::rip(to), "--service", "web"]);
    assert!(again.contains("0 bindings moved") && again.contains("1 were there already"));
    // A server is named as for a drain.
    for name in [NAMES[to].to_owned(), format!("{}:80", farm::rip(to))] {
        let again = program.told(&["rebind", client, &name, "--service", "web"]);
        assert!(again.starts_with(&format!("0 bindings moved to {name}, 1 were there")), "{again}");
        let here = ["clients", "--client", client, "--service", "web", "--server", &name];
        assert_eq!(rows(program, &here).len(), 1, "{name}");
    }
    let there = ["clients", "--client", client, "--service", "web", "--server", NAMES[1 - to]];
    assert_eq!(rows(program, &there).len(), 0);
    assert_eq!(ask(&farm.client, "198.18.64.3", &web()), ask(&farm.client, "198.18.64.3", &web()));

    let evicted = program.told(&["evict", "198.18.64.0/24", "--service", "web"]);
    assert!(evicted.starts_with("4 bindings ended"), "{evicted}");
    assert_eq!(rows(program, &["clients", "--service", "web"]).len(), 0);
    ask(&farm.client, client, &web());
    assert_eq!(rows(program, &["clients", "--service", "web"]).len(), 1);

    // Without connections, the binding's network moves with its next packet.
    let bound = ask(&farm.client, "198.18.64.9", &fast());
    let to = farm::rip(usize::from(bound == farm::name(0)));
    program.told(&["rebind", "198.18.64.9", &to, "--service", "fast"]);
    assert_ne!(ask(&farm.client, "198.18.64.77", &fast()), bound);
    // The last segment of a connection that closes may still bind its client again.
    eventually("nobody of the network is bound", || {
        let _ = program.ask(&["evict", "198.18.64.9", "--service", "fast"]);
        let of = ["clients", "--client", "198.18.64.9", "--service", "fast"];
        rows(program, &of).is_empty().then_some(())
    });
}

fn wrong(program: &Program) {
    for (words, code, said) in [
        (&["evict", "203.0.113.7"][..], 1, "203.0.113.7 is bound nowhere"),
        (&["rebind", "203.0.113.7", "198.18.10.11"], 1, "nothing was changed"),
        (&["rebind", "198.18.64.2", "198.18.10.99"], 1, "has the real server 198.18.10.99"),
        (&["rebind", "198.18.64.2", "198.18.10.11:81"], 1, "the real server 198.18.10.11:81; noth"),
        (
            &["rebind", "198.18.64.2", "nosuch"],
            1,
            "has the real server nosuch; nothing was changed",
        ),
        (&["pin", "198.18.64.2", "nosuch"], 1, "198.18.64.2 cannot be pinned to nosuch in any"),
        (&["clients", "--server", "nosuch"], 1, "there is no real server 'nosuch'"),
        (&["clients", "--service", "nosuch"], 1, "there is no service 'nosuch'"),
        (&["clients", "--client", "198.18.0.0/40"], 2, "'198.18.0.0/40' is no client"),
        (&["drain", "198.18.10.99"], 1, "there is no real server '198.18.10.99'"),
        (&["drain", "198.18.10.11", "--service", "six"], 1, "of service 'six'"),
        (&["drain", "198.18.10.11", "--deadline", "soon"], 2, "write 1 s to 31 days"),
        (&["undrain", "nosuch"], 1, "there is no real server 'nosuch'"),
    ] {
        let ended = program.ask(words);
        assert_eq!(ended.code(), Some(code), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn a_pinned_client_stays_pinned_and_is_a_part_of_the_configuration() {
    let farm = Farm::new(2);
    let program = start(&farm, "");
    for (service, to) in [("web", web()), ("fast", fast())] {
        let client = "198.18.64.1";
        let bound = ask(&farm.client, client, &to);
        let other = usize::from(bound == farm::name(0));
        let rip = farm::rip(other);
        let told = program.told(&["pin", client, &rip, "--service", service]);
        let start = format!("{client} is pinned to {rip} in {service}; 1 binding moved there");
        assert!(told.starts_with(&start), "{told}");
        // What is so already makes no generation.
        let before = (program.number(&["generation"]), program.told(&["history", "--json"]));
        for name in [rip.clone(), format!("{rip}:80")] {
            let told = program.told(&["pin", client, &name, "--service", service]);
            assert!(told.starts_with(&format!("{client} is pinned to {name} in {service}; 0 ")));
        }
        let after = (program.number(&["generation"]), program.told(&["history", "--json"]));
        assert_eq!(after, before);
        for _ in 0..3 {
            assert_eq!(ask(&farm.client, client, &to), farm::name(other));
        }
        let evicted = program.told(&["evict", client, "--service", service]);
        assert!(evicted.contains("or goes to the real server that the client is pinned to (1)"));
        assert_eq!(ask(&farm.client, client, &to), farm::name(other), "a pin outlives a binding");
        let elsewhere = farm::rip(usize::from(other == 0));
        let moved = program.told(&["rebind", client, &elsewhere, "--service", service]);
        assert!(moved.contains("1 of them are pinned to another real server"), "{moved}");
        program.told(&["evict", client, "--service", service]);
        assert_eq!(ask(&farm.client, client, &to), farm::name(other));
    }
    let told = program.told(&["explain", &format!("tcp 198.18.64.1:4000 -> {}", web())]);
    assert!(told.contains("bound") || told.contains("pinned"), "{told}");
    let yaml = program.told(&["get"]);
    assert_eq!(yaml.matches("client: 198.18.64.1/32").count(), 2, "{yaml}");
    let back = program.told(&["rollback", "1"]);
    assert!(back.contains(": no change of services or real servers, 2 pins removed"), "{back}");
    let again = program.told(&["rollback"]);
    assert!(again.contains(", 2 pins added"), "{again}");
    let drift = program.ask(&["diff"]);
    assert!(drift.stdout.contains("services[web].pins"), "{}", drift.stdout);
    std::fs::write(program.file(), yaml).unwrap();
    program.logs("director.yaml is what runs already");
    assert_eq!(program.ask(&["diff"]).code(), Some(0));
    let name = ask(&farm.client, "198.18.64.1", &web());
    assert_eq!(ask(&farm.client, "198.18.64.1", &web()), name);
    for name in NAMES {
        program.told(&["pin", "198.18.64.1", name]);
        let bound = NAMES.iter().position(|one| *one == name).unwrap();
        assert_eq!(ask(&farm.client, "198.18.64.1", &web()), farm::name(bound));
    }
    let told = program.told(&["unpin", "198.18.64.1"]);
    assert!(told.contains("is not pinned in web, fast any more"), "{told}");
    assert!(!program.told(&["get"]).contains("pins:"));
    for words in [
        &["unpin", "198.18.64.1"][..],
        &["pin", "198.18.64.1", "198.18.10.99"],
        &["pin", "2001:db8::1", "198.18.10.11"],
    ] {
        let ended = program.ask(words);
        assert_eq!(ended.code(), Some(1), "{words:?}");
        assert!(ended.stderr.contains("pinned"), "{words:?}: {}", ended.stderr);
    }
    program.stop();
}

#[test]
fn what_becomes_of_open_connections_is_said_as_it_is_where_their_server_is_down() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let body = |policy: &str, state: &str| {
        let reals = named().replace(", name", &format!(", state: {state}, name"));
        let more = format!("    persistence: 600\n    on_down: {policy}\n");
        format!(
            "{}services:\n{}",
            farm::one_port(),
            service(
                "web",
                VIPS[0],
                &more,
                &reals.replacen(&format!("state: {state}"), "weight: 2", 1)
            )
        )
    };
    let program = Program::start(&farm.director, &body("keep", "up"));
    let apply = |policy: &str, state: &str| {
        let text = program.yaml(&body(policy, state));
        let ended = program.ask_with_input(&["apply", "-"], &text);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    };
    for (client, policy, state, fate) in [
        ("198.18.64.1", "keep", "down", "goes on where it is until it ends\n"),
        ("198.18.64.2", "drop", "down", "has its packets dropped until the real server is back"),
        ("198.18.64.3", "rebind", "up", "goes on where it is until it ends\n"),
        ("198.18.64.4", "rebind", "down", "ends with its next packet (TCP is reset"),
    ] {
        apply(policy, "up");
        // The second one is the one that goes down.
        program.told(&["pin", client, NAMES[1]]);
        let mut talk = Talk::open(&farm.client, client, &web());
        assert_eq!(talk.say("who"), farm::name(1));
        apply(policy, state);
        let told = program.told(&["evict", client]);
        assert!(told.contains(&format!("\n1 connection {fate}")), "{policy}: {told}");
        if fate.starts_with("goes") {
            assert_eq!(talk.say("still"), farm::name(1), "{policy}");
        }
        let dropped = program.dropped("real_server_down");
        talk.send("anybody?");
        if policy == "drop" {
            eventually("it is dropped", || {
                (program.dropped("real_server_down") > dropped).then_some(())
            });
        }
    }
    program.stop();
}

#[test]
fn a_server_is_drained_waited_for_and_put_back() {
    let farm = Farm::new(2);
    let program = start(&farm, "    on_drain: new_elsewhere\n");
    let first = farm::rip(0);
    let mut talk = Talk::open(&farm.client, "198.18.64.1", &web());
    let bound = talk.say("who");
    let server = farm::rip(usize::from(bound != farm::name(0)));
    let told = program.told(&["drain", &server, "--service", "web"]);
    assert!(
        told.starts_with(&format!(
            "{server}:80 of service web: drain, 1 client still bound, 1 connection; the \
             last one leaves in "
        )),
        "{told}"
    );
    let yaml = program.told(&["get", "-o", "yaml"]);
    assert_eq!(yaml.matches("state: drain").count(), 1, "{yaml}");
    assert!(program.ask(&["diff"]).stdout.contains("state: drain -> up"));
    assert_eq!(talk.say("still"), bound, "the connection goes on");
    assert_ne!(ask(&farm.client, "198.18.64.1", &web()), bound, "the next one does not");
    let history = program.json(&["history"]);
    assert_eq!(history[0]["cause"], "drain");
    assert_eq!(history[0]["what"], format!("drain {server} --service web"));

    let told = program.told(&["undrain", &server]);
    assert!(told.contains(&format!("{server}:80 of service web: up")), "{told}");
    assert_eq!(program.told(&["get", "-o", "yaml"]).matches("state: drain").count(), 0);

    // Who was evicted is no client any more, though its connection goes on.
    program.told(&["evict", "198.18.64.1", "--service", "web"]);
    assert_eq!(talk.say("still"), bound);
    let told = program.told(&["drain", &server, "--service", "web"]);
    let mut clients = rows(&program, &["get", "reals", "web"]).into_iter();
    let here = clients.find(|row| row["address"] == json!(server)).unwrap();
    assert!(told.contains(": drain, 0 clients still bound, 1 connection\n"), "{told}");
    assert_eq!((&here["clients"], &here["persistent"]), (&json!(0), &json!(1)), "{here}");
    program.told(&["undrain", &server]);

    // A deadline ends it at the latest, whoever is still there.
    for client in ["198.18.66.1", "198.18.66.2"] {
        ask(&farm.client, client, &web());
    }
    let socket = program.home.socket();
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_director"))
        .args(["drain", "--socket", socket.to_str().unwrap(), &first, "--deadline", "4s", "--wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = eventually("the end of the drain", || waiting.try_wait().unwrap());
    assert!(status.success());
    let ended = waiting.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        told.contains("the deadline is in ") && told.contains("serves nobody any more; "),
        "{told}"
    );
    let at_the_end = "web: down, 1 client gets another real server when it comes back";
    assert!(told.contains(at_the_end), "{told}");
    // Who is listed with it still is said, and the listing says how it is.
    assert!(told.contains("listed with it until they send something or time out\n"), "{told}");
    let left = rows(&program, &["clients", "--server", &first, "--service", "web"]);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((&left[0]["server_state"], &left[0]["name"]), (&json!("down"), &json!("first")));
    let wide = program.told(&["clients", "--server", &first, "--service", "web", "-o", "wide"]);
    let heads: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
    assert!(heads.ends_with(&["STATE", "NAME", "SERVER", "STATE"]), "{wide}");
    let cells: Vec<&str> = wide.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(cells.ends_with(&["first", "down"]), "{wide}");
    for client in 1..=4 {
        let name = ask(&farm.client, &format!("198.18.65.{client}"), &web());
        assert_eq!(name, farm::name(1), "the other one");
    }
    program.told(&["undrain", &first]);
    program.stop();
}

#[test]
fn several_servers_drain_at_once_and_an_undrain_tells_where_they_did() {
    let farm = Farm::new(2);
    let program = start(&farm, "");
    let (first, second) = (farm::rip(0), farm::rip(1));
    let told = program.told(&["drain", NAMES[0], NAMES[1]]);
    let begins: Vec<&str> = told.lines().map(|line| line.split(',').next().unwrap()).collect();
    let drains = |server: &str| format!("{server}:80 of service web: drain");
    assert_eq!(begins, [drains(&first), drains(&second)], "{told}");
    // What ipvsadm has no word for is said beside its text, which a restore takes as it is.
    let saved = program.ask(&["ipvsadm", "-S", "-n"]);
    assert_eq!(saved.code(), Some(0));
    let remark = format!("-t {} -r {first}:80 drains, which is saved as weight 0; ", web());
    assert!(saved.stderr.starts_with(&remark), "{}", saved.stderr);
    assert_eq!(saved.stderr.lines().count(), 2, "{}", saved.stderr);
    assert!(!saved.stdout.contains("drain"), "{}", saved.stdout);
    let some = program.ask(&["drain", "nosuch", NAMES[1], "--wait"]);
    assert_eq!(some.code(), Some(1), "one of them is none");
    assert!(some.stderr.contains("no real server 'nosuch'"), "{}", some.stderr);
    assert!(some.stdout.ends_with("second serves nobody any more\n"), "{}", some.stdout);

    // The service fast has them, too; there they never drained.
    let told = program.told(&["undrain", &first, &second]);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains(&format!("{second}:80 of service web: up")), "{told}");
    assert!(!told.contains("fast"), "{told}");
    let named = program.told(&["undrain", &first, "--service", "fast"]);
    assert!(named.starts_with(&format!("{first}:80 of service fast: up")), "{named}");
    let again = program.told(&["undrain", &first]);
    assert_eq!(again.lines().count(), 2, "nothing else is to be told: {again}");
    assert_eq!(program.ask(&["drain"]).code(), Some(2));
    program.stop();
}

#[test]
fn a_drain_of_a_service_without_persistence_says_what_becomes_of_its_connections() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let service = service("plain", VIPS[0], "", &farm::reals(2));
    let body = format!("{}services:\n{service}timeouts: {{ tcp: 700 }}\n", farm::one_port());
    let program = Program::start(&farm.director, &body);
    let mut talk = Talk::open(&farm.client, "198.18.64.1", &web());
    let server = farm::rip(usize::from(talk.say("who") != farm::name(0)));
    let told = program.told(&["drain", &server]);
    let begin = format!("{server}:80 of service plain: drain, 1 connection goes on until it ends");
    assert_eq!(told, format!("{begin}, an idle one for 700 s at the most\n"));
    let told = program.told(&["drain", &server, "--deadline", "10m"]);
    assert!(told.starts_with(&begin) && told.contains("; the deadline is in "), "{told}");
    assert!(told.ends_with("open then ends: TCP is reset, UDP gets another real server\n"));
    let told = program.told(&["drain", &server, "--deadline", "1s", "--wait"]);
    let down = ": down, 1 connection ends with the next packet\n";
    assert!(told.contains(down), "no word of clients: {told}");
    assert!(
        told.ends_with(&format!(
            "{server} serves nobody any more; 1 connection is listed with it until it sends \
             something or times out\n"
        )),
        "{told}"
    );
    program.stop();
}

#[test]
fn a_drain_keeps_its_deadline_tells_of_pins_and_is_over_when_somebody_ends_it() {
    let farm = Farm::new(2);
    let program = start(&farm, "    on_drain: new_elsewhere\n");
    let (server, other) = (farm::rip(0), farm::rip(1));
    let of_web = |words: &[&str]| program.told(&[words, &["--service", "web"]].concat());
    let refused = |words: &[&str], said: &str| {
        let ended = program.ask(words);
        assert_eq!(ended.code(), Some(1), "{words:?}: {}", ended.stdout);
        assert!(ended.stderr.contains(said), "{words:?}: {}", ended.stderr);
    };
    of_web(&["pin", "198.18.64.9", &server]);
    let told = of_web(&["drain", &server, "--deadline", "10m"]);
    assert!(told.contains("; 1 pin sends clients to it nevertheless"), "{told}");
    let whats: Vec<Value> =
        (0..2).map(|at| program.json(&["history"])[at]["what"].clone()).collect();
    let drained = format!("drain {server} --service web --deadline 600s");
    assert_eq!(whats, [drained, format!("pin 198.18.64.9 {server} --service web")]);
    let told = of_web(&["drain", &server]);
    assert!(told.contains("; the deadline is in "), "asked again, nothing changes: {told}");

    // Who is bound to the other one stays there, as this one sends its clients away.
    let mut talk = Talk::open(&farm.client, "198.18.64.1", &web());
    assert_eq!(talk.say("who"), farm::name(1));
    refused(&["rebind", "198.18.64.1", &server, "--service", "web"], "is down or drains there");
    refused(&["evict", "198.18.64.1", "--server", "198.18.10.99"], "no real server '198.18.10.99'");
    refused(&["clients", "--server", "198.18.10.99"], "there is no real server '198.18.10.99'");

    let socket = program.home.socket();
    let wait = ["drain", "--socket", socket.to_str().unwrap(), &other, "--wait"];
    let mut waiting = Command::new(env!("CARGO_BIN_EXE_director"))
        .args(wait)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the drain", || {
        let yaml = program.told(&["get", "-o", "yaml"]);
        (yaml.matches("state: drain").count() > 1).then_some(())
    });
    program.told(&["undrain", &other]);
    let status = eventually("the end of the wait", || waiting.try_wait().unwrap());
    let ended = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("is up again: somebody else has ended the drain"), "{said}");

    // What the configuration has as down is neither drained nor taken back.
    let file = std::fs::read_to_string(program.file()).unwrap();
    let down =
        file.replacen(&format!("address: {other}"), &format!("address: {other}, state: down"), 1);
    let applied = program.ask_with_input(&["apply", "-"], &down);
    assert_eq!(applied.code(), Some(0), "{}", applied.stderr);
    refused(&["drain", &other, "--service", "web"], "is down already");
    refused(&["undrain", &other, "--service", "web"], "which no drain made it");
    refused(&["rebind", "198.18.64.9", &other, "--service", "web"], "nothing was changed");
    let told = of_web(&["pin", "198.18.64.9", &other]);
    let remark = format!("\n{other} is down in web: the pin counts once it is up\n");
    assert!(told.ends_with(&remark), "{told}");
    program.stop();
}

#[test]
fn what_a_full_disk_does_not_take_is_no_success() {
    let farm = Farm::new(1);
    let program = start(&farm, "");
    let socket = program.home.socket();
    for words in [&["get"][..], &["clients", "-o", "json"], &["status"], &["ipvsadm", "-Ln"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_director"))
            .args(words)
            .env("DIRECTOR_SOCKET", &socket)
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{words:?}: {said}");
        assert_eq!(said, "cannot write to standard output: No space left on device\n", "{words:?}");
    }
    program.stop();
}

#[test]
fn what_ipvsadm_makes_and_no_file_may_say_is_remarked() {
    let farm = Farm::new(1);
    let program = start(&farm, "");
    assert!(!program.told(&["get"]).contains("refused"));
    program.told(&["ipvsadm", "-A", "-t", "198.18.255.9:80"]);
    program.told(&["ipvsadm", "-a", "-t", "198.18.255.9:80", "-r", "203.0.113.1"]);
    let yaml = program.told(&["get"]);
    let remark = "#   D0407: services[3].real_servers[0].address: 203.0.113.1 is in no network";
    assert!(yaml.starts_with("# ipvsadm's commands made it") && yaml.contains(remark), "{yaml}");
    program.stop();
}

#[test]
fn connections_come_in_pages_of_every_core_and_family() {
    let farm = Farm::new(2);
    let program = start(&farm, "");
    let mut talks: Vec<Talk> = (1..=3)
        .map(|client| Talk::open(&farm.client, &format!("198.18.64.{client}"), &web()))
        .collect();
    talks.push(Talk::open(&farm.client, CLIENT6, &format!("[{VIP6}]:80")));
    for talk in &mut talks {
        talk.say("who");
    }
    let all = rows(&program, &["get", "connections"]);
    assert_eq!(all.len(), 4, "{all:?}");
    let states: Vec<&str> = all.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ESTABLISHED"; 4]);
    assert_eq!(rows(&program, &["get", "connections", "six"]).len(), 1);
    // ipvsadm's list has their templates, too; it comes in the same pages.
    let lines = program.told(&["show", "-c"]);
    assert_eq!(lines.lines().filter(|line| line.contains("ESTABLISHED")).count(), 4, "{lines}");
    assert_eq!(lines.lines().filter(|line| line.contains("ASSURED")).count(), 4, "{lines}");
    assert_eq!(program.told(&["ipvsadm", "-Lnc"]).lines().count(), lines.lines().count());
    let objects = program.json(&["show", "-c"]);
    assert_eq!(objects.as_array().unwrap().len() + 2, lines.lines().count(), "{objects}");
    let table = program.told(&["get", "connections", "-o", "wide"]);
    assert!(table.contains("BOUND") && table.contains("198.18.64.3:"), "{table}");
    drop(talks);
    program.stop();
}
