//! ipvsadm's commands on a director without traffic: what is done, and what is answered.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]

use std::sync::Arc;

use control::ipvsadm::{Names, Pending, Reply, Target, run};
use control::listing::{Meters, SyncDaemon};
use dataplane::catalog::Catalog;
use dataplane::catalog::spec::Site;
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::Snapshot;
use dataplane::timer::TimerRule;

struct Director {
    shared: Arc<Shared>,
    catalog: Catalog,
    snapshot: Arc<Snapshot>,
    meters: Meters,
    daemons: Vec<SyncDaemon>,
    names: Names,
}

impl Director {
    fn new() -> Self {
        let (shared, _) = Shared::new(1, TableSizes::default(), TimerRule::Exact, HashKey([1, 2]));
        let mut catalog = Catalog::new(Arc::clone(&shared), Site::default());
        Self {
            snapshot: catalog.snapshot(),
            catalog,
            shared,
            meters: Meters::default(),
            daemons: Vec::new(),
            names: Names::offline(),
        }
    }

    fn run(&mut self, line: &str) -> Reply {
        self.run_with(line, "")
    }

    fn run_with(&mut self, line: &str, stdin: &str) -> Reply {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let mut target = Target {
            catalog: &mut self.catalog,
            snapshot: &mut self.snapshot,
            pending: Pending::default(),
            loads: &self.shared.loads,
            meters: &mut self.meters,
            daemons: &mut self.daemons,
            connections: &Vec::new,
            interfaces: &["eth0"],
            names: &self.names,
            table_size: 4096,
        };
        let reply = run(&words, stdin, &mut target);
        target.settle();
        reply
    }

    /// Runs commands that are expected to work and to say nothing.
    fn done(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.run(line), Reply::default(), "{line}");
        }
    }

    fn saved(&mut self) -> String {
        self.run("-Sn").stdout
    }
}

fn refusal(message: &str, rc: u8) -> Reply {
    Reply { stdout: String::new(), stderr: format!("{message}\n"), rc }
}

#[test]
fn what_is_added_is_listed_and_saved() {
    let mut director = Director::new();
    director.done(&[
        "-A -t 192.0.2.10:80 -s rr -p 50",
        "-a -t 192.0.2.10:80 -r 172.16.0.12 -g",
        "-a -t 192.0.2.10:80 -r 172.16.0.11 -g -w 3 -x 10 -y 5",
        "-A -f 10 -s sh -b sh-port",
    ]);
    assert_eq!(
        director.run("-ln").stdout,
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.0.2.10:80 rr persistent 50\n\
         \x20 -> 172.16.0.11:80               Route   3      0          0         \n\
         \x20 -> 172.16.0.12:80               Route   1      0          0         \n\
         FWM  10 sh (sh-port)\n"
    );
    assert_eq!(
        director.run("-S").stdout,
        "-A -t 192.0.2.10:http -s rr -p 50\n\
         -a -t 192.0.2.10:http -r 172.16.0.11:http -g -w 3\n\
         -a -t 192.0.2.10:http -r 172.16.0.12:http -g -w 1\n\
         -A -f 10 -s sh -b sh-port\n"
    );
    let listed = director.run("-ln -f 10").stdout;
    assert!(
        listed.starts_with("Prot LocalAddress:Port") && listed.ends_with("FWM  10 sh (sh-port)\n")
    );
    assert_eq!(director.run("-ln -f 11"), refusal("No such service", 1));
}

#[test]
fn an_edit_replaces_what_it_does_not_name() {
    let mut director = Director::new();
    director.done(&[
        "-A -t 192.0.2.10:80 -s rr -p 50",
        "-a -t 192.0.2.10:80 -r 172.16.0.11 -w 3 -x 10 -y 5",
        "-E -t 192.0.2.10:80",
        "-e -t 192.0.2.10:80 -r 172.16.0.11",
    ]);
    assert_eq!(
        director.saved(),
        "-A -t 192.0.2.10:80 -s wlc\n-a -t 192.0.2.10:80 -r 172.16.0.11:80 -g -w 1\n"
    );
    let thresholds = director.run("-ln --thresholds").stdout;
    assert!(thresholds.ends_with(
        "  -> 172.16.0.11:80               0          0          0          0         \n"
    ));
}

#[test]
fn refusals_have_the_kernels_words_and_codes() {
    let mut director = Director::new();
    director.done(&["-A -t 192.0.2.10:80", "-a -t 192.0.2.10:80 -r 172.16.0.11"]);
    for (line, message) in [
        ("-A -t 192.0.2.10:80 -s nosuch", "Service already exists"),
        ("-A -t 192.0.2.10:81 -s nosuch", "Scheduler or persistence engine not found"),
        ("-A -t 192.0.2.10:81 --pe nosuch", "Scheduler or persistence engine not found"),
        ("-E -t 192.0.2.10:81", "No such service"),
        ("-D -t 192.0.2.10:81", "No such service"),
        ("-Z -t 192.0.2.10:81", "No such service"),
        ("-a -t 192.0.2.10:81 -r 172.16.0.11", "Service not defined"),
        ("-e -t 192.0.2.10:81 -r 172.16.0.11", "Service not defined"),
        ("-d -t 192.0.2.10:81 -r 172.16.0.11", "Service not defined"),
        ("-a -t 192.0.2.10:80 -r 172.16.0.11", "Destination already exists"),
        ("-e -t 192.0.2.10:80 -r 172.16.0.12", "No such destination"),
        ("-d -t 192.0.2.10:80 -r 172.16.0.12", "No such destination"),
        ("-e -t 192.0.2.10:80 -r 172.16.0.11 -x 1 -y 2", "Numerical result out of range"),
        (
            "-a -t 192.0.2.10:80 -r 224.0.0.1",
            "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        ),
        ("--stop-daemon master", "No daemon is running"),
        ("--start-daemon master --mcast-interface eth7", "No such device"),
    ] {
        assert_eq!(director.run(line), refusal(message, 255), "{line}");
    }
}

#[test]
fn a_restore_goes_on_after_a_refusal_and_stops_at_a_usage_error() {
    let mut director = Director::new();
    let lines = "ipvsadm -A -t 192.0.2.30:80 -s rr\n-A -t 192.0.2.30:80 -s rr\n\n-A -t 192.0.2.30:81 -s rr\n";
    assert_eq!(
        director.run_with("-R", lines),
        Reply { rc: 0, ..refusal("Service already exists", 0) }
    );
    let lines = "-A -t 192.0.2.30:82 -s rr\n# remark\n-A -t 192.0.2.30:83 -s rr\n";
    let reply = director.run_with("-R", lines);
    assert_eq!(reply.rc, 255);
    let reply = director.run_with("-R", "-R\n-A -t 192.0.2.30:84 -s rr\n");
    let usage = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
    assert_eq!(reply, refusal(usage, 255));
    assert_eq!(
        director.saved(),
        "-A -t 192.0.2.30:80 -s rr\n-A -t 192.0.2.30:81 -s rr\n-A -t 192.0.2.30:82 -s rr\n"
    );
}

#[test]
fn what_is_saved_is_restored() {
    let mut director = Director::new();
    director.done(&[
        "-A -t [2001:db8::10]:80 -s wrr -p 60 -M 64",
        "-a -t [2001:db8::10]:80 -r [2001:db8::11]:80 -w 5",
        "-A -u 192.0.2.10:53 -s rr -o",
        "-A -f 7 -6 -s sed",
        "-A -t 192.0.2.10:0 -s none -p 300 -M 255.255.255.0",
    ]);
    let saved = director.saved();
    assert_eq!(saved.lines().count(), 5);
    director.done(&["-C"]);
    assert_eq!(director.saved(), "");
    assert_eq!(director.run_with("-R", &saved), Reply::default());
    assert_eq!(director.saved(), saved);
}

#[test]
fn timeouts_and_daemons_are_listed_as_they_were_set() {
    let mut director = Director::new();
    director.done(&["--set 20 0 5", "--start-daemon master --syncid 7"]);
    assert_eq!(director.run("-l --timeout").stdout, "Timeout (tcp tcpfin udp): 20 120 5\n");
    assert_eq!(
        director.run("-l --daemon").stdout,
        "master sync daemon (mcast=eth0, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"
    );
    assert_eq!(director.run("--start-daemon master"), refusal("Daemon has already run", 255));
    director.done(&["--stop-daemon master"]);
    assert_eq!(director.run("-l --daemon").stdout, "");
}

#[test]
fn a_version_and_a_help_text_are_there_without_a_director() {
    let mut director = Director::new();
    let version = director.run("--version").stdout;
    assert_eq!(version, "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n");
    let help = director.run("-h").stdout;
    assert!(help.starts_with(&version) && help.contains("  --add-service     -A "));
}
