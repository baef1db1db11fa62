//! A network namespace without a name: it goes when the last process and socket in it go,
//! also when the test is killed.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

/// A network namespace.
pub struct Node {
    namespace: File,
}

impl Node {
    /// A new one, with `lo` up and an IPv6 that does not wait for duplicates.
    pub fn new() -> Self {
        let namespace = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: no pointers; changes only this thread, which ends here.
                let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
                let error = std::io::Error::last_os_error();
                assert_eq!(answer, 0, "a network namespace needs root: {error}");
                File::open("/proc/thread-self/ns/net").unwrap()
            });
            made.join().unwrap()
        });
        let node = Self { namespace };
        node.set("ipv6/conf/all/accept_dad", "0");
        node.set("ipv6/conf/default/accept_dad", "0");
        node.set("ipv6/conf/default/accept_ra", "0");
        node.set("ipv4/conf/all/rp_filter", "0");
        node.set("ipv4/conf/default/rp_filter", "0");
        node.ip("link set lo up");
        node
    }

    /// Does something on a thread inside. Sockets that are made and programs that are
    /// started there stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let working = scope.spawn(|| {
                // SAFETY: an open descriptor of a namespace; changes only this thread.
                let answer = unsafe { libc::setns(self.namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
                work()
            });
            working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Where `ip link ... netns` finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }

    /// Runs a command line, which must succeed.
    pub fn shell(&self, line: &str) -> String {
        let output = self.inside(|| Command::new("sh").args(["-ec", line]).output().unwrap());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs commands of `ip`, one a line.
    pub fn ip(&self, lines: &str) {
        self.shell(&format!("ip -batch - <<'END'\n{lines}\nEND"));
    }

    /// Sets a key below `/proc/sys/net`.
    pub fn set(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/net/{key}");
        self.inside(|| std::fs::write(&path, value).unwrap());
    }

    /// A wire from an interface here to one of another node, both up. No frame may leave
    /// unfinished (without checksum, or several in one): a poll-mode port would see it so.
    pub fn wire(&self, here: &str, there: &Node, name: &str) {
        self.ip(&format!(
            "link add name {here} type veth peer name {name} netns {}\nlink set dev {here} up",
            there.path()
        ));
        there.ip(&format!("link set dev {name} up"));
        for (node, interface) in [(self, here), (there, name)] {
            node.shell(&format!(
                "ethtool -K {interface} rx off tx off sg off tso off gso off gro off \
                 rxvlan off txvlan off >/dev/null"
            ));
        }
    }

    /// Keeps the node's kernel out of an interface that a director has: no IPv6 of its own.
    pub fn mute(&self, interface: &str) {
        self.set(&format!("ipv6/conf/{interface}/disable_ipv6"), "1");
    }

    /// The MAC address of an interface.
    pub fn mac(&self, interface: &str) -> [u8; 6] {
        let told = self.shell(&format!("ip -br link show {interface}"));
        let word = told.split_whitespace().nth(2).unwrap();
        let mut mac = [0; 6];
        for (byte, text) in mac.iter_mut().zip(word.split(':')) {
            *byte = u8::from_str_radix(text, 16).unwrap();
        }
        mac
    }
}

/// A MAC address as it is written.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
