//! Metrics and health of a running director, as a scraper and an orchestrator see them.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::eventually;
use support::farm::{self, Farm, VIPS};
use support::node::Node;
use support::program::{Home, Program, refusal};
use support::server::{self, ask};

const ADDRESS: &str = "127.0.0.1:9690";

/// The status code and the body.
fn get(node: &Node, path: &str, accept: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: d\r\nAccept: {accept}\r\n\r\n");
    let mut stream = node.inside(|| TcpStream::connect(ADDRESS).unwrap());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn scrape(node: &Node) -> BTreeMap<String, f64> {
    let (status, body) = get(node, "/metrics", "text/plain");
    assert_eq!(status, 200, "{body}");
    let lines = body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// `promtool check metrics` finds nothing to complain of.
fn assert_clean(page: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (scripts/setup installs it)");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

fn services() -> String {
    format!(
        "services:\n  - {{ name: web, vip: {vip}, protocol: tcp, vip_port: 80, scheduler: rr, \
         real_servers: [{{ address: {rs1} }}, {{ address: {rs2}, weight: 3, state: drain }}] }}\n  \
         - {{ name: shop, mark: 10, selectors: [{{ vip: {other}, protocol: tcp, vip_port: 80 }}], \
         persistence: true, real_servers: [{{ address: {rs1} }}] }}\n",
        vip = VIPS[0],
        other = VIPS[1],
        rs1 = farm::rip(0),
        rs2 = farm::rip(1),
    )
}

#[test]
fn a_scrape_tells_what_the_director_does_and_promtool_finds_no_fault() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let metrics = format!("metrics: {{ address: \"{ADDRESS}\", ipvs_names: true }}\n");
    let body = format!("{}{}{metrics}", farm::one_port(), services());
    let program = Program::start(&farm.director, &body);
    for (vip, count) in [(VIPS[0], 3), (VIPS[1], 2)] {
        for _ in 0..count {
            ask(&farm.client, "198.18.64.1", &format!("{vip}:80"));
        }
    }
    let node = &farm.director;
    let real = |name: &str, service: &str, index: usize, port: u16| {
        let real_server = format!("{}:{port}", farm::rip(index));
        format!(
            "director_real_server_{name}{{service=\"{service}\",real_server=\"{real_server}\"}}"
        )
    };
    let seen = eventually("what was counted", || {
        let seen = scrape(node);
        (seen["director_service_connections_total{service=\"web\"}"] >= 3.0
            && seen["director_service_connections_total{service=\"shop\"}"] >= 2.0)
            .then_some(seen)
    });
    for (name, value) in [
        ("director_generation".to_owned(), 1.0),
        ("director_core_generation{core=\"0\",cpu=\"1\"}".to_owned(), 1.0),
        ("director_reloads_total{result=\"refused\"}".to_owned(), 0.0),
        ("director_last_reload_successful".to_owned(), 1.0),
        ("director_port_up{port=\"lan0\"}".to_owned(), 1.0),
        ("director_services".to_owned(), 2.0),
        ("director_left_out{of=\"real_server\"}".to_owned(), 0.0),
        ("director_service_connections_total{service=\"web\"}".to_owned(), 3.0),
        ("director_service_bindings{service=\"shop\"}".to_owned(), 1.0),
        ("director_service_real_servers_usable{service=\"web\"}".to_owned(), 1.0),
        (real("connections_total", "web", 0, 80), 3.0),
        (real("connections_total", "web", 1, 80), 0.0),
        (real("weight", "web", 1, 80), 0.0),
        (real("draining", "web", 1, 80), 1.0),
        (real("connections_total", "shop", 0, 0), 2.0),
        ("node_ipvs_connections_total".to_owned(), 5.0),
        (
            format!(
                "node_ipvs_backend_weight{{local_address=\"{}\",local_port=\"80\",\
                 remote_address=\"{}\",remote_port=\"80\",proto=\"TCP\",local_mark=\"\"}}",
                VIPS[0],
                farm::rip(0)
            ),
            1.0,
        ),
        (
            format!(
                "node_ipvs_backend_weight{{local_address=\"\",local_port=\"0\",\
                 remote_address=\"{}\",remote_port=\"0\",proto=\"FWM\",local_mark=\"0000000A\"}}",
                farm::rip(0)
            ),
            1.0,
        ),
    ] {
        assert_eq!(seen.get(&name), Some(&value), "{name}: {seen:#?}");
    }
    // Every frame is accounted for here, too.
    let core = |name: &str| seen[&format!("director_core_{name}{{core=\"0\",cpu=\"1\"}}")];
    let drops: f64 = (seen.iter())
        .filter(|(name, _)| name.starts_with("director_dropped_frames_total{reason="))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(drops, core("dropped_frames_total"));
    let labels = seen.keys().filter(|name| name.contains("reason=")).count();
    assert_eq!(labels, dataplane::verdict::DropReason::COUNT, "a series for every reason");
    assert!(core("received_frames_total") >= core("forwarded_frames_total"));

    assert_clean(&get(node, "/metrics", "*/*").1);
    let (_, openmetrics) = get(node, "/metrics", "application/openmetrics-text; version=1.0.0");
    assert!(openmetrics.ends_with("# EOF\n"), "{openmetrics}");
    assert!(openmetrics.contains("# TYPE director_core_turns counter\n"), "{openmetrics}");
    assert_eq!(get(node, "/nothing", "*/*").0, 404);
    program.stop();
}

#[test]
fn readiness_follows_the_link_and_health_the_cores() {
    let (node, peer) = (Node::new(), Node::new());
    node.wire("eth0", &peer, "peer0");
    node.mute("eth0");
    let metrics = format!("metrics: {{ address: \"{ADDRESS}\" }}\n");
    let program = Program::start(&node, &format!("{}{metrics}", farm::one_port()));
    program.logs("metrics are on http://127.0.0.1:9690/metrics");
    let asked = |path: &str| get(&node, path, "*/*");
    assert_eq!(asked("/healthz"), (200, "ok\n".to_owned()));
    eventually("ready", || (asked("/readyz") == (200, "ok\n".to_owned())).then_some(()));
    peer.ip("link set peer0 down");
    eventually("not ready", || {
        (asked("/readyz") == (503, "port lan0 has no link\n".to_owned())).then_some(())
    });
    assert_eq!(asked("/healthz").0, 200, "a cable is no reason to restart");
    peer.ip("link set peer0 up");
    eventually("ready again", || (asked("/readyz").0 == 200).then_some(()));
    assert!(!asked("/metrics").1.contains("node_ipvs"), "only where they are asked for");
    program.stop();
}

#[test]
fn where_series_are_too_many_the_first_services_have_some_and_the_rest_is_counted() {
    let services: String = (1..=3)
        .map(|number| {
            format!(
                "  - {{ name: web{number}, vip: 198.18.255.{number}, protocol: tcp, vip_port: 80,\n      \
                 real_servers: [{{ address: 198.18.10.11 }}, {{ address: 198.18.10.12 }}] }}\n"
            )
        })
        .collect();
    let node = Node::new();
    let body = |series: u32, names: bool| {
        format!(
            "ports: [{{ name: lan0, device: net_null0, addresses: [198.18.10.1/16] }}]\n\
             metrics: {{ address: \"{ADDRESS}\", series: {series}, ipvs_names: {names} }}\n\
             services:\n{services}"
        )
    };
    let program = Program::start(&node, &body(44, false));
    program.logs("WARN metrics: some services or real servers have no series of their own");
    for (series, names, (services, of_reals)) in
        [(44, false, (3, 0)), (60, false, (3, 2)), (60, true, (3, 0)), (25, false, (2, 0))]
    {
        let yaml = program.yaml(&body(series, names));
        assert_eq!(program.ask_with_input(&["apply", "-"], &yaml).code(), Some(0));
        let number = |page: &BTreeMap<String, f64>, name: &str| page[name] as usize;
        let page = eventually("a page of the new settings", || {
            let page = scrape(&node);
            (number(&page, "director_left_out{of=\"service\"}") == 3 - services).then_some(page)
        });
        let count = |start: &str| page.keys().filter(|name| name.starts_with(start)).count();
        assert_eq!(count("director_service_"), services * 11, "{page:#?}");
        assert!(page.contains_key("director_service_bindings{service=\"web1\"}"), "the first ones");
        let reals = eventually("its real servers", || {
            let page = scrape(&node);
            let reals =
                page.keys().filter(|name| name.starts_with("director_real_server_")).count();
            let left = number(&page, "director_left_out{of=\"real_server\"}");
            (left == 6 - of_reals).then_some(reals)
        });
        assert_eq!(reals, of_reals * 11);
        let of_all = ["director_services", "director_real_servers"].map(|name| page[name]);
        assert_eq!(of_all, [3.0, 6.0]);
        assert_clean(&get(&node, "/metrics", "*/*").1);
    }
    program.stop_unread();
}

#[test]
fn a_reload_moves_the_listener_and_a_refused_one_is_counted() {
    const PORT: &str = "ports:\n  - name: lan0\n    device: net_null0\n    cores: [1]\n    \
                        addresses: [198.18.10.1/16]\n";
    let node = Node::new();
    let program = Program::start(&node, PORT);
    let apply = |metrics: &str| {
        let yaml = program.yaml(&format!("{PORT}{metrics}"));
        program.ask_with_input(&["apply", "-"], &yaml)
    };
    let on = format!("metrics: {{ address: \"{ADDRESS}\", series: 0 }}\n");
    let ended = apply(&on);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(scrape(&node)["director_reloads_total{result=\"taken_over\"}"], 1.0);

    let ended = apply("ttl: 7\n");
    assert_eq!(ended.code(), Some(1));
    eventually("the refusal is counted", || {
        let seen = scrape(&node);
        let refused = seen["director_reloads_total{result=\"refused\"}"] == 1.0;
        (refused && seen["director_last_reload_successful"] == 0.0).then_some(())
    });

    // An address that is somebody else's leaves the running configuration as it is.
    let taken = node.inside(|| std::net::TcpListener::bind("127.0.0.1:9691").unwrap());
    let ended = apply("metrics: { address: \"127.0.0.1:9691\" }\n");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("cannot listen on 127.0.0.1:9691"), "{}", ended.stderr);
    scrape(&node);

    assert_eq!(apply("").code(), Some(0));
    eventually("nothing listens any more", || {
        node.inside(|| TcpStream::connect(ADDRESS)).is_err().then_some(())
    });
    drop(taken);
    program.stop_unread();

    // At the start it is a sentence, before anything runs.
    let home = Home::new();
    let _taken = node.inside(|| std::net::TcpListener::bind(ADDRESS).unwrap());
    let ended = refusal(&node, &home, &home.yaml(&format!("{PORT}{on}")));
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("cannot listen on 127.0.0.1:9690"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn silent_and_slow_clients_keep_neither_scrapers_nor_operators_away() {
    let node = Node::new();
    let body = format!(
        "ports: [{{ name: lan0, device: net_null0, addresses: [198.18.10.1/16] }}]\n\
         metrics: {{ address: \"{ADDRESS}\" }}\n"
    );
    let program = Program::start(&node, &body);
    let connect = || node.inside(|| TcpStream::connect(ADDRESS).unwrap());
    let silent: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect();
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
            }
            stream
        })
        .collect();
    for _ in 0..5 {
        assert!(scrape(&node).contains_key("director_generation"));
        assert_eq!(program.number(&["generation"]), 1);
    }
    drop(silent);
    program.stop_unread();
}
