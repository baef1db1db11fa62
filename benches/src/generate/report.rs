//! What a run found: text, JSON and plots.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::trial::Trial;
use crate::plot::{Chart, Curve, Scale};

/// What was found for a number of clients.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Clients.
    pub clients: u32,
    /// Trials in their order.
    pub trials: Vec<Trial>,
    /// The highest rate at which no more was lost than may be, in packets a second, where it
    /// was searched for; 0 where there is none.
    pub no_drop_pps: Option<f64>,
    /// Trials at shares of the rate found, 0 to 1.
    pub loads: Vec<(f64, Trial)>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was offered.
    pub offer: String,
    /// The line's bits a second, where known.
    pub line: Option<f64>,
    /// Mean bytes of a frame, with its FCS.
    pub mean_frame: f64,
    /// By number of clients.
    pub series: Vec<Series>,
}

impl Series {
    /// The packets a second that the plots show: the no-drop rate, or the most that came back.
    pub fn throughput(&self) -> f64 {
        let most = self.trials.iter().map(Trial::received_pps).fold(0.0, f64::max);
        self.no_drop_pps.unwrap_or(most)
    }

    fn all(&self) -> impl Iterator<Item = &Trial> {
        self.trials.iter().chain(self.loads.iter().map(|(_, trial)| trial))
    }
}

impl Report {
    /// Whether every invariant held in every trial.
    pub fn holds(&self) -> bool {
        self.series.iter().flat_map(Series::all).all(Trial::holds)
    }

    /// As one JSON object.
    pub fn json(&self) -> Value {
        let series = self.series.iter().map(|series| {
            let loads = series.loads.iter().map(|(load, trial)| {
                let mut trial = trial.json();
                if let Value::Object(fields) = &mut trial {
                    fields.insert("load".to_owned(), json!(load));
                }
                trial
            });
            json!({
                "clients": series.clients,
                "no_drop_pps": series.no_drop_pps.map(f64::round),
                "throughput_pps": series.throughput().round(),
                "trials": series.trials.iter().map(Trial::json).collect::<Vec<_>>(),
                "loads": loads.collect::<Vec<_>>(),
            })
        });
        json!({
            "offer": self.offer,
            "line_bps": self.line,
            "mean_frame_bytes": self.mean_frame,
            "invariants_hold": self.holds(),
            "series": series.collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.offer);
        for series in &self.series {
            let bits = series.throughput() * (self.mean_frame + 20.0) * 8.0 / 1e9;
            let what = match series.no_drop_pps {
                Some(_) => "without loss beyond what was accepted",
                None => "came back",
            };
            let _ = writeln!(
                text,
                "{} client(s): {} ({bits:.2} Gbit/s on the wire) {what}",
                series.clients,
                speed(series.throughput())
            );
            let last = series.trials.last().filter(|_| series.loads.is_empty());
            for trial in series.loads.iter().map(|(_, trial)| trial).chain(last) {
                let _ = writeln!(text, "  {}", sentence(trial));
            }
        }
        let seen: u64 =
            self.series.iter().flat_map(Series::all).map(|t| t.received.findings.seen).sum();
        text += &match (self.holds(), seen) {
            (true, 0) => "frames were counted and not looked at\n".to_owned(),
            (true, _) => format!(
                "{seen} frames looked at: every client kept its server, every flow its order\n"
            ),
            (false, _) => "INVARIANTS BROKEN: see the trials above\n".to_owned(),
        };
        text
    }

    /// Throughput over clients, as SVG; `None` for fewer than two numbers of clients.
    pub fn throughput_plot(&self) -> Option<String> {
        let points = self.series.iter().map(|s| (f64::from(s.clients), s.throughput() / 1e6));
        let curve = Curve { name: "throughput".to_owned(), points: points.collect() };
        (curve.points.len() > 1).then(|| {
            Chart {
                title: "Throughput over clients".to_owned(),
                x: ("clients".to_owned(), Scale::Log),
                y: ("million packets a second".to_owned(), Scale::Linear),
                curves: vec![curve],
            }
            .svg()
        })
    }

    /// Latency over load, as SVG; `None` without loads. Of the last number of clients.
    pub fn latency_plot(&self) -> Option<String> {
        let loads = &self.series.last()?.loads;
        let curve = |name: &str, share: f64| Curve {
            name: name.to_owned(),
            points: loads
                .iter()
                .filter_map(|(load, trial)| {
                    let ns = trial.received.latency.quantile(share)?;
                    Some((load * 100.0, ns as f64 / 1000.0))
                })
                .collect(),
        };
        (loads.len() > 1).then(|| {
            Chart {
                title: "Latency over load".to_owned(),
                x: ("load, % of the rate found".to_owned(), Scale::Linear),
                y: ("microseconds there and back".to_owned(), Scale::Log),
                curves: vec![
                    curve("median", 0.5),
                    curve("99 %", 0.99),
                    curve("99.9 %", 0.999),
                    curve("longest", 1.0),
                ],
            }
            .svg()
        })
    }
}

/// Packets a second, for people.
fn speed(pps: f64) -> String {
    if pps < 1e5 { format!("{pps:.0} pps") } else { format!("{:.3} Mpps", pps / 1e6) }
}

/// A trial in one line.
pub fn sentence(trial: &Trial) -> String {
    let mut text = format!(
        "{} out, {} back, {} lost ({:.4} %)",
        speed(trial.offered_pps()),
        speed(trial.received_pps()),
        trial.lost() + trial.sent.refused,
        trial.loss() * 100.0
    );
    let latency = &trial.received.latency;
    let micros = |share| latency.quantile(share).map(|ns| ns as f64 / 1000.0);
    if let [Some(p50), Some(p99), Some(p999), Some(max)] = [0.5, 0.99, 0.999, 1.0].map(micros) {
        let _ = write!(text, "; latency {p50:.1} us, p99 {p99:.1}, p99.9 {p999:.1}, max {max:.1}");
    }
    let findings = &trial.received.findings;
    if !findings.hold() {
        let _ = write!(
            text,
            "; BROKEN: {} packet(s) to another server than before{}, {} overtaken, {} doubled",
            findings.moved,
            findings.first_moved.map_or(String::new(), |client| format!(" (client {client})")),
            findings.overtaken,
            findings.doubled
        );
    }
    if trial.received.late > 0 {
        let _ = write!(text, "; {} more of an earlier trial, late", trial.received.late);
    }
    if !trial.received.servers.is_empty() {
        let _ = write!(text, "; {} server(s)", trial.received.servers.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::trial::tests::trial;

    #[test]
    fn a_report_says_what_was_found_and_whether_all_held() {
        let mut trials = [trial(1e6, 1000, 0, 1000), trial(1e6, 1000, 0, 990)];
        trials[0].received.findings.seen = 1000;
        let [first, second] = trials.clone();
        let loads = vec![(0.5, first.clone()), (1.0, first.clone())];
        let series = Series { clients: 7, trials: vec![first], loads, ..Series::default() };
        let more = Series { clients: 70, trials: vec![second], ..Series::default() };
        let mut report = Report { series: vec![series, more], ..Report::default() };
        assert!(report.text().ends_with("kept its server, every flow its order\n"));
        assert!(report.throughput_plot().unwrap().contains("<svg"));
        assert!(report.latency_plot().is_none(), "the last number of clients has no loads");
        report.series[1].trials[0].received.findings.moved = 1;
        assert!(!report.holds() && report.text().contains("BROKEN: 1 packet(s) to another"));
        assert_eq!(report.json()["series"][0]["loads"][1]["load"], 1.0);
    }
}
