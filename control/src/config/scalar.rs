//! What the text of a scalar means: numbers, times, addresses, devices.
//!
//! Every function takes the text as written and gives the value or says what is wrong.

mod address;
mod device;
mod number;
mod vip_port;

use super::code::Code;

pub(super) use address::{address, cidr, mac, netmask, v4, v6};
pub(super) use device::{MAX_CORE, cores, device, vdev};
pub(super) use number::{count, fitting, millis, number, seconds};
pub(super) use vip_port::{port, vip_ports};

/// Why a text was not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) code: Code,
    pub(super) what: String,
    pub(super) hint: String,
}

impl Reject {
    pub(super) fn new(code: Code, what: String, hint: impl Into<String>) -> Self {
        Self { code, what, hint: hint.into() }
    }
}

/// Text for a message: on one line, without control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("`{}`", short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

/// `true` or `false`, as YAML 1.2 has them.
pub(super) fn boolean(text: &str) -> Result<bool, Reject> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => {
            let hint = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "1" | "y" => "write true",
                "no" | "off" | "0" | "n" => "write false",
                _ => "write true or false",
            };
            let what = format!("{} is neither true nor false", shown(text));
            Err(Reject::new(Code::BadValue, what, hint))
        }
    }
}

/// A name that can stand in a command line, a listing and a metric label.
pub(super) fn name(text: &str, also: &str, most: usize) -> Result<String, Reject> {
    if text.len() > most {
        let what = format!("{} has more than {most} characters", shown(text));
        return Err(Reject::new(Code::OutOfRange, what, "use a shorter name"));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c) || also.contains(c);
    if text.is_empty() || !text.chars().all(fine) {
        let what = format!("{} is no name", shown(text));
        let also: String = also.chars().flat_map(|c| [' ', c]).collect();
        let hint = format!("use letters, digits and _ - .{also}");
        return Err(Reject::new(Code::BadValue, what, hint));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_paint_the_terminal() {
        assert_eq!(shown("\u{1b}[2J"), "`\\u{1b}[2J`");
        assert_eq!(shown(&"x".repeat(61)), format!("`{}...`", "x".repeat(60)));
    }
}
