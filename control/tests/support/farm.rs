//! A LAN with everything that direct routing needs: a director's port, clients, and real
//! servers that have the VIPs on `lo` and keep quiet about them.

use super::node::Node;

/// The director's own address.
pub const DIRECTOR: &str = "198.18.10.1";
/// Its IPv6 address.
pub const DIRECTOR6: &str = "2001:db8::10:1";
/// The VIPs that every real server has.
pub const VIPS: [&str; 3] = ["198.18.255.1", "198.18.255.2", "198.18.255.3"];
/// The IPv6 VIP that every real server has.
pub const VIP6: &str = "2001:db8::255:1";
/// The client's first address; all of 198.18.64.0/18 is its own as well.
pub const CLIENT: &str = "198.18.0.1";
/// The client's IPv6 address.
pub const CLIENT6: &str = "2001:db8::1";

/// The LAN. The switch's interface `d` is the other end of the director's `eth0`.
pub struct Farm {
    pub switch: Node,
    pub director: Node,
    pub client: Node,
    pub servers: Vec<Node>,
}

impl Farm {
    /// A LAN with so many real servers (`rs1` and on).
    pub fn new(servers: usize) -> Self {
        let farm = Self {
            switch: Node::new(),
            director: Node::new(),
            client: Node::new(),
            servers: (0..servers).map(|_| Node::new()).collect(),
        };
        farm.switch.ip("link add lan type bridge stp_state 0 forward_delay 0 mcast_snooping 0");
        farm.switch.mute("lan");
        farm.switch.ip("link set lan up");
        farm.plug("d", &farm.director, "eth0");
        farm.director.mute("eth0");
        farm.plug("c", &farm.client, "eth0");
        farm.client.ip(&format!(
            "addr add {CLIENT}/16 dev eth0\naddr add {CLIENT6}/64 dev eth0 nodad\n\
             route add local 198.18.64.0/18 dev lo"
        ));
        for (index, server) in farm.servers.iter().enumerate() {
            farm.plug(&format!("s{}", index + 1), server, "eth0");
            settle_server(server, index);
        }
        farm
    }

    /// Joins a node's new interface to the LAN.
    pub fn plug(&self, port: &str, node: &Node, interface: &str) {
        self.switch.wire(port, node, interface);
        self.switch.mute(port);
        self.switch.ip(&format!("link set dev {port} master lan"));
    }
}

/// The address of real server `index` (0 is `rs1`).
pub fn rip(index: usize) -> String {
    format!("198.18.10.{}", 11 + index)
}

/// Its IPv6 address.
pub fn rip6(index: usize) -> String {
    format!("2001:db8::10:{}", 11 + index)
}

/// The name that the servers on real server `index` answer with.
pub fn name(index: usize) -> String {
    format!("rs{}", index + 1)
}

fn settle_server(node: &Node, index: usize) {
    for interface in ["all", "eth0"] {
        node.set(&format!("ipv4/conf/{interface}/arp_ignore"), "1");
        node.set(&format!("ipv4/conf/{interface}/arp_announce"), "2");
    }
    let mut lines = format!(
        "addr add {}/16 dev eth0\naddr add {}/64 dev eth0 nodad\n\
         addr add {VIP6}/128 dev lo nodad\n",
        rip(index),
        rip6(index)
    );
    for vip in VIPS {
        lines += &format!("addr add {vip}/32 dev lo\n");
    }
    node.ip(&lines);
}

/// The lines of `real_servers` for real servers `0..count`.
pub fn reals(count: usize) -> String {
    (0..count).map(|index| format!("      - {{ address: {} }}\n", rip(index))).collect()
}

/// The same for IPv6.
pub fn reals6(count: usize) -> String {
    (0..count).map(|index| format!("      - {{ address: \"{}\" }}\n", rip6(index))).collect()
}

/// A `ports` section: one port on `eth0` with the director's addresses, core 1.
pub fn one_port() -> String {
    port_on("net_af_packet0,iface=eth0", "[1]")
}

/// A `ports` section: one port on this device, with the director's addresses.
pub fn port_on(device: &str, cores: &str) -> String {
    format!(
        "ports:\n  - name: lan0\n    device: \"{device}\"\n    cores: {cores}\n    \
         addresses: [{DIRECTOR}/16, \"{DIRECTOR6}/64\"]\n"
    )
}
