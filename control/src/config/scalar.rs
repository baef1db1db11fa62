//! What the text of a scalar means: numbers, times, addresses, devices.
//!
//! Every function takes the text as written and gives the value or says what is wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use super::code::Code;
use super::model::{Cidr, CoreId, Device, Mac, PciAddress, VipPorts};

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

/// The highest CPU number that is accepted.
pub(super) const MAX_CORE: u64 = 1_023;

/// Text for a message: on one line, without control characters, not endless.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("`{}`", short.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

/// A whole number without sign, leading zero or separator.
pub(super) fn number(text: &str, range: RangeInclusive<u64>) -> Result<u64, Reject> {
    let allowed = format!("allowed: {} to {}", range.start(), range.end());
    let digits = text.strip_prefix('-').unwrap_or(text);
    let bad = |hint: String| {
        Reject::new(Code::BadValue, format!("{} is not a whole number", shown(text)), hint)
    };
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
        && let Ok(value) = u64::from_str_radix(hex, 16)
    {
        return Err(bad(format!("write {value}")));
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad(allowed));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(bad(format!("leave out the leading zeros; {allowed}")));
    }
    let outside = |than: &str, bound: &u64| {
        Reject::new(Code::OutOfRange, format!("{text} is {than} {bound}"), allowed.clone())
    };
    if text.starts_with('-') && digits != "0" {
        return Err(outside("below", range.start()));
    }
    match digits.parse::<u64>() {
        Ok(value) if value < *range.start() => Err(outside("below", range.start())),
        Ok(value) if range.contains(&value) => Ok(value),
        Ok(_) => Err(outside("above", range.end())),
        Err(_) => {
            let what = format!("{} is above {}", shown(text), range.end());
            Err(Reject::new(Code::OutOfRange, what, allowed))
        }
    }
}

/// A number as the type of the field it is for; the range keeps it fitting.
pub(super) fn fitting<T: TryFrom<u64>>(
    text: &str,
    range: RangeInclusive<u64>,
) -> Result<T, Reject> {
    let value = number(text, range)?;
    T::try_from(value).map_err(|_| {
        let what = format!("{value} is too large");
        Reject::new(Code::OutOfRange, what, "use a smaller number")
    })
}

/// A count with `k` (thousand) or `M` (million) if wanted.
pub(super) fn count(text: &str, range: RangeInclusive<u64>) -> Result<u32, Reject> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at).unwrap_or_default(), 1_000),
        Some((at, 'M' | 'm')) => (text.get(..at).unwrap_or_default(), 1_000_000),
        _ => (text, 1),
    };
    if unit == 1 {
        return fitting(text, range);
    }
    let value = number(digits, 0..=u64::from(u32::MAX)).map_err(|_| {
        let what = format!("{} is not a count", shown(text));
        Reject::new(Code::BadValue, what, "write a number, such as 65536, 500k or 2M")
    })?;
    fitting(&value.saturating_mul(unit).to_string(), range)
}

/// A time in milliseconds: `30` and `30s` are seconds, also `500ms`, `15m`, `2h`, `1d`.
pub(super) fn millis(text: &str, range_ms: RangeInclusive<u64>) -> Result<u64, Reject> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let value = digits.parse::<u64>().ok().filter(|_| digits.len() == 1 || !text.starts_with('0'));
    let (Some(value), 1..) = (value, unit_ms) else {
        let what = format!("{} is not a time", shown(text));
        let hint = "write seconds, or a number with ms, s, m, h or d, such as 360, 15m or 1h";
        return Err(Reject::new(Code::BadValue, what, hint));
    };
    let value = value.saturating_mul(unit_ms);
    if range_ms.contains(&value) {
        return Ok(value);
    }
    let (than, bound) = if value < *range_ms.start() {
        ("below", *range_ms.start())
    } else {
        ("above", *range_ms.end())
    };
    let what = format!("{} is {than} {}", shown(text), time(bound));
    let allowed = format!("allowed: {} to {}", time(*range_ms.start()), time(*range_ms.end()));
    Err(Reject::new(Code::OutOfRange, what, allowed))
}

/// A time in whole seconds.
pub(super) fn seconds(text: &str, range_s: RangeInclusive<u64>) -> Result<u32, Reject> {
    let range_ms = range_s.start().saturating_mul(1_000)..=range_s.end().saturating_mul(1_000);
    let value = millis(text, range_ms)?;
    match u32::try_from(value / 1_000) {
        Ok(whole) if value.is_multiple_of(1_000) => Ok(whole),
        _ => {
            let what = format!("{} is not a whole number of seconds", shown(text));
            Err(Reject::new(Code::BadValue, what, "leave out the part of a second"))
        }
    }
}

/// A bound of a time as a person writes it.
fn time(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{} s", ms / 1_000) } else { format!("{ms} ms") }
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

/// An IPv4 or IPv6 address without port or prefix.
pub(super) fn address(text: &str, port_key: &str) -> Result<IpAddr, Reject> {
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
pub(super) fn v4(text: &str) -> Result<Ipv4Addr, Reject> {
    match address(text, "vip_port")? {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(_) => {
            let what = format!("{text} is not an IPv4 address");
            Err(Reject::new(Code::BadValue, what, "IPv6 has the key `gateway6`"))
        }
    }
}

/// An IPv6 address.
pub(super) fn v6(text: &str) -> Result<Ipv6Addr, Reject> {
    match address(text, "vip_port")? {
        IpAddr::V6(v6) => Ok(v6),
        IpAddr::V4(_) => {
            let what = format!("{text} is not an IPv6 address");
            Err(Reject::new(Code::BadValue, what, "IPv4 has the key `gateway`"))
        }
    }
}

/// An address with a prefix length, such as `198.18.10.1/24`.
pub(super) fn cidr(text: &str) -> Result<Cidr, Reject> {
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
    let prefix = match netmask(after) {
        Ok(prefix) if address.is_ipv4() => prefix,
        Err(reject) if address.is_ipv4() && after.contains('.') => return Err(reject),
        _ => fitting(after, 0..=most)?,
    };
    Cidr::new(address, prefix).ok_or_else(|| {
        let what = format!("{} is not a network", shown(text));
        Reject::new(Code::BadValue, what, format!("the prefix length is 0 to {most}"))
    })
}

/// An IPv4 netmask such as `255.255.255.0`, as its prefix length.
pub(super) fn netmask(text: &str) -> Result<u8, Reject> {
    let bad = |hint: &str| {
        Err(Reject::new(Code::BadValue, format!("{} is not a netmask", shown(text)), hint))
    };
    let Ok(mask) = text.parse::<Ipv4Addr>().map(u32::from) else {
        return bad("write one such as 255.255.255.0; for IPv6 use `prefix: 64`");
    };
    let ones = mask.leading_ones();
    if mask.count_ones() != ones {
        return bad("its ones must stand together, as in 255.255.255.0");
    }
    u8::try_from(ones).or_else(|_| bad("write one such as 255.255.255.0"))
}

/// A MAC address of one station: six bytes in hex with `:` or `-`.
pub(super) fn mac(text: &str) -> Result<Mac, Reject> {
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

/// A TCP, UDP or SCTP port.
pub(super) fn port(text: &str) -> Result<NonZeroU16, Reject> {
    let port: u16 = fitting(text, 1..=65_535)?;
    NonZeroU16::new(port).ok_or_else(|| {
        Reject::new(Code::OutOfRange, "0 is no port".to_owned(), "allowed: 1 to 65535")
    })
}

/// `443`, `8000-8010` or `0`.
pub(super) fn vip_ports(text: &str) -> Result<VipPorts, Reject> {
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

/// CPUs as Linux lists them: `1`, `1-3` or `1-3,7`.
pub(super) fn cores(text: &str) -> Result<Vec<CoreId>, Reject> {
    let one = |text: &str| -> Result<u16, Reject> { fitting(text.trim(), 0..=MAX_CORE) };
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (one(first)?, one(last)?);
        if first > last {
            let what = format!("{} is not a range of cores", shown(part));
            return Err(Reject::new(Code::BadValue, what, format!("write {last}-{first}")));
        }
        cores.extend((first..=last).map(CoreId));
        if cores.len() as u64 > MAX_CORE + 1 {
            let what = "more cores than there can be".to_owned();
            return Err(Reject::new(Code::OutOfRange, what, "list each core once"));
        }
    }
    Ok(cores)
}

/// A PCI address or a DPDK vdev with its arguments.
pub(super) fn device(text: &str) -> Result<Device, Reject> {
    if let Some(address) = pci(text) {
        return Ok(Device::Pci(address));
    }
    vdev(text)
}

/// A DPDK vdev with its arguments.
pub(super) fn vdev(text: &str) -> Result<Device, Reject> {
    let bad = |hint: &str| {
        Err(Reject::new(Code::BadValue, format!("{} is not a DPDK device", shown(text)), hint))
    };
    if text.len() > 512 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad("a device has no spaces and at most 512 characters");
    }
    let driver = text.split(',').next().unwrap_or_default();
    let known = ["net_", "virtio_user", "eth_", "auxiliary:", "dpni."];
    if !known.iter().any(|prefix| driver.starts_with(prefix)) {
        return bad("write a PCI address (0000:3b:00.0) or a vdev (net_af_packet0,iface=eth0)");
    }
    Ok(Device::Vdev(text.to_owned()))
}

/// `0000:3b:00.0`, or `3b:00.0` in domain 0.
fn pci(text: &str) -> Option<PciAddress> {
    let hex = |text: &str, most: usize| {
        let fits = !text.is_empty() && text.len() <= most;
        u16::from_str_radix(text, 16).ok().filter(|_| fits && !text.starts_with('+'))
    };
    let (rest, function) = text.split_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.split_once(':').unwrap_or(("0", rest));
    Some(PciAddress {
        domain: hex(domain, 4)?,
        bus: u8::try_from(hex(bus, 2)?).ok()?,
        device: u8::try_from(hex(device, 2)?).ok().filter(|device| *device < 0x20)?,
        function: u8::try_from(hex(function, 1)?).ok().filter(|function| *function < 8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_and_in_range() {
        assert_eq!(number("65535", 0..=65_535), Ok(65_535));
        let cases = [
            ("70000", Code::OutOfRange, "70000 is above 65535"),
            ("-1", Code::OutOfRange, "-1 is below 1"),
            ("0", Code::OutOfRange, "0 is below 1"),
            ("99999999999999999999999", Code::OutOfRange, "is above 65535"),
            ("0080", Code::BadValue, "`0080` is not a whole number"),
            ("1_000", Code::BadValue, "is not a whole number"),
            ("1.5", Code::BadValue, "is not a whole number"),
            ("", Code::BadValue, "is not a whole number"),
        ];
        for (text, code, what) in cases {
            let reject = number(text, 1..=65_535).unwrap_err();
            assert_eq!(reject.code, code, "{text}");
            assert!(reject.what.contains(what), "{text}: {}", reject.what);
        }
        assert_eq!(number("0x0a", 0..=20).unwrap_err().hint, "write 10");
    }

    #[test]
    fn counts_take_thousands_and_millions() {
        assert_eq!(count("2M", 0..=9_000_000), Ok(2_000_000));
        assert_eq!(count("500k", 0..=9_000_000), Ok(500_000));
        assert_eq!(count("7", 0..=9), Ok(7));
        assert_eq!(count("9999999999M", 0..=9).unwrap_err().code, Code::BadValue);
        assert_eq!(count("k", 0..=9).unwrap_err().code, Code::BadValue);
        assert_eq!(count("1M", 0..=9).unwrap_err().code, Code::OutOfRange);
    }

    #[test]
    fn times_have_units_and_seconds_are_the_plain_ones() {
        assert_eq!(seconds("360", 1..=1_000), Ok(360));
        assert_eq!(seconds("15m", 1..=1_000), Ok(900));
        assert_eq!(seconds("31d", 1..=2_678_400), Ok(2_678_400));
        assert_eq!(seconds("1500ms", 1..=1_000).unwrap_err().code, Code::BadValue);
        assert_eq!(seconds("2000ms", 1..=1_000), Ok(2));
        assert_eq!(seconds("0", 1..=9).unwrap_err().what, "`0` is below 1 s");
        assert_eq!(millis("500ms", 1..=1_000), Ok(500));
        for bad in ["", "s", "5 s", "5x", "-5", "05"] {
            assert_eq!(millis(bad, 0..=9_999).unwrap_err().code, Code::BadValue, "{bad:?}");
        }
    }

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
        assert_eq!(netmask("255.0.255.0").unwrap_err().code, Code::BadValue);
        assert_eq!(netmask("0.0.0.0"), Ok(0));
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

    #[test]
    fn cores_come_as_linux_lists_them() {
        let numbers = |text| cores(text).unwrap().iter().map(|core| core.0).collect::<Vec<_>>();
        assert_eq!(numbers("1-3,7"), [1, 2, 3, 7]);
        assert!(cores("3-1").is_err());
        assert!(cores("1024").is_err());
        assert!(cores("0-1023,0-1023").is_err());
    }

    #[test]
    fn devices_are_pci_addresses_or_vdevs() {
        assert_eq!(device("0000:3b:00.0").unwrap().to_string(), "0000:3b:00.0");
        assert_eq!(device("3b:00.1").unwrap().to_string(), "0000:3b:00.1");
        assert_eq!(device("net_af_packet0,iface=eth0").unwrap().name(), "net_af_packet0");
        for bad in ["eth0", "0000:3b:20.0", "0000:3b:00.8", "net_tap0 ,x", "", "::.0"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_cannot_paint_the_terminal() {
        assert_eq!(shown("\u{1b}[2J"), "`\\u{1b}[2J`");
        assert_eq!(shown(&"x".repeat(61)), format!("`{}...`", "x".repeat(60)));
    }
}
