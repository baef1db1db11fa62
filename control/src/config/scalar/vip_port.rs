//! TCP, UDP and SCTP ports.

use std::num::NonZeroU16;

use super::{Reject, fitting, number, shown};
use crate::config::code::Code;
use crate::config::model::VipPorts;

/// A TCP, UDP or SCTP port.
pub(in crate::config) fn port(text: &str) -> Result<NonZeroU16, Reject> {
    let port: u16 = fitting(text, 1..=65_535)?;
    NonZeroU16::new(port).ok_or_else(|| {
        Reject::new(Code::OutOfRange, "0 is no port".to_owned(), "allowed: 1 to 65535")
    })
}

/// `443`, `8000-8010` or `0`.
pub(in crate::config) fn vip_ports(text: &str) -> Result<VipPorts, Reject> {
    let plainly = |mut reject: Reject| {
        if reject.code == Code::BadValue {
            reject.what = format!("{} is not a port", shown(text));
            reject.hint = "write a port (443), a range (8000-8010) or 0 for all".to_owned();
        }
        reject
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) if !first.is_empty() => (first.trim(), last.trim()),
        _ => {
            return match number(text, 0..=65_535).map_err(plainly)? {
                0 => Ok(VipPorts::All),
                _ => port(text).map(VipPorts::One),
            };
        }
    };
    let (first, last) = (port(first).map_err(plainly)?, port(last).map_err(plainly)?);
    if first < last {
        return Ok(VipPorts::Range(first, last));
    }
    let what = format!("{} is not a range of ports", shown(text));
    let hint =
        if first == last { format!("write {first}") } else { format!("write {last}-{first}") };
    Err(Reject::new(Code::BadValue, what, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_all_are_told_apart() {
        assert_eq!(vip_ports("443").unwrap().to_string(), "443");
        assert_eq!(vip_ports("8000-8010").unwrap().numbers(), 8000..=8010);
        assert_eq!(vip_ports("0").unwrap(), VipPorts::All);
        assert_eq!(vip_ports("9-8").unwrap_err().hint, "write 8-9");
        assert_eq!(vip_ports("8-8").unwrap_err().hint, "write 8");
        assert_eq!(vip_ports("65536").unwrap_err().code, Code::OutOfRange);
        assert_eq!(vip_ports("https").unwrap_err().what, "`https` is not a port");
        assert!(vip_ports("0-5").is_err());
    }
}
