//! Numbers, counts and times.

use std::ops::RangeInclusive;

use super::{Reject, shown};
use crate::config::code::Code;

/// A whole number without sign, leading zero or separator.
pub(in crate::config) fn number(text: &str, range: RangeInclusive<u64>) -> Result<u64, Reject> {
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
pub(in crate::config) fn fitting<T: TryFrom<u64>>(
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
pub(in crate::config) fn count(text: &str, range: RangeInclusive<u64>) -> Result<u32, Reject> {
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
pub(in crate::config) fn millis(text: &str, range_ms: RangeInclusive<u64>) -> Result<u64, Reject> {
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
pub(in crate::config) fn seconds(text: &str, range_s: RangeInclusive<u64>) -> Result<u32, Reject> {
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
}
