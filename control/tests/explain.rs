//! What the director says about itself while it works: listings, `explain` and `status`; and
//! that saying it changes nothing.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use support::farm::{self, CLIENT, CLIENT6, Farm, VIP6, VIPS};
use support::node::mac_text;
use support::program::Program;
use support::server::{self, Talk, ask};

/// rr, PCC, PFM, and rr over IPv6.
fn body() -> String {
    let [plain, pcc, pfm] = VIPS;
    let (reals, reals6) = (farm::reals(2), farm::reals6(2));
    let ports = farm::one_port();
    format!(
        "{ports}services:
  - name: plain
    vip: {plain}
    protocol: tcp
    vip_port: 80
    scheduler: rr
    real_servers:
{reals}
  - name: every-port
    vip: {pcc}
    protocol: tcp
    vip_port: 0
    scheduler: rr
    persistence: {{ timeout: 600 }}
    real_servers:
{reals}
  - name: shop
    mark: 10
    selectors:
      - {{ vip: {pfm}, protocol: tcp, vip_port: 80 }}
      - {{ vip: {pfm}, protocol: tcp, vip_port: 443 }}
    scheduler: rr
    persistence: true
    real_servers:
{reals}
  - name: plain6
    vip: \"{VIP6}\"
    protocol: tcp
    vip_port: 80
    scheduler: rr
    real_servers:
{reals6}"
    )
}

struct Site {
    farm: Farm,
    program: Program,
}

impl Site {
    fn new() -> Self {
        let farm = Farm::new(2);
        server::everywhere(&farm, &[80, 443, 8080]);
        let program = Program::start(&farm.director, &body());
        for index in 0..2 {
            program.resolves(&farm::rip(index));
            program.resolves(&farm::rip6(index));
        }
        Self { farm, program }
    }

    fn explain(&self, flow: &str) -> String {
        self.program.told(&["explain", flow])
    }

    /// The name of the real server that a packet would go to.
    fn would_go_to(&self, flow: &str) -> String {
        let story = self.explain(flow);
        let address = line_of(&story, "real server ");
        (0..2)
            .find(|index| address == farm::rip(*index) || address == farm::rip6(*index))
            .map(farm::name)
            .unwrap_or_else(|| panic!("{story}"))
    }
}

fn line_of<'a>(story: &'a str, start: &str) -> &'a str {
    story.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{story}"))
}

#[test]
fn explain_says_what_would_happen_and_why_and_changes_nothing() {
    let site = Site::new();
    let Site { farm, program } = &site;
    let [plain, pcc, pfm] = VIPS;

    // A new client: the scheduler's choice, the same however often it is asked.
    let new = format!("tcp {CLIENT}:40000 -> {plain}:80");
    let first = site.would_go_to(&new);
    let before = (program.told(&["show", "--stats", "--exact"]), program.told(&["show", "-c"]));
    for n in 0..25 {
        assert_eq!(site.would_go_to(&format!("tcp {CLIENT}:{} -> {plain}:80", 41_000 + n)), first);
        site.would_go_to(&format!("tcp 198.18.64.{n}:1000 -> {pcc}:{}", 1 + n));
        site.would_go_to(&format!("tcp 198.18.64.{n}:1000 -> {pfm}:443"));
        site.would_go_to(&format!("tcp [{CLIENT6}]:{} -> [{VIP6}]:80", 41_000 + n));
    }
    let after = (program.told(&["show", "--stats", "--exact"]), program.told(&["show", "-c"]));
    assert_eq!(after, before, "nothing is counted, nobody is bound");
    assert_eq!(program.number(&["frames", "connections_scheduled"]), 0);
    let story = site.explain(&new);
    assert_eq!(line_of(&story, "service     "), "plain");
    assert_eq!(line_of(&story, "why         "), "the client is new, and rr picks this server now");
    let place = (0..2).find(|index| farm::name(*index) == first).unwrap();
    let verdict = format!("Route to {} on lan0", mac_text(farm.servers[place].mac("eth0")));
    assert_eq!(line_of(&story, "verdict     "), verdict);

    // And so it comes: the cursor has not moved.
    let to_plain = format!("{plain}:80");
    let mut turn = vec![ask(&farm.client, CLIENT, &to_plain)];
    assert_eq!(turn[0], first);
    for _ in 0..3 {
        let foretold = site.would_go_to(&new);
        turn.push(ask(&farm.client, CLIENT, &to_plain));
        assert_eq!(turn.last(), Some(&foretold));
    }
    assert_eq!(turn[0], turn[2]);
    assert_ne!(turn[0], turn[1], "round robin");

    // A connection.
    let mut talk = Talk::open(&farm.client, CLIENT, &to_plain);
    let server = talk.say("hello");
    let flow = format!("tcp {CLIENT}:{} -> {plain}:80", talk.port());
    let story = program.told(&["explain", &flow, "--flags", "PA"]);
    assert!(line_of(&story, "why         ").starts_with("it belongs to a connection (ESTABLISHED"));
    assert_eq!(site.would_go_to(&flow), server);
    let other = program.told(&["explain", &new, "--flags", "A"]);
    assert!(other.contains("the packet opens no connection and belongs to none"), "{other}");

    // A bound client, on a port that it has not used yet; and another client.
    let bound = ask(&farm.client, "198.18.64.7", &format!("{pcc}:80"));
    let story = site.explain(&format!("tcp 198.18.64.7:1234 -> {pcc}:9999"));
    assert!(line_of(&story, "why         ").starts_with("the client is bound ("), "{story}");
    assert_eq!(site.would_go_to(&format!("tcp 198.18.64.7:1234 -> {pcc}:9999")), bound);
    let bound = ask(&farm.client, "198.18.64.9", &format!("{pfm}:80"));
    let flow = format!("tcp 198.18.64.9:1234 -> {pfm}:443");
    let story = site.explain(&flow);
    assert_eq!(line_of(&story, "mark        "), "10");
    assert_eq!(line_of(&story, "service     "), "shop");
    assert_eq!(site.would_go_to(&flow), bound);
    assert_eq!(ask(&farm.client, "198.18.64.9", &format!("{pfm}:443")), bound);

    // IPv6.
    let foretold = site.would_go_to(&format!("tcp [{CLIENT6}]:1234 -> [{VIP6}]:80"));
    assert_eq!(ask(&farm.client, CLIENT6, &format!("[{VIP6}]:80")), foretold);
    drop(talk);
    site.program.stop();
}

#[test]
fn explain_says_no_in_words() {
    let site = Site::new();
    let plain = VIPS[0];
    for (flow, verdict) in [
        (format!("tcp {CLIENT}:1 -> {plain}:81"), "no service takes it: answered with a TCP reset"),
        (format!("udp {CLIENT}:1 -> {plain}:53"), "answered with ICMP port unreachable"),
        (format!("tcp {CLIENT}:1 -> 198.18.200.1:80"), "the director has no such address: dropped"),
        (format!("sctp {CLIENT}:1 -> {plain}:80"), "answered with ICMP protocol unreachable"),
    ] {
        let story = site.explain(&flow);
        assert_eq!(line_of(&story, "service     "), "none", "{flow}");
        assert!(line_of(&story, "verdict     ").ends_with(verdict), "{flow}: {story}");
        let json = site.program.json(&["explain", &flow]);
        assert!(json["service"].is_null() && json["fate"]["real_server"].is_null(), "{json}");
    }
    let flow = format!("tcp {CLIENT}:1 -> {plain}:80");
    for (words, sentence) in [
        (&["explain", &flow, "--port", "wan7"][..], "there is no port 'wan7'"),
        (&["explain", &flow, "--flags", "SX"], "'X' is no TCP flag"),
        (&["explain", "tcp 198.18.0.1 -> 198.18.255.1:80"], "no address with a port"),
        (&["explain", "icmp 198.18.0.1:1 -> 198.18.255.1:80"], "is no protocol"),
        (&["explain", "what about me"], "is no packet: write 'tcp"),
    ] {
        let ended = site.program.ask(words);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{words:?}");
        assert!(ended.stderr.contains(sentence), "{words:?}: {}", ended.stderr);
    }
    let json = site.program.json(&["explain", &flow, "--port", "lan0"]);
    assert_eq!(json["service"], "plain");
    assert_eq!(json["fate"]["because"]["scheduler"], "rr");
    site.program.stop();
}

#[test]
fn listings_are_ipvsadm_s_and_status_is_whole() {
    let site = Site::new();
    let Site { farm, program } = &site;
    let [plain, pcc, pfm] = VIPS;
    let expected = format!(
        "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  {plain}:80 rr
  -> 198.18.10.11:80              Route   1      0          0         
  -> 198.18.10.12:80              Route   1      0          0         
TCP  {pcc}:0 rr persistent 600
  -> 198.18.10.11:0               Route   1      0          0         
  -> 198.18.10.12:0               Route   1      0          0         
TCP  [{VIP6}]:80 rr
  -> [2001:db8::10:11]:80         Route   1      0          0         
  -> [2001:db8::10:12]:80         Route   1      0          0         
FWM  10 rr persistent 360
  -> 198.18.10.11:0               Route   1      0          0         
  -> 198.18.10.12:0               Route   1      0          0         
"
    );
    assert_eq!(program.told(&["show"]), expected);

    let mut open: Vec<Talk> =
        (0..4).map(|_| Talk::open(&farm.client, CLIENT, &format!("{plain}:80"))).collect();
    for talk in &mut open {
        talk.say("hello");
    }
    let bound = ask(&farm.client, "198.18.64.7", &format!("{pcc}:8080"));
    let listed = program.told(&["show"]);
    assert_eq!(listed.matches("Route   1      2          0").count(), 2, "{listed}");

    let connections = program.told(&["show", "-c"]);
    let port = open[0].port();
    let line = connections.lines().find(|line| line.contains(&format!("{CLIENT}:{port} ")));
    let words: Vec<&str> = line.expect(&connections).split_whitespace().collect();
    assert_eq!((words[0], words[2]), ("TCP", "ESTABLISHED"), "{words:?}");
    assert_eq!(words[4], format!("{plain}:80"));
    assert!(words[1] == "15:00" || words[1].starts_with("14:5"), "{words:?}");
    let place = (0..2).find(|index| farm::name(*index) == bound).unwrap();
    let template = connections.lines().find(|line| line.contains("198.18.64.7:0 ")).unwrap();
    let words: Vec<&str> = template.split_whitespace().collect();
    assert_eq!((words[2], words[4]), ("ASSURED", format!("{pcc}:0").as_str()), "{template}");
    assert_eq!(words[5], format!("{}:0", farm::rip(place)));

    let stats = program.told(&["show", "--stats", "--exact"]);
    assert!(stats.contains("Conns   InPkts  OutPkts  InBytes OutBytes"), "{stats}");
    let service = stats.lines().find(|line| line.contains(&format!("{plain}:80"))).unwrap();
    let conns: u64 = service.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert_eq!(conns, 4, "{service}");
    assert!(program.told(&["show", "--rate"]).contains("CPS    InPPS   OutPPS"));
    assert!(program.told(&["show", "--thresholds"]).contains("Uthreshold Lthreshold ActiveConn"));
    let persistent = program.told(&["show", "--persistent"]);
    assert!(persistent.contains("Weight    PersistConn ActiveConn InActConn"), "{persistent}");

    for words in [
        &["show"][..],
        &["show", "-c"],
        &["show", "--stats"],
        &["show", "--rate"],
        &["show", "--thresholds"],
        &["show", "--persistent"],
    ] {
        let json = program.json(words).to_string();
        assert!(json.contains(plain), "{words:?}: {json}");
    }
    status_is_whole(program);
    assert!(program.told(&["show"]).contains(pfm) || program.told(&["show"]).contains("FWM  10"));
    drop(open);
    site.program.stop();
}

fn status_is_whole(program: &Program) {
    let status = program.status();
    let number = |keys: &[&str]| program.number(keys);
    assert_eq!((number(&["generation"]), number(&["adopted_generation"])), (1, 1));
    assert_eq!((number(&["services"]), number(&["real_servers"])), (4, 8));
    assert_eq!(status["last_apply"]["result"], "taken over");
    let core = &status["cores"][0];
    assert_eq!((core["core"].as_u64(), core["cpu"].as_u64()), (Some(0), Some(1)));
    assert!(core["received"].as_u64().unwrap() > 0 && core["connections"].as_u64().unwrap() >= 4);
    let port = &status["ports"][0];
    assert_eq!(
        (port["name"].as_str(), port["driver"].as_str()),
        (Some("lan0"), Some("net_af_packet"))
    );
    assert_eq!(port["link_up"], true);
    assert!(port["received"].as_u64().unwrap() > 0 && port["sent"].as_u64().unwrap() > 0);
    let tables = status["tables"].as_array().unwrap();
    let entries = |name: &str| {
        let table = tables.iter().find(|table| table["name"] == name).unwrap();
        assert!(table["capacity"].as_u64().unwrap() > 0 && table["bytes"].as_u64().unwrap() > 0);
        table["entries"].as_u64().unwrap()
    };
    assert!(entries("connections") >= 4);
    assert_eq!(entries("templates"), 1);
    assert_eq!(entries("clients"), 0);
    assert!(number(&["memory", "resident_bytes"]) > 1 << 20);
    assert!(number(&["memory", "mbufs_free"]) > 0);
    assert!(status["version"].is_string() && status["dpdk"].as_str().unwrap().contains("22.11"));
    let text = program.told(&["status"]);
    for part in ["generation 1 on every core", "lan0", "net_af_packet", "connections", "received "]
    {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}
