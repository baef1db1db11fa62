//! `run_as` as written.

use crate::config::code::Code;
use crate::config::fields::{Fields, Given};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::RunAs;
use crate::config::path::Path;
use crate::config::scalar::{Reject, shown};
use crate::config::tree::Value;

pub(super) fn run_as(file: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<RunAs> {
    let path = Path::Root.key("run_as");
    let Given::Good(node) = file.find("run_as") else { return None };
    if !matches!(&node.value, Value::Map(_) | Value::List(_)) {
        // The short form: `run_as: director`.
        let user = file.read("run_as", findings, account).good()?;
        return Some(RunAs { user, group: None });
    }
    let fields = Fields::open(node, &path, &keys::RUN_AS, findings)?;
    fields.require("user", "such as `user: director`", findings);
    let group = fields.read("group", findings, account).good();
    Some(RunAs { user: fields.read("user", findings, account).good()?, group })
}

/// The name of a user or group, as `useradd` makes them.
fn account(text: &str) -> Result<String, Reject> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if begins && text.len() <= 32 && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    let what = format!("{} is not the name of a user or group", shown(text));
    let hint = "small letters, digits, `_` and `-`, at most 32, a letter first: director";
    Err(Reject::new(Code::BadValue, what, hint))
}
