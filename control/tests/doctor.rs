//! `director doctor`: machines that lack one thing each, and this one.

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
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use control::config;
use control::doctor::{Finding, Severity, examine};
use nic::Machine;
use serde_json::Value;
use support::eventually;
use support::farm;
use support::node::Node;
use support::program::{Home, Program, director};

static MACHINES: AtomicU32 = AtomicU32::new(0);

/// A machine as its files show it.
struct Fake {
    root: PathBuf,
}

const PCI: &str = "sys/bus/pci/devices/0000:3b:00.0";
const PAGES: &str = "hugepages/hugepages-2048kB";

impl Fake {
    /// A machine that lacks nothing: two nodes of four CPUs, a NIC on the first.
    fn healthy() -> Self {
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let name = format!("director-doctor-{}-{number}", std::process::id());
        let fake = Self { root: std::env::temp_dir().join(name) };
        for (path, text) in [
            ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse4_2 aes\n"),
            ("proc/meminfo", "MemTotal: 65536000 kB\nMemAvailable: 60000000 kB\n"),
            ("proc/self/limits", "Max locked memory         unlimited      unlimited    bytes\n"),
            ("proc/thread-self/status", "Name:\tdirector\nCapEff:\t0000000000003000\n"),
            ("proc/self/mounts", "nodev /dev/hugepages hugetlbfs rw 0 0\n"),
            ("proc/sys/net/ipv4/ip_forward", "0\n"),
            ("proc/sys/net/ipv6/conf/all/forwarding", "0\n"),
            ("proc/sys/net/ipv4/conf/all/rp_filter", "0\n"),
            ("proc/sys/net/ipv4/conf/default/rp_filter", "0\n"),
            ("proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1\n"),
            ("proc/net/fib_trie", "Main:\n  |-- 127.0.0.1\n     /32 host LOCAL\n"),
            ("proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
            ("dev/net/tun", ""),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/class/net/eth0/flags", "0x1003\n"),
            ("sys/devices/system/cpu/online", "0-7\n"),
            ("sys/devices/system/cpu/isolated", "1-3\n"),
            ("sys/devices/system/node/node0/cpulist", "0-3\n"),
            ("sys/devices/system/node/node1/cpulist", "4-7\n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
            ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "2048\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "2048\n"),
        ] {
            fake.write(path, text);
        }
        for cpu in 0..8 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            fake.write(&format!("{folder}/topology/thread_siblings_list"), &format!("{cpu}\n"));
            fake.write(&format!("{folder}/cpufreq/scaling_governor"), "performance\n");
        }
        for node in 0..2 {
            fake.write(
                &format!("sys/devices/system/node/node{node}/{PAGES}/free_hugepages"),
                "1024",
            );
            fake.write(&format!("sys/devices/system/node/node{node}/{PAGES}/nr_hugepages"), "1024");
        }
        fake.write(&format!("{PCI}/numa_node"), "0\n");
        fake.link("/sys/bus/pci/drivers/vfio-pci", &format!("{PCI}/driver"));
        fake.link("/sys/kernel/iommu_groups/7", &format!("{PCI}/iommu_group"));
        fake
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, to: &str, path: &str) {
        let path = self.root.join(path);
        let _ = fs::remove_file(&path);
        // What a link in /sys leads to is there, too.
        let target = self.root.join(to.trim_start_matches('/'));
        fs::create_dir_all(&target).unwrap();
        symlink(target, path).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).unwrap();
    }

    fn findings(&self, yaml: &str) -> Vec<Finding> {
        let model = config::parse(yaml, "test").unwrap_or_else(|problems| panic!("{problems}"));
        examine(&model, &Machine::at(&self.root)).findings().to_vec()
    }

    /// The only finding there is.
    fn only(&self, yaml: &str) -> Finding {
        let mut findings = self.findings(yaml);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings.remove(0)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

const NIC: &str = "ports: [{ name: lan0, device: \"0000:3b:00.0\", cores: [1, 2], \
                   addresses: [198.18.10.1/24] }]\nmain_core: 0\n";
const PACKET: &str = "ports: [{ name: lan0, device: \"net_af_packet0,iface=eth0\", cores: [1], \
                      addresses: [198.18.10.1/24] }]\nmain_core: 0\n\
                      memory: { no_huge: true, mib: 512 }\n";

#[test]
fn a_machine_that_lacks_nothing_gets_no_advice() {
    let fake = Fake::healthy();
    assert_eq!(fake.findings(NIC), []);
    assert_eq!(fake.findings(PACKET), []);
}

/// What is changed on the machine, and the finding that this makes.
type Lack = (&'static str, fn(&Fake), Severity, &'static [&'static str], Option<&'static str>);

#[test]
fn each_thing_that_a_nic_needs_is_missed_by_itself_with_the_command_that_mends_it() {
    use Severity::{Fatal, Warning};
    let lacks: &[Lack] = &[
        (
            "hugepages",
            |fake| {
                fake.write("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "100");
                fake.write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "300");
            },
            Fatal,
            &["hugepages", "200 MiB of hugepages are free and 1024 MiB are needed"],
            Some("echo 712 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
        ),
        (
            "hugepages of the right node",
            |fake| {
                fake.write(&format!("sys/devices/system/node/node0/{PAGES}/free_hugepages"), "0")
            },
            Fatal,
            &["hugepages", "NUMA node 0 has 0 MiB"],
            Some(
                "echo 1110 > /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
            ),
        ),
        (
            "a mounted hugetlbfs",
            |fake| fake.write("proc/self/mounts", "proc /proc proc rw 0 0\n"),
            Fatal,
            &["hugepages", "no hugetlbfs is mounted"],
            Some("mkdir -p /dev/hugepages && mount -t hugetlbfs nodev /dev/hugepages"),
        ),
        (
            "the device",
            |fake| fs::remove_dir_all(fake.root.join(PCI)).unwrap(),
            Fatal,
            &["port lan0", "there is no device 0000:3b:00.0"],
            Some("dpdk-devbind.py --status"),
        ),
        (
            "DPDK's driver",
            |fake| fake.link("/sys/bus/pci/drivers/ixgbe", &format!("{PCI}/driver")),
            Fatal,
            &["port lan0", "bound to the driver ixgbe"],
            Some("dpdk-devbind.py --bind=vfio-pci 0000:3b:00.0"),
        ),
        (
            "an IOMMU",
            |fake| fake.remove(&format!("{PCI}/iommu_group")),
            Fatal,
            &["port lan0", "there is no IOMMU"],
            Some("echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode"),
        ),
        (
            "cores on the NIC's node",
            |fake| fake.write(&format!("{PCI}/numa_node"), "1"),
            Warning,
            &["port lan0", "is on NUMA node 1, and of its cores [1, 2] are not", "node 1: 4-7"],
            Some("lscpu -e"),
        ),
        (
            "a core",
            |fake| fake.write("sys/devices/system/cpu/online", "0-1"),
            Fatal,
            &["cores", "core 2 (`ports[0].cores`) does not exist"],
            Some("lscpu -e"),
        ),
        (
            "isolation",
            |fake| fake.write("sys/devices/system/cpu/isolated", "1"),
            Warning,
            &["cores 2", "other programs", "isolcpus=1,2 nohz_full=1,2"],
            Some("update-grub"),
        ),
        (
            "a core of its own for each loop",
            |fake| fake.write("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1-2"),
            Warning,
            &["cores 1,2", "hyperthreads of one core"],
            Some("lscpu -e=CPU,CORE,NODE"),
        ),
        (
            "a steady frequency",
            |fake| fake.write("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave"),
            Warning,
            &["cores 2", "governed by powersave"],
            Some("cpupower -c 2 frequency-set -g performance"),
        ),
        (
            "locked memory",
            |fake| {
                let line = "Max locked memory         8388608              8388608  bytes\n";
                fake.write("proc/self/limits", line);
            },
            Fatal,
            &["locked memory", "8 MiB may be locked, and 1024 MiB are needed", "LimitMEMLOCK"],
            Some("ulimit -l unlimited"),
        ),
        (
            "memory for the tables",
            |fake| fake.write("proc/meminfo", "MemAvailable: 100000 kB\n"),
            Warning,
            &["tables", "97 MiB are free"],
            None,
        ),
        (
            "SSE4.2",
            |fake| fake.write("proc/cpuinfo", "flags\t\t: fpu sse2\n"),
            Fatal,
            &["cpu", "no SSE4.2"],
            None,
        ),
        (
            "a fast clock",
            |fake| {
                let file = "sys/devices/system/clocksource/clocksource0/current_clocksource";
                fake.write(file, "hpet");
            },
            Warning,
            &["clock", "the kernel's clock is hpet"],
            Some("echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ),
    ];
    for (lack, take, severity, words, command) in lacks {
        let fake = Fake::healthy();
        take(&fake);
        let found = fake.only(NIC);
        assert_eq!(found.severity, *severity, "{lack}: {found:?}");
        for word in *words {
            assert!(found.line().contains(word), "{lack}: '{word}' is not in {}", found.line());
        }
        assert_eq!(found.command(), *command, "{lack}");
    }
}

#[test]
fn each_thing_about_an_interface_of_the_kernel_is_found_by_itself() {
    let lacks: &[Lack] = &[
        (
            "the interface",
            |fake| fs::remove_dir_all(fake.root.join("sys/class/net/eth0")).unwrap(),
            Severity::Fatal,
            &["port lan0", "there is no network interface eth0"],
            Some("ip link"),
        ),
        (
            "a link that is up",
            |fake| fake.write("sys/class/net/eth0/flags", "0x1002"),
            Severity::Warning,
            &["port lan0", "eth0 is down"],
            Some("ip link set eth0 up"),
        ),
        (
            "somebody at the other end",
            |fake| fake.write("sys/class/net/eth0/carrier", "0"),
            Severity::Warning,
            &["port lan0", "eth0 is up and has no carrier"],
            None,
        ),
        (
            "the MTU",
            |fake| fake.write("sys/class/net/eth0/mtu", "1400"),
            Severity::Fatal,
            &["port lan0", "an MTU of 1500 is not possible", "576 to 1400"],
            Some("ip link set eth0 mtu 1500"),
        ),
        (
            "the right to raw frames",
            |fake| fake.write("proc/thread-self/status", "CapEff:\t0000000000000000\n"),
            Severity::Fatal,
            &["port lan0", "needs CAP_NET_RAW"],
            Some("setcap"),
        ),
        (
            "a kernel that keeps out of it",
            |fake| fake.write("proc/sys/net/ipv4/ip_forward", "1"),
            Severity::Warning,
            &["kernel", "net.ipv4.ip_forward=1"],
            Some("sysctl net.ipv4.ip_forward=0"),
        ),
        (
            "a silent IPv6",
            |fake| fake.write("proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0"),
            Severity::Advice,
            &["port lan0", "the kernel speaks IPv6 on eth0"],
            Some("sysctl net.ipv6.conf.eth0.disable_ipv6=1"),
        ),
        (
            "an address of its own",
            |fake| {
                let trie = "Local:\n  |-- 198.18.10.1\n     /32 host LOCAL\n";
                fake.write("proc/net/fib_trie", trie);
            },
            Severity::Warning,
            &["address 198.18.10.1", "the kernel of this machine has it as well", "arp_ignore"],
            Some("ip addr del 198.18.10.1/32 dev IFACE"),
        ),
    ];
    for (lack, take, severity, words, command) in lacks {
        let fake = Fake::healthy();
        take(&fake);
        let found = fake.only(PACKET);
        assert_eq!(found.severity, *severity, "{lack}: {found:?}");
        for word in *words {
            assert!(found.line().contains(word), "{lack}: '{word}' is not in {}", found.line());
        }
        assert_eq!(found.command(), *command, "{lack}");
    }
}

#[test]
fn what_the_configuration_itself_asks_for_is_compared() {
    let fake = Fake::healthy();
    // More cores than the virtual device has queues.
    let found = fake.only(&PACKET.replace("[1]", "[1, 2]"));
    assert_eq!(found.severity, Severity::Fatal);
    assert!(found.line().contains("2 cores and only 1 receive queue"), "{}", found.line());
    assert!(found.mend.contains("qpairs=N"), "{}", found.mend);
    assert_eq!(
        fake.findings(&PACKET.replace("[1]", "[1, 2]").replace("eth0", "eth0,qpairs=2")),
        []
    );
    // Tunnels need room.
    let tunnel = "services: [{ name: web, vip: 198.18.10.80, protocol: tcp, vip_port: 80, \
                  real_servers: [{ address: 198.18.10.11, forwarding: tunnel, \
                  tunnel: { type: gre } }] }]\n";
    let found = fake.only(&format!("{NIC}{tunnel}"));
    assert_eq!(found.severity, Severity::Warning);
    assert!(found.what.contains("leaves 1476 bytes"), "{}", found.what);
    assert!(found.mend.contains("mtu 1524"), "{}", found.mend);
    let wide = NIC.replace("cores:", "mtu: 1524, cores:");
    assert_eq!(fake.findings(&format!("{wide}{tunnel}")), []);
    // The control thread's core.
    let shared =
        format!("{}memory: {{ no_huge: true }}\n", NIC.replace("main_core: 0", "main_core: 1"));
    let found = fake.only(&shared);
    assert!(found.line().contains("core 1: it polls a port and runs the control thread"));
    assert_eq!(found.severity, Severity::Advice, "in a laboratory it is no more than that");
    // The kernel-facing port.
    fake.write("proc/sys/net/ipv4/conf/default/rp_filter", "1");
    let kernel = NIC.replace("cores:", "kernel_port: \"net_tap0,iface=dtap0\", cores:");
    let found = fake.only(&kernel);
    assert!(found.line().contains("rp_filter=1"), "{}", found.line());
    assert_eq!(found.command(), Some("sysctl net.ipv4.conf.all.rp_filter=2"));
    fake.write("proc/sys/net/ipv4/conf/default/rp_filter", "0");
    fake.remove("dev/net/tun");
    assert_eq!(fake.only(&kernel).command(), Some("modprobe tun"));
}

#[test]
fn the_command_compares_with_this_machine_and_a_start_logs_what_is_lacking() {
    let (node, peer) = (Node::new(), Node::new());
    node.wire("eth0", &peer, "peer0");
    node.mute("eth0");
    let home = Home::new();
    let file = home.file();
    let name = file.to_str().unwrap();
    fs::write(&file, home.yaml(&farm::one_port())).unwrap();
    let doctor =
        |more: &[&str]| node.inside(|| director(&[&["doctor", "-c", name], more].concat()));
    let findings = || -> Vec<Value> {
        let ended = doctor(&["--json"]);
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert!(report["needs"]["memory"].is_string(), "{report}");
        report["findings"].as_array().unwrap().clone()
    };
    let of_gro = |all: &[Value]| {
        let about = |one: &&Value| one["what"].as_str().unwrap().contains("eth0 joins");
        all.iter().find(about).cloned()
    };
    assert_eq!(of_gro(&findings()), None);
    let ended = doctor(&[]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("needed\n  memory "), "{}", ended.stdout);

    node.shell("ethtool -K eth0 gro on >/dev/null");
    let found = of_gro(&findings()).expect("GRO is found");
    assert_eq!(found["severity"], "warning");
    assert_eq!(found["command"], "ethtool -K eth0 gro off");
    assert_eq!(doctor(&[]).code(), Some(0), "it would start all the same");
    assert_eq!(doctor(&["--strict"]).code(), Some(1));
    let yaml = fs::read_to_string(&file).unwrap();
    let program = Program::start_as(&node, home, &yaml, &[]);
    program.logs("WARN port lan0: eth0 joins received segments (GRO or LRO)");
    let running = program.ask(&["status"]);
    assert_eq!(running.code(), Some(0));
    assert!(doctor(&[]).stdout.contains("a director runs with this control socket (pid "));
    program.stop();

    // What would stop a start.
    let home = Home::new();
    let file = home.file();
    let diagnosed = |yaml: &str, code, words: &[&str]| {
        fs::write(&file, yaml).unwrap();
        let ended = node.inside(|| director(&["doctor", "-c", file.to_str().unwrap()]));
        assert_eq!(ended.code(), Some(code), "{}", ended.stdout);
        for word in words {
            assert!(ended.stdout.contains(word), "{word} is not in {}", ended.stdout);
        }
    };
    let missing = home.yaml(&farm::port_on("net_af_packet0,iface=eth7", "[1]"));
    diagnosed(&missing, 1, &["FATAL    port lan0: there is no network interface eth7"]);
    peer.ip("link set peer0 down");
    eventually("the kernel knows that the link is down", || {
        node.shell("ip -br link show eth0").contains("NO-CARRIER").then_some(())
    });
    let fine = home.yaml(&farm::one_port());
    let unplugged = "port lan0: eth0 is up and has no carrier";
    diagnosed(&fine, 0, &["WARNING", unplugged]);
    let required = home.yaml(&format!("{}    require_link: true\n", farm::one_port()));
    diagnosed(&required, 1, &["FATAL", unplugged, "require_link is set"]);
    node.ip("link set eth0 down");
    diagnosed(&fine, 0, &["WARNING", "port lan0: eth0 is down", "`ip link set eth0 up`"]);
    node.ip("link set eth0 up");
    diagnosed(
        &format!("{fine}run_as: nobody-knows-him\n"),
        1,
        &["FATAL    run_as: there is no user `nobody-knows-him`", "`useradd --system"],
    );
    let socket = home.control();
    let allow = |names: &str| {
        let socket = socket.replace(" }", &format!(", allow: {{ {names} }} }}"));
        fine.replace(&home.control(), &socket)
    };
    diagnosed(
        &allow("groups: [no-such-group]"),
        1,
        &["FATAL    control.allow.groups: there is no group no-such-group here", "`groupadd"],
    );
    fs::set_permissions(&home.folder, fs::Permissions::from_mode(0o700)).unwrap();
    diagnosed(&allow("users: [daemon]"), 0, &["WARNING  control.allow: nobody else gets into /"]);
    fs::set_permissions(&home.folder, fs::Permissions::from_mode(0o711)).unwrap();
    let taken = node.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    diagnosed(
        &format!("{fine}metrics: {{ address: \"{}\" }}\n", taken.local_addr().unwrap()),
        1,
        &["FATAL    metrics: cannot listen on 127.0.0.1:", "stop the program that listens there"],
    );
    fs::write(home.socket(), "no socket").unwrap();
    diagnosed(&fine, 1, &["FATAL    control socket: ", "is there already and is no socket"]);
    fs::write(&file, "ports: 7\n").unwrap();
    let ended = node.inside(|| director(&["doctor", "-c", file.to_str().unwrap()]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("D0104"), "{}", ended.stderr);
}
