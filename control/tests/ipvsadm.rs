//! ipvsadm's command line: what it takes, what it refuses and in which words.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use control::ipvsadm::{Command, Forward, Names, Show, Usage, parse};
use control::listing::{Style, Tunnel, TunnelChecksum};
use dataplane::snapshot::{Identity, Persistence};
use dataplane::wire::{Family, Protocol};

fn read(line: &str) -> Result<Command, Usage> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words, &Names::offline())
}

fn refused(line: &str) -> (String, u8) {
    let usage = read(line).expect_err(line);
    (usage.message, usage.exit)
}

fn service(line: &str) -> control::ipvsadm::ServiceOptions {
    match read(line) {
        Ok(Command::AddService(service) | Command::EditService(service)) => service,
        other => panic!("{line}: {other:?}"),
    }
}

fn server(line: &str) -> control::ipvsadm::ServerOptions {
    match read(line) {
        Ok(Command::AddServer(server) | Command::EditServer(server)) => server,
        other => panic!("{line}: {other:?}"),
    }
}

fn shown(line: &str) -> Show {
    match read(line) {
        Ok(Command::List(list)) => list.show,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn what_is_not_named_has_its_default_also_in_an_edit() {
    for verb in ["-A", "-E", "--add-service", "--edit-service"] {
        let service = service(&format!("{verb} -t 192.0.2.10:80"));
        assert_eq!(service.scheduler, "wlc");
        assert_eq!(service.persistence, None);
        assert!(service.flags.is_empty() && !service.one_packet && service.engine.is_none());
    }
    for verb in ["-a", "-e"] {
        let server = server(&format!("{verb} -t 192.0.2.10:80 -r 172.16.0.11"));
        assert_eq!(server.port, 80);
        assert_eq!((server.weight, server.forward), (1, Forward::Route));
        assert_eq!((server.upper_threshold, server.lower_threshold), (0, 0));
    }
}

#[test]
fn an_empty_name_of_a_scheduler_is_the_default() {
    assert_eq!(service("-A -f 10 --scheduler=").scheduler, "wlc");
}

#[test]
fn persistence_without_a_number_is_six_minutes() {
    let persistence = |line| service(line).persistence;
    let of = |timeout_s, mask| Some(Persistence { timeout_s, mask });
    let all = u128::from(u32::MAX);
    assert_eq!(persistence("-A -t 192.0.2.10:80 -p"), of(360, all));
    assert_eq!(persistence("-A -t 192.0.2.10:80 -p -s rr"), of(360, all));
    assert_eq!(persistence("-A -t 192.0.2.10:80 -p 50"), of(50, all));
    assert_eq!(persistence("-A -t 192.0.2.10:80 -p50"), of(50, all));
    assert_eq!(
        persistence("-A -t 192.0.2.10:0 --persistent=7 -M 255.255.255.0"),
        of(7, 0xFFFF_FF00)
    );
    assert_eq!(persistence("-A -f 10 -6 -p 9 -M 48"), of(9, u128::MAX << 80));
    assert_eq!(persistence("-A -t [2001:db8::1]:80 -p 9"), of(9, u128::MAX));
    assert_eq!(persistence("-A -t 192.0.2.10:80 -M 255.255.255.0"), None);
}

#[test]
fn services_are_named_by_address_or_mark() {
    let identity = |line| service(line).identity;
    let Identity::Address { protocol, vip, vip_port } = identity("-A --sctp-service 192.0.2.10:5")
    else {
        panic!("an address")
    };
    assert_eq!((protocol, vip.to_string().as_str(), vip_port), (Protocol::Sctp, "192.0.2.10", 5));
    let Identity::Mark { family, mark } = identity("-A -f 4294967295 -6") else { panic!("a mark") };
    assert_eq!((family, mark.0.get()), (Family::V6, u32::MAX));
    assert_eq!(refused("-A -6 -f 1"), ("-6 used before -f\n".into(), 2));
}

#[test]
fn a_server_that_is_not_masqueraded_has_the_services_port() {
    let port = |line| server(line).port;
    assert_eq!(port("-a -t 192.0.2.10:80 -r 172.16.0.11:8080 -g"), 80);
    assert_eq!(port("-a -t 192.0.2.10:80 -r 172.16.0.11:8080 -i"), 80);
    assert_eq!(port("-a -t 192.0.2.10:80 -r 172.16.0.11:8080 -m"), 8080);
    assert_eq!(port("-a -t 192.0.2.10:80 -r 172.16.0.11 -m"), 80);
    assert_eq!(port("-a -f 10 -r 172.16.0.11:8080 -g"), 8080);
    assert_eq!(port("-a -f 10 -r 172.16.0.11"), 0);
}

#[test]
fn tunnels_take_the_options_of_their_kind_only() {
    let forward =
        |options: &str| server(&format!("-a -t 192.0.2.10:80 -r 172.16.0.11 {options}")).forward;
    assert_eq!(forward("-i"), Forward::Tunnel(Tunnel::Ipip));
    assert_eq!(
        forward("-i --tun-type gue --tun-port 6080 --tun-remcsum"),
        Forward::Tunnel(Tunnel::Gue { port: 6080, checksum: TunnelChecksum::Remote })
    );
    assert_eq!(
        forward("-i --tun-type gre --tun-csum"),
        Forward::Tunnel(Tunnel::Gre { checksum: TunnelChecksum::On })
    );
    for (options, message) in [
        ("-i --tun-type gue", "You need to supply the 'tun-port' option for the 'gue' tunnel type"),
        ("-i --tun-csum", "Illegal 'tun-csum' option with the 'ipip' tunnel type"),
        (
            "-i --tun-type gue --tun-port 9 --tun-csum --tun-remcsum",
            "The option 'tun-remcsum' conflicts with the 'tun-csum' option in the 'gue' tunnel type",
        ),
        ("-i --tun-type gre --tun-port 9", "Illegal 'tun-port' option with the 'gre' tunnel type"),
        ("-g --tun-type gue --tun-port 9", "Tunnel options conflict with forward method"),
        ("-i --tun-type gue --tun-port 0", "illegal tunnel port specified"),
        ("-r [2001:db8::1]:80", "multiple 'real-server' options specified"),
    ] {
        let line = format!("-a -t 192.0.2.10:80 -r 172.16.0.11 {options}");
        assert_eq!(refused(&line), (message.to_owned(), 2), "{line}");
    }
    assert_eq!(
        refused("-a -t 192.0.2.10:80 -r [2001:db8::1]:80 -g").0,
        "Different address family is allowed only for tunneling servers"
    );
    assert!(read("-a -t 192.0.2.10:80 -r [2001:db8::1]:80 -i").is_ok());
}

#[test]
fn short_options_may_be_bundled_and_long_ones_may_carry_their_value() {
    assert_eq!(shown("-ln"), Show::Services(Style::Default));
    assert_eq!(shown("-Lnc"), Show::Connections { engine_data: false });
    assert_eq!(
        shown("--list --numeric --connection --persistent-conn"),
        Show::Connections { engine_data: true }
    );
    assert_eq!(shown(""), Show::Services(Style::Default));
    assert_eq!(server("-at192.0.2.10:80 -r172.16.0.11 -w7").weight, 7);
    assert_eq!(server("-a -t 192.0.2.10:80 -r 172.16.0.11 --weight=7").weight, 7);
    assert_eq!(refused("-L --num").1, 255);
}

#[test]
fn listings_have_one_subject_and_one_set_of_columns() {
    assert_eq!(shown("-l --stats --exact"), Show::Services(Style::Stats { exact: true }));
    assert_eq!(shown("-l --rate"), Show::Services(Style::Rate { exact: false }));
    assert_eq!(shown("-l --thresholds"), Show::Services(Style::Thresholds));
    assert_eq!(shown("-l --tun-info"), Show::Services(Style::TunnelInfo));
    assert_eq!(shown("-l --timeout"), Show::Timeouts);
    assert_eq!(shown("-l --daemon"), Show::Daemons);
    assert_eq!(
        refused("-l --timeout --daemon").0,
        "The option 'daemon' conflicts with the 'timeout' option in the 'list' command"
    );
    assert_eq!(
        refused("-l -c -t 192.0.2.10:80").0,
        "The option 'service-address' conflicts with the 'connection' option in the 'list' command"
    );
    assert_eq!(refused("-l -c --stats").0, "options conflicts in the list command");
    assert_eq!(
        refused("-l --timeout --persistent-conn").0,
        "options conflicts in the list command"
    );
}

#[test]
fn the_first_option_is_a_command_and_the_only_one() {
    let help = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.";
    for line in
        ["-t 192.0.2.10:80 -A", "-X", "--bogus", "word", "-n -L", "--start-daemon", "--list=5"]
    {
        assert_eq!(refused(line), (help.to_owned(), 255), "{line}");
    }
    assert_eq!(refused("-A -D"), ("invalid option `-D'".into(), 2));
    assert_eq!(refused("-C extra"), ("unexpected argument extra".into(), 2));
    for word in ["--stats=5", "-n=5", "-n=", "--persistent-conn="] {
        let message = format!("{word}: option does not take an argument");
        assert_eq!(refused(&format!("-L {word}")), (message, 255));
    }
    assert_eq!(refused("-L -j"), ("-j: unknown option".into(), 255));
    assert_eq!(refused("-A -t 192.0.2.10:80 -s"), ("-s: missing argument".into(), 255));
}

#[test]
fn options_that_do_not_go_with_a_command_are_named() {
    for (line, message) in [
        ("-C -n", "Illegal 'numeric' option with the 'flush' command"),
        (
            "-D -t 192.0.2.10:80 -s rr",
            "Illegal 'scheduler' option with the 'delete-service' command",
        ),
        ("-A -t 192.0.2.10:80 -w 1", "Illegal 'weight' option with the 'add-service' command"),
        (
            "-d -t 192.0.2.10:80 -r 172.16.0.11 -g",
            "Illegal 'forwarding-method' option with the 'delete-server' command",
        ),
        ("-A -t 192.0.2.10:80 -s rr -s rr", "multiple 'scheduler' options specified"),
        ("-A -t 192.0.2.10:80 -s sh -b mh-port", "incompatible scheduler flag `mh-port'"),
        ("-A -t 192.0.2.10", "Zero port specified for non-persistent service"),
        ("--set 1 2", "--set option requires 3 timeout values"),
        ("--set 1 2 3 4", "unexpected argument 4"),
        ("--set 1 2 2678401", "invalid timeout value `2678401' specified"),
        ("--start-daemon both", "illegal start-daemon parameter specified"),
        ("--stop-daemon both", "illegal start_daemon specified"),
        ("--start-daemon master --syncid 256", "illegal syncid specified"),
        (
            "--start-daemon backup --mcast-interface eth0 --mcast-group 10.0.0.1",
            "invalid IPv4 mcast-group `10.0.0.1'",
        ),
        (
            "--start-daemon backup --mcast-interface eth0 --mcast-group 2001:db8::1",
            "invalid IPv6 mcast-group `2001:db8::1'",
        ),
        (
            "--stop-daemon master --mcast-ttl 1",
            "Illegal 'mcast-ttl' option with the 'stop-daemon' command",
        ),
    ] {
        assert_eq!(refused(line), (message.to_owned(), 2), "{line}");
    }
}

#[test]
fn weights_and_thresholds_fit_a_signed_number() {
    let weight = |weight: &str| server_weight(weight);
    assert_eq!(weight("2147483647"), Ok(2_147_483_647));
    assert_eq!(weight("0"), Ok(0));
    for wrong in ["2147483648", "-1", "1.5", "0x10", "abc", "4294967296"] {
        assert_eq!(weight(wrong), Err("illegal weight specified".to_owned()), "{wrong}");
    }
}

fn server_weight(weight: &str) -> Result<u32, String> {
    match read(&format!("-a -t 192.0.2.10:80 -r 172.16.0.11 -w {weight}")) {
        Ok(Command::AddServer(server)) => Ok(server.weight),
        Ok(other) => panic!("{other:?}"),
        Err(usage) => Err(usage.message),
    }
}

#[test]
fn timeouts_of_zero_seconds_keep_what_is_set() {
    assert_eq!(
        read("--set 20 0 2678400"),
        Ok(Command::SetTimeouts { tcp_s: 20, tcp_fin_s: 0, udp_s: 2_678_400 })
    );
    assert_eq!(refused("--set -1 0 0"), ("-1: unknown option".into(), 255));
}
