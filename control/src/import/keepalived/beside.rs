//! What keepalived does besides balancing.

use super::super::draft::Draft;
use super::checks::CHECKER;
use super::origin;
use super::tree::Node;

/// What `global_defs` says that concerns virtual servers.
pub(super) struct Global {
    /// `nftables_ipvs`: a group is one service by a mark that keepalived gives it.
    pub(super) marks_groups: bool,
    /// The first of those marks.
    pub(super) first_mark: u32,
}

/// Reads `global_defs`; what concerns keepalived itself is noted.
pub(super) fn global(file: usize, nodes: &[Node], draft: &mut Draft) -> Global {
    let mut global = Global { marks_groups: false, first_mark: 1_000 };
    for node in nodes.iter().filter(|node| node.key() == "global_defs") {
        let mut others = Vec::new();
        for one in &node.children {
            match one.key() {
                "nftables_ipvs" => global.marks_groups = true,
                "nftables_ipvs_start_fwmark" => {
                    if let Some(mark) = one.value(0).and_then(|text| text.parse().ok()) {
                        global.first_mark = mark;
                    }
                }
                "nftables_ipvs_priority" | "lvs_flush" | "lvs_flush_on_stop" => {}
                "lvs_timeouts" => timeouts(file, one, draft),
                "lvs_sync_daemon" => {
                    let why = "Director does not speak IPVS's synchronisation protocol";
                    draft.notes.add(origin(file, one), one.shown(), why, "leave it out");
                }
                _ => others.push(one.key()),
            }
        }
        if !others.is_empty() {
            let what = format!("global_defs: {}", others.join(", "));
            let why = "it concerns keepalived itself";
            draft.notes.add(origin(file, node), what, why, "keep it where keepalived still runs");
        }
    }
    global
}

/// The longest timeout of IPVS and Director: 31 days.
const LONGEST_S: u32 = 2_678_400;

/// `lvs_timeouts [tcp N] [tcpfin N] [udp N]`.
fn timeouts(file: usize, node: &Node, draft: &mut Draft) {
    let mut words = node.values();
    while let Some(name) = words.next() {
        let place = match name {
            "tcp" => 0,
            "tcpfin" => 1,
            "udp" => 2,
            _ => 3,
        };
        let value = words.next();
        let seconds = value.and_then(|text| text.parse().ok());
        match (draft.timeouts_s.get_mut(place), seconds) {
            (Some(place), Some(seconds @ 1..=LONGEST_S)) => *place = seconds,
            _ => {
                let why = "it is not a timeout from 1 s to 31 days";
                draft.notes.add(
                    origin(file, node),
                    [name, value.unwrap_or_default()].join(" ").trim_end(),
                    why,
                    "write it into `timeouts`",
                );
            }
        }
    }
}

/// Notes a statement outside of virtual servers.
pub(super) fn note(file: usize, node: &Node, draft: &mut Draft) {
    // Of blocks only what they are: they stay in their file, and may hold passwords.
    let shown = node.words.joined();
    let (what, why, hint) = match node.key() {
        "vrrp_instance" => (
            instance(node),
            "Director does not speak VRRP",
            "let keepalived go on running VRRP beside Director, without its virtual servers",
        ),
        key if key.starts_with("vrrp") || key.starts_with("bfd") || key.starts_with("track_") => (
            shown,
            "Director does not speak VRRP",
            "let keepalived go on running VRRP beside Director",
        ),
        "static_ipaddress"
        | "static_routes"
        | "static_rules"
        | "static_track_group"
        | "interface_up_down_delays"
        | "linkbeat_interfaces"
        | "garp_group" => (
            shown,
            "it sets up the kernel's network, not the balancing",
            "let the system's network configuration do it; Director's own addresses and routes \
             are in `ports`",
        ),
        "include" | "includer" | "includem" | "includew" | "includeb" | "includea" => (
            shown,
            "included files are not opened",
            "put the file's text in the place of this line and import again",
        ),
        "SSL" => (shown, "Director does not check real servers' health itself", CHECKER),
        _ => (
            shown,
            "it is not part of a virtual server",
            "leave it out, or keep it where keepalived still runs",
        ),
    };
    draft.notes.add(origin(file, node), what, why, hint);
}

/// What has to keep moving between directors.
fn instance(node: &Node) -> String {
    let one = |key: &'static str| node.children.iter().filter(move |one| one.key() == key);
    let mut parts: Vec<String> =
        one("interface").chain(one("virtual_router_id")).map(Node::shown).collect();
    let blocks = node.children.iter().filter(|one| one.key().starts_with("virtual_ipaddress"));
    let addresses: Vec<String> = blocks.flat_map(|one| &one.children).map(Node::shown).collect();
    if !addresses.is_empty() {
        parts.push(format!("virtual addresses {}", addresses.join(", ")));
    }
    format!("{} ({})", node.words.joined(), parts.join("; "))
}
