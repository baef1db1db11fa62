//! `keepalived.conf`: its virtual servers become services; what keepalived does besides (VRRP,
//! health checks, mails) is noted.

mod beside;
mod checks;
mod group;
mod method;
mod real_server;
mod text;
mod tree;
mod virtual_server;

use crate::ipvsadm::Names;

use super::draft::{Draft, Origin};
use tree::Node;

/// Reads a whole file. `config_id` decides about lines that begin with `@`.
pub(super) fn read(
    file: usize,
    text: &str,
    names: &Names,
    config_id: Option<&str>,
    draft: &mut Draft,
) {
    let mut tree = tree::Builder::new(file);
    text::each(file, text, config_id, &mut draft.notes, |number, line, notes| {
        tree.line(number, line, notes);
    });
    let nodes = tree.finish(&mut draft.notes);
    let global = beside::global(file, &nodes, draft);
    let groups = group::read_all(file, &nodes, names, draft);
    let (mut marks, mut expanded) = (global.first_mark, 0);
    let used = group::used(&nodes);
    // Each is given up once it is read: the largest file is not held twice.
    for node in nodes {
        match node.key() {
            "virtual_server" => {
                let reading = virtual_server::Reading { file, names, groups: &groups };
                reading.read(&node, global.marks_groups, &mut marks, &mut expanded, draft);
            }
            "virtual_server_group" => group::note_unused(file, &node, &used, draft),
            "global_defs" => {}
            _ => beside::note(file, &node, draft),
        }
    }
}

/// A node's place.
fn origin(file: usize, node: &Node) -> Origin {
    Origin::new(file, node.line as usize)
}
