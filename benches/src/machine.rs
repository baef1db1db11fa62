//! What the figures were measured on.

use std::fs;

use serde_json::{Value, json};

/// Facts about this machine.
pub fn facts() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let [_, last] = first_and_last_cpu();
    json!({
        "cpu": field(&cpu, "model name"),
        "family": field(&cpu, "cpu family"),
        "model": field(&cpu, "model"),
        "mhz": field(&cpu, "cpu MHz").and_then(|mhz| mhz.parse::<f64>().ok()),
        "cpus": last + 1,
        "cache": field(&cpu, "cache size"),
        "memory_kib": field(&memory, "MemTotal").and_then(|text| first_number(&text)),
        "hugepages": field(&memory, "HugePages_Total").and_then(|text| first_number(&text)),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        "dpdk": nic::dpdk_version(),
        "load_average": fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next().map(str::to_owned)),
    })
}

/// The first and the last CPU that this program may use.
pub fn first_and_last_cpu() -> [usize; 2] {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let ids = || ids.iter().map(|core| core.id);
    [ids().min().unwrap_or(0), ids().max().unwrap_or(0)]
}

/// The value behind the first line that begins with this name.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(':'))
    })?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: EPYC: second\ncpu MHz : 2596.0\n";
        assert_eq!(field(text, "model name").as_deref(), Some("EPYC: second"));
        assert_eq!(field(text, "model").as_deref(), Some("17"));
        assert_eq!(field(text, "cpu"), None);
        assert_eq!(first_number("24 kB"), Some(24));
    }
}
