//! Debian's ldirectord, as apt brings it, drives the running director: it finds the program
//! under the name of ipvsadm and knows of no other.

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
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::eventually;
use support::farm::{self, Farm, VIPS};
use support::node::Node;
use support::program::Program;
use support::socket::connect;

/// A web server on a node: Python's, with a page that says whose it is.
struct Web {
    child: Child,
}

impl Web {
    fn start(program: &Program, node: &Node, page: &str) -> Self {
        let folder = program.home.folder.join(page);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("index.html"), format!("I am {page}\n")).unwrap();
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "80", "--bind", "0.0.0.0", "--directory"]).arg(&folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = node.inside(|| command.spawn().unwrap());
        Self { child }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A machine beside the director from which the real servers are looked at, and on it
/// ldirectord. Its `/sbin/ipvsadm` is the program, in a mount namespace of its own.
struct Ldirectord {
    child: Child,
    log: PathBuf,
    _node: Node,
}

impl Ldirectord {
    fn start(farm: &Farm, program: &Program, services: &str) -> Self {
        let node = Node::new();
        farm.plug("admin", &node, "eth0");
        node.ip("addr add 198.18.10.250/16 dev eth0");
        let folder = &program.home.folder;
        let (file, log) = (folder.join("ldirectord.cf"), folder.join("ldirectord.log"));
        let head = format!(
            "checktimeout = 30\ncheckinterval = 1\nautoreload = no\nlogfile = \"{}\"\n",
            log.display()
        );
        fs::write(&file, head + services).unwrap();
        let script = "mount --bind \"$1\" /sbin/ipvsadm && mount -t tmpfs tmpfs /var/run/ && \
                      exec /usr/sbin/ldirectord -d \"$2\" start";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_director")).arg(&file);
        command.env("DIRECTOR_SOCKET", program.home.socket()).env("PERLIO", "perlio");
        command.stdin(Stdio::null());
        let output = fs::File::create(folder.join("ldirectord.out")).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        let child = node.inside(|| command.spawn().unwrap());
        Self { child, log, _node: node }
    }

    /// Ends it as its service manager would.
    fn stop(mut self) {
        // SAFETY: no pointers; the process is a child that has not been waited for.
        let answer = unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
        self.child.wait().unwrap();
    }
}

impl Drop for Ldirectord {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.log).unwrap_or_default());
            let out = self.log.with_file_name("ldirectord.out");
            eprintln!("{}", fs::read_to_string(out).unwrap_or_default());
        }
    }
}

/// The page that a client gets at this address, or why it gets none.
fn page(farm: &Farm, client: &str, to: &str) -> Result<String, std::io::Error> {
    let from = std::net::SocketAddr::new(client.parse().unwrap(), 0);
    let within = Duration::from_secs(5);
    let mut stream = connect(&farm.client, from, to.parse().unwrap(), within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// The pages of six clients in a row, each named once.
fn pages(farm: &Farm, to: &str) -> Vec<String> {
    let ask = |client| page(farm, &format!("198.18.64.{client}"), to);
    let mut pages: Vec<String> =
        (1..=6).map(|client| ask(client).unwrap_or_else(|error| error.to_string())).collect();
    pages.sort();
    pages.dedup();
    pages
}

/// Waits until the listing's lines of real servers are these.
fn lists(program: &Program, expected: &[(usize, u32)]) {
    let mut listed = String::new();
    let wanted: Vec<String> = expected
        .iter()
        .map(|(server, weight)| format!("  -> {}:80 Route {weight}", farm::rip(*server)))
        .collect();
    eventually(&format!("{wanted:?}"), || {
        listed = program.told(&["ipvsadm", "-L", "-n"]);
        let lines = listed.lines().filter(|line| line.contains("Route"));
        let lines: Vec<String> = lines
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().take(4).collect();
                format!("  {}", words.join(" "))
            })
            .collect();
        (lines == wanted).then_some(())
    });
}

#[test]
fn ldirectord_takes_servers_out_and_in_and_falls_back() {
    let farm = Farm::new(3);
    let body = format!("{}services: []\n", farm::one_port());
    let program = Program::start(&farm.director, &body);
    let to = format!("{}:80", VIPS[0]);
    let mut webs: Vec<Option<Web>> = (0..3)
        .map(|index| Some(Web::start(&program, &farm.servers[index], &farm::name(index))))
        .collect();
    let services = format!(
        "quiescent = no\nvirtual = {to}\n\treal = {}:80 gate\n\treal = {}:80 gate\n\
         \tfallback = {}:80 gate\n\tservice = http\n\trequest = \"index.html\"\n\
         \treceive = \"I am\"\n\tscheduler = rr\n\tprotocol = tcp\n\tchecktype = negotiate\n",
        farm::rip(0),
        farm::rip(1),
        farm::rip(2)
    );
    let ldirectord = Ldirectord::start(&farm, &program, &services);
    lists(&program, &[(0, 1), (1, 1)]);
    assert_eq!(pages(&farm, &to), ["I am rs1", "I am rs2"]);
    let yaml = program.told(&["get", "-o", "yaml"]);
    assert!(yaml.contains(&format!("name: tcp/{to}")), "{yaml}");
    assert_eq!(program.ask(&["diff"]).code(), Some(1), "the file knows nothing of it");

    webs[0] = None;
    lists(&program, &[(1, 1)]);
    assert_eq!(pages(&farm, &to), ["I am rs2"]);
    webs[1] = None;
    lists(&program, &[(2, 1)]);
    assert_eq!(pages(&farm, &to), ["I am rs3"], "the fallback");
    webs[0] = Some(Web::start(&program, &farm.servers[0], "rs1"));
    lists(&program, &[(0, 1)]);
    assert_eq!(pages(&farm, &to), ["I am rs1"]);
    webs[1] = Some(Web::start(&program, &farm.servers[1], "rs2"));
    lists(&program, &[(0, 1), (1, 1)]);
    assert_eq!(pages(&farm, &to), ["I am rs1", "I am rs2"]);

    ldirectord.stop();
    lists(&program, &[]);
    assert_eq!(program.number(&["services"]), 0, "it cleans up behind itself");
    program.stop();
}

#[test]
fn ldirectord_quiesces_the_servers_of_a_mark_whose_selectors_are_in_the_file() {
    let farm = Farm::new(2);
    let body = format!(
        "{}services:\n  - mark: 10\n    selectors:\n      \
         - {{ vip: {vip}, protocol: tcp, vip_port: 80 }}\n      \
         - {{ vip: {vip}, protocol: tcp, vip_port: 443 }}\n    persistence: 600\n",
        farm::one_port(),
        vip = VIPS[0]
    );
    let program = Program::start(&farm.director, &body);
    let to = format!("{}:80", VIPS[0]);
    let mut webs: Vec<Option<Web>> = (0..2)
        .map(|index| Some(Web::start(&program, &farm.servers[index], &farm::name(index))))
        .collect();
    let services = format!(
        "quiescent = yes\nvirtual = 10\n\treal = {}:80 gate 5\n\treal = {}:80 gate 7\n\
         \tservice = http\n\tcheckport = 80\n\trequest = \"index.html\"\n\treceive = \"I am\"\n\
         \tscheduler = wrr\n\tpersistent = 300\n\tprotocol = fwm\n\tchecktype = negotiate\n",
        farm::rip(0),
        farm::rip(1),
    );
    let ldirectord = Ldirectord::start(&farm, &program, &services);
    lists(&program, &[(0, 5), (1, 7)]);
    assert_eq!(pages(&farm, &to), ["I am rs1", "I am rs2"]);
    let bound = page(&farm, "198.18.65.1", &to).unwrap();
    webs[0] = None;
    lists(&program, &[(0, 0), (1, 7)]);
    let again = page(&farm, "198.18.65.1", &to);
    match bound.as_str() {
        // Quiesced is not gone: a bound client stays, as in the kernel.
        "I am rs1" => assert!(again.is_err(), "{again:?}"),
        other => assert_eq!(again.unwrap(), other),
    }
    webs[0] = Some(Web::start(&program, &farm.servers[0], "rs1"));
    lists(&program, &[(0, 5), (1, 7)]);
    assert_eq!(page(&farm, "198.18.65.1", &to).unwrap(), bound);
    let yaml = program.told(&["get", "-o", "yaml"]);
    assert!(yaml.contains("timeout: 300") && yaml.contains("scheduler: wrr"), "{yaml}");
    assert!(yaml.contains("vip_port: 443"), "the selectors stay: {yaml}");
    ldirectord.stop();
    program.stop();
}
