//! A table's results as a page for people: Markdown, with plots beside it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::BenchError;
use crate::plot::{Chart, Curve, Scale};

/// Writes `RESULTS.md` and `plots/throughput.svg` into a folder; `plots/latency.svg` is there
/// already if latency was measured.
///
/// # Errors
/// A file that cannot be written.
pub fn write(table: &Value, command: &str, folder: &Path) -> Result<(), BenchError> {
    let plots = folder.join("plots");
    let failed = |path: &Path, error| BenchError::File { path: path.display().to_string(), error };
    fs::create_dir_all(&plots).map_err(|error| failed(&plots, error))?;
    let throughput = plots.join("throughput.svg");
    fs::write(&throughput, throughput_over_clients(table).svg())
        .map_err(|error| failed(&throughput, error))?;
    let page = folder.join("RESULTS.md");
    let latency = plots.join("latency.svg").exists();
    fs::write(&page, markdown(table, command, latency)).map_err(|error| failed(&page, error))
}

fn rows(table: &Value) -> impl Iterator<Item = &Value> {
    table.get("rows").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(row: &Value, name: &str) -> Option<f64> {
    row.get(name).and_then(Value::as_f64)
}

fn digits(value: Option<f64>, digits: usize) -> String {
    value.map_or(String::new(), |value| format!("{value:.digits$}"))
}

fn markdown(table: &Value, command: &str, latency: bool) -> String {
    let mut page = String::from("# What Director was measured at\n\n");
    let machine = table.get("machine").cloned().unwrap_or_default();
    let cpus = machine.get("cpus").and_then(Value::as_u64).unwrap_or(0);
    let _ = writeln!(
        page,
        "Written by `{command}`; [README.md](README.md) says how it is measured and what a row \
         is.\nFigures hold for this machine alone; ratios travel better.\n\n\
         | | |\n| --- | --- |\n| machine | {}, {cpus} CPU(s), kernel {} |\n| DPDK | {} |\n\
         | hugepages | {} |\n| commit | {} |\n",
        text(&machine, "cpu"),
        text(&machine, "kernel"),
        text(&machine, "dpdk"),
        machine.get("hugepages").and_then(Value::as_u64).unwrap_or(0),
        text(table, "commit")
    );
    page += "## Rows with a mark\n\n| row | ns/packet | testpmd ns | value | mark | aim | |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n";
    for row in rows(table).filter(|row| row.get("mark").is_some_and(Value::is_number)) {
        let mut value = match (text(row, "skipped"), number(row, "value")) {
            ("", value) => format!("{} {}", digits(value, 3), text(row, "unit")),
            (why, _) => format!("not measured: {why}"),
        };
        if let Some(before) = number(row, "pause_before_us") {
            let _ = write!(value, "; with nothing happening {before:.0}");
        }
        let verdict = match row.get("passed").and_then(Value::as_bool) {
            Some(true) if row.get("complete") == Some(&Value::Bool(false)) => "kept, rough",
            Some(true) => "kept",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(
            page,
            "| {} | {} | {} | {value} | {} | {} | {verdict} |",
            text(row, "name"),
            digits(number(row, "ns_per_packet"), 1),
            digits(number(row, "reference_ns"), 1),
            digits(number(row, "mark"), 2),
            digits(number(row, "aim"), 2),
        );
    }
    page += "\n## Others on the same device, and what measuring costs\n\n\
             | row | ns/packet | testpmd macswap ns | of its speed |\n| --- | --- | --- | --- |\n";
    for row in rows(table).filter(|row| row.get("mark").is_none_or(Value::is_null)) {
        let why = text(row, "skipped");
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            text(row, "name"),
            digits(number(row, "ns_per_packet"), 1),
            digits(number(row, "reference_ns"), 1),
            if why.is_empty() {
                digits(number(row, "ratio"), 3)
            } else {
                format!("not measured: {why}")
            },
        );
    }
    page += "\n## Throughput over clients\n\n![Throughput over clients](plots/throughput.svg)\n";
    if latency {
        page += "\n## Latency over load\n\nThrough `net_memif` to a Director in another process \
                 and back, 64k clients; the time includes\nboth rings.\n\n\
                 ![Latency over load](plots/latency.svg)\n";
    }
    page
}

/// Million packets a second on one core, from the rows over `net_null` that differ in clients
/// alone.
fn throughput_over_clients(table: &Value) -> Chart {
    let curve = |name: &str, first: &str, last: &str, figure: &str| {
        let mut points: Vec<(f64, f64)> = rows(table)
            .filter_map(|row| {
                let clients = text(row, "name").strip_prefix(first)?.strip_suffix(last)?;
                Some((count(clients)?, 1000.0 / number(row, figure)?))
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Curve { name: name.to_owned(), points }
    };
    let null = ", net_null with synthesis";
    let full = " connections, net_null with synthesis";
    let curves = [
        curve("testpmd macswap", "client ", null, "reference_ns"),
        curve("tracking: client", "client ", null, "ns_per_packet"),
        curve("client, IPv6", "IPv6 client ", "", "ns_per_packet"),
        curve("tracking: full", "full ", full, "ns_per_packet"),
        curve("full, IPv6", "IPv6, full ", " connections", "ns_per_packet"),
        curve("Tunnel, client", "Tunnel, client ", "", "ns_per_packet"),
        curve("Masq, both ways", "Masq, ", " connections, both directions", "ns_per_packet"),
    ];
    Chart {
        title: "Throughput of one core over clients, packets of 64 bytes".to_owned(),
        x: ("clients".to_owned(), Scale::Log),
        y: ("million packets a second".to_owned(), Scale::Linear),
        curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
    }
}

/// `1k`, `64k`, `10M`.
fn count(text: &str) -> Option<f64> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, if digits == "1" { 1e3 } else { 1024.0 }),
        None => (text.strip_suffix('M')?, 1e6),
    };
    Some(digits.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_has_every_row_and_the_plot_its_points() {
        let row = |name: &str, mark: Value, ns: f64| {
            json!({ "name": name, "ns_per_packet": ns, "reference_ns": 8.0, "ratio": 8.0 / ns,
                    "value": 8.0 / ns, "unit": "of it", "mark": mark, "aim": mark, "passed": true })
        };
        let skipped = json!({ "name": "slow one", "mark": 1, "skipped": "no time was left" });
        let table = json!({ "commit": "abc", "machine": { "cpus": 2 }, "rows": [
            row("client 1k, net_null with synthesis", json!(0.5), 16.0),
            row("client 10M, net_null with synthesis", json!(0.26), 32.0),
            row("testpmd io", Value::Null, 7.0), skipped,
        ]});
        let page = markdown(&table, "scripts/bench", true);
        assert!(page.contains("| client 1k, net_null with synthesis | 16.0 | 8.0 | 0.500 of it |"));
        assert!(page.contains("| testpmd io | 7.0 | 8.0 | 1.143 |"), "{page}");
        assert!(page.contains("not measured: no time was left") && page.contains("abc"));
        let chart = throughput_over_clients(&table);
        assert_eq!(chart.curves[1].points, [(1000.0, 62.5), (10_000_000.0, 31.25)]);
        assert_eq!(chart.curves.len(), 2);
        assert_eq!(count("64k"), Some(65_536.0));
    }
}
