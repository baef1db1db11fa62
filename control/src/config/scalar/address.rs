//! Addresses, networks, masks and MAC addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Reject, fitting, shown};
use crate::config::code::Code;
use crate::config::model::{Cidr, Mac};

/// An IPv4 or IPv6 address without port or prefix.
pub(in crate::config) fn address(text: &str, port_key: &str) -> Result<IpAddr, Reject> {
    let hint = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => format!("write {v4}"),
            None => return Ok(IpAddr::V6(v6)),
        },
        Ok(v4) => return Ok(v4),
        Err(_) => match (text.parse::<SocketAddr>(), text.split_once('/')) {
            (Ok(both), _) => format!("write {} here and `{port_key}: {}`", both.ip(), both.port()),
            (_, Some((address, _))) if address.parse::<IpAddr>().is_ok() => {
                format!("write {address}, without a prefix length")
            }
            _ => "write an address such as 198.18.255.1 or 2001:db8::1".to_owned(),
        },
    };
    Err(Reject::new(Code::BadValue, format!("{} is not an IP address", shown(text)), hint))
}

/// An IPv4 address.
pub(in crate::config) fn v4(text: &str) -> Result<Ipv4Addr, Reject> {
    match address(text, "vip_port")? {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => {
            let what = format!("{text} is not an IPv4 address");
            Err(Reject::new(Code::BadValue, what, "IPv6 has the key `gateway6`"))
        }
    }
}

/// An IPv6 address.
pub(in crate::config) fn v6(text: &str) -> Result<Ipv6Addr, Reject> {
    match address(text, "vip_port")? {
        IpAddr::V6(v6) => Ok(v6),
        IpAddr::V4(_) => {
            let what = format!("{text} is not an IPv6 address");
            Err(Reject::new(Code::BadValue, what, "IPv4 has the key `gateway`"))
        }
    }
}

/// An address with a prefix length, such as `198.18.10.1/24`.
pub(in crate::config) fn cidr(text: &str) -> Result<Cidr, Reject> {
    let Some((before, after)) = text.split_once('/') else {
        let host = address(text, "vip_port")?;
        let what = format!("{text} has no prefix length");
        let hint = if host.is_ipv4() {
            format!("such as {text}/24")
        } else {
            format!("such as {text}/64")
        };
        return Err(Reject::new(Code::BadValue, what, hint));
    };
    let address = address(before, "vip_port")?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match network_mask(after) {
        Ok(prefix) if address.is_ipv4() => prefix,
        Err(reject) if address.is_ipv4() && after.contains('.') => return Err(reject),
        _ => fitting(after, 0..=most)?,
    };
    Cidr::new(address, prefix).ok_or_else(|| {
        let what = format!("{} is not a network", shown(text));
        Reject::new(Code::BadValue, what, format!("the prefix length is 0 to {most}"))
    })
}

/// A network's IPv4 netmask, as its prefix length.
fn network_mask(text: &str) -> Result<u8, Reject> {
    let mask = netmask(text)?.to_bits();
    let ones = mask.leading_ones();
    match u8::try_from(ones) {
        Ok(prefix) if mask.count_ones() == ones => Ok(prefix),
        _ => Err(no_netmask(text, "its ones must stand together, as in 255.255.255.0")),
    }
}

/// An IPv4 netmask such as `255.255.255.0`; its ones may stand apart, as IPVS has it.
pub(in crate::config) fn netmask(text: &str) -> Result<Ipv4Addr, Reject> {
    let hint = "write one such as 255.255.255.0; for IPv6 use `prefix: 64`";
    text.parse().map_err(|_| no_netmask(text, hint))
}

fn no_netmask(text: &str, hint: &str) -> Reject {
    Reject::new(Code::BadValue, format!("{} is not a netmask", shown(text)), hint)
}

/// A MAC address of one station: six bytes in hex with `:` or `-`.
pub(in crate::config) fn mac(text: &str) -> Result<Mac, Reject> {
    let bad = |hint: &str| {
        let what = format!("{} is not the MAC address of a station", shown(text));
        Reject::new(Code::BadValue, what, hint)
    };
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| matches!(part.len(), 1 | 2)).unwrap_or("x");
        *byte = u8::from_str_radix(part, 16)
            .map_err(|_| bad("write six bytes in hex, such as 02:00:00:00:00:01"))?;
    }
    if parts.next().is_some() {
        return Err(bad("write six bytes in hex, such as 02:00:00:00:00:01"));
    }
    Mac::new(bytes).ok_or_else(|| bad("group addresses and the zero address are no stations"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_port_is_told_where_the_port_goes() {
        assert_eq!(
            address("198.18.0.1:80", "real_port").unwrap_err().hint,
            "write 198.18.0.1 here and `real_port: 80`"
        );
        assert_eq!(
            address("10.0.0.1/24", "x").unwrap_err().hint,
            "write 10.0.0.1, without a prefix length"
        );
        assert_eq!(address("::ffff:198.18.0.1", "x").unwrap_err().hint, "write 198.18.0.1");
        assert!(address("198.18.0.01", "x").is_err());
    }

    #[test]
    fn networks_take_a_prefix_length_or_a_netmask() {
        assert_eq!(cidr("198.18.0.1/24").unwrap(), cidr("198.18.0.1/255.255.255.0").unwrap());
        assert_eq!(cidr("198.18.0.1").unwrap_err().hint, "such as 198.18.0.1/24");
        assert_eq!(cidr("2001:db8::1/129").unwrap_err().code, Code::OutOfRange);
        assert_eq!(cidr("198.18.0.1/0.0.0.0").unwrap(), cidr("198.18.0.1/0").unwrap());
        let apart = cidr("198.18.0.1/255.0.255.0").unwrap_err();
        assert_eq!(apart.hint, "its ones must stand together, as in 255.255.255.0");
    }

    #[test]
    fn a_netmask_may_have_holes() {
        assert_eq!(netmask("255.0.255.0"), Ok(Ipv4Addr::new(255, 0, 255, 0)));
        assert_eq!(netmask("24").unwrap_err().code, Code::BadValue);
    }

    #[test]
    fn macs_have_six_bytes() {
        assert_eq!(mac("02:00:00:00:00:0A").unwrap().to_string(), "02:00:00:00:00:0a");
        assert_eq!(mac("12-34-56-12-34-56").unwrap().bytes()[0], 0x12);
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:xx", "1:2"] {
            assert!(mac(bad).is_err(), "{bad}");
        }
        assert!(mac("01:00:5e:00:00:01").is_err());
    }
}
