//! What the port tests need: a process of one's own (DPDK starts once per process), a
//! network namespace, and turns that echo.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(dead_code, reason = "every test file uses a part of this")]

pub mod wire;

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::Duration;

use dataplane::port::{Burst, Frame, Port};
use nic::{
    MbufFrame, Memory, Nic, NicConfig, NicError, NicHandle, PortConfig, Queue, Totals, Turn, TurnFn,
};

const ISOLATED: &str = "NIC_TEST_ISOLATED";

/// Runs `body` in a process of its own: this test, started again.
pub fn isolated(test: &str, body: impl FnOnce()) {
    isolated_by(&[], test, body);
}

/// Whether this is the process that [`isolated`] started for this test.
pub fn is_isolated(test: &str) -> bool {
    std::env::var(ISOLATED).as_deref() == Ok(test)
}

/// The same, started by way of another program (`unshare`, `setpriv`).
pub fn isolated_by(starter: &[&str], test: &str, body: impl FnOnce()) {
    if is_isolated(test) {
        return body();
    }
    let exe = std::env::current_exe().unwrap();
    let words = starter.iter().map(OsStr::new).chain([exe.as_os_str()]).collect::<Vec<_>>();
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ISOLATED, test)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains("1 passed"), "{test} did not run: {stdout}");
    let chatter =
        ["EAL:", "libbpf:", "libxdp:"].iter().any(|c| (stdout.clone() + &stderr).contains(c));
    assert!(!chatter, "DPDK printed to the terminal: {stdout}{stderr}");
}

/// How a process that was started by [`again`] ended.
pub struct Ended(Output);

impl Ended {
    /// Panics with what it printed unless it succeeded.
    pub fn success(self) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&self.0.stdout), text(&self.0.stderr));
        assert!(self.0.status.success(), "the second process:\n{stdout}\n{stderr}");
        assert!(stdout.contains("1 passed"), "the second process did not run: {stdout}");
    }
}

/// Runs this process's test once more with a variable set.
pub fn again(variable: &str) -> Ended {
    again_with(variable, "1")
}

/// Runs this process's test once more with a variable set to a value.
pub fn again_with(variable: &str, value: &str) -> Ended {
    let exe = std::env::current_exe().unwrap();
    let arguments = std::env::args().skip(1);
    Ended(Command::new(exe).args(arguments).env(variable, value).output().unwrap())
}

/// A new network namespace for this thread and those it starts.
pub fn own_network() {
    // SAFETY: no pointers; changes only this thread's namespace.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    shell("ip link set lo up");
}

/// Runs a command line, which must succeed.
pub fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A veth pair in the own namespace, both ends up, without IPv6's own chatter.
pub fn veth(here: &str, there: &str) {
    shell(&format!("ip link add {here} type veth peer name {there}"));
    for end in [here, there] {
        shell(&format!("sysctl -qw net.ipv6.conf.{end}.disable_ipv6=1"));
        shell(&format!("ip link set {end} up"));
    }
}

/// A configuration without hugepages: main core 0, these ports.
pub fn config(prefix: &str, ports: Vec<PortConfig>) -> NicConfig {
    NicConfig {
        memory: Memory {
            no_huge: true,
            mib: 256,
            file_prefix: format!("nic-test-{prefix}-{}", std::process::id()),
        },
        main_core: 0,
        mbufs: 16_383,
        mbuf_cache: 128,
        ports,
    }
}

/// The sentence of the error that opening ends with.
pub fn refusal(config: &NicConfig) -> (NicError, String) {
    let error = nic::open(config).expect_err("the ports were opened");
    let sentence = error.to_string();
    assert!(sentence.is_ascii() && !sentence.contains('\n'), "{sentence:?}");
    (error, sentence)
}

/// Turns that send every frame back where it came from, until the handle says stop.
pub fn echo(mut queue: Queue) -> TurnFn {
    let mut burst = Burst::<MbufFrame>::new();
    Box::new(move || {
        queue.rx(&mut burst);
        for frame in &mut burst {
            swap_macs(frame.bytes_mut());
        }
        queue.tx(&mut burst);
        assert!(burst.is_empty(), "the port refused frames");
        Turn::Continue
    })
}

/// Runs an echo on core 1 of a port while `talk` runs on a thread of its own; ends the ports
/// when that ends, however it does.
pub fn converse(nic: Nic, talk: impl FnOnce() + Send + 'static) -> Totals {
    let totals = converse_and_lose(nic, talk);
    assert_eq!(totals.mbufs_held, 0, "mbufs are lost");
    totals
}

/// The same, for a driver that does not give back all mbufs when it is closed.
pub fn converse_and_lose(mut nic: Nic, talk: impl FnOnce() + Send + 'static) -> Totals {
    struct StopAtTheEnd(NicHandle);
    impl Drop for StopAtTheEnd {
        fn drop(&mut self) {
            self.0.stop();
        }
    }
    let turn = echo(only_queue(&mut nic, 1));
    let handle = nic.handle();
    let talking = std::thread::spawn(move || {
        while !handle.is_running() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _stop = StopAtTheEnd(handle);
        talk();
    });
    let totals = nic.run(vec![(1, turn)]).unwrap();
    talking.join().unwrap();
    totals
}

pub fn swap_macs(frame: &mut [u8]) {
    if frame.len() >= 12 {
        let (to, from) = frame.split_at_mut(6);
        to.swap_with_slice(&mut from[..6]);
    }
}

/// The only queue of the only port.
pub fn only_queue(nic: &mut Nic, core: usize) -> Queue {
    let mut queues = nic.take_queues(core).unwrap();
    assert_eq!(queues.len(), 1);
    queues.remove(0)
}

/// A frame of `len` bytes whose content depends on `n`.
pub fn pattern(n: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x88, 0xB5];
    frame.extend((14..len).map(|i| n.wrapping_mul(31).wrapping_add(i as u8)));
    frame
}
