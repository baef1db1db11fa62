//! `control.allow`: lists of users and groups.

use crate::config::code::Code;
use crate::config::fields::{Fields, Given, scalar as read_scalar};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::Allow;
use crate::config::path::Path;
use crate::config::scalar::{Reject, shown};

/// Users, and groups, at the most.
const MOST: usize = 64;

/// The section under `control`, or nobody.
pub(super) fn allow(control: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Allow {
    let root = Path::Root.key("control");
    let path = root.key("allow");
    let fields = control
        .find("allow")
        .good()
        .and_then(|node| Fields::open(node, &path, &keys::ALLOW, findings));
    let Some(fields) = fields else { return Allow::default() };
    Allow {
        users: names(&fields, "users", &path, findings),
        groups: names(&fields, "groups", &path, findings),
    }
}

fn names(
    fields: &Fields<'_, '_>,
    key: &'static str,
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    let Given::Good(items) = fields.list(key, findings) else { return Vec::new() };
    let path = path.key(key);
    if items.len() > MOST {
        let what = format!("{} names are more than {MOST}", items.len());
        findings.value(Code::OutOfRange, &path, what, "make a group for them");
        return Vec::new();
    }
    let read = |(index, node)| read_scalar(node, &path.item(index), findings, name).good();
    items.iter().enumerate().filter_map(read).collect()
}

/// A name as useradd(8) and groupadd(8) take it, or a number.
fn name(text: &str) -> Result<String, Reject> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-.$".contains(c);
    if text.is_empty() || text.len() > 32 || text.starts_with('-') || !text.chars().all(fine) {
        let what = format!("{} is no name of a user or group", shown(text));
        return Err(Reject::new(Code::BadValue, what, "such as director-ops"));
    }
    Ok(text.to_owned())
}
