//! All rows in one go: each in a process of its own, within a time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dataplane::sched::Scheduler;
use serde_json::{Value, json};

use crate::choice;
use crate::machine;
use crate::memif;
use crate::rows::{Method, Peer, ROWS, Row};

/// How long the quick table may take.
pub const QUICK: Duration = Duration::from_secs(165);
/// How long the whole table may take.
pub const WHOLE: Duration = Duration::from_secs(1_800);
/// Besides its rounds a row takes this much for DPDK and its tables; less is not worth
/// starting it.
const LEAST: Duration = Duration::from_secs(6);

/// Rounds with either box behind memif.
const MEMIF_ROUNDS: u32 = 5;

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Table {
    /// The program `director`.
    pub director: PathBuf,
    /// Only the rows of the quick run.
    pub quick: bool,
    /// Only rows whose name contains this.
    pub only: Option<String>,
    /// What is said of the program's origin.
    pub commit: String,
    /// DPDK's example l3fwd, if it was built.
    pub l3fwd: Option<PathBuf>,
    /// What was counted over 10^8 packets: allocations and clients that were moved.
    pub steady: Option<u32>,
    /// More arguments for every measurement, such as `--no-huge`.
    pub arguments: Vec<String>,
}

impl Table {
    /// Measures all rows. `say` is told of each.
    pub fn run(&self, say: &dyn Fn(&str)) -> Value {
        let began = Instant::now();
        let whole = if self.quick { QUICK } else { WHOLE };
        let wanted = |row: &&Row| {
            (row.quick || !self.quick)
                && self.only.as_deref().is_none_or(|text| row.name.contains(text))
        };
        let rows: Vec<&Row> = ROWS.iter().filter(wanted).collect();
        let mut results = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let left = whole.saturating_sub(began.elapsed());
            // What an early row leaves over is for the later ones.
            let share = left / (rows.len() - number) as u32 * 2;
            let result = self.row(row, share.min(left));
            say(&sentence(row, &result));
            results.push(result);
        }
        json!({
            "machine": machine::facts(),
            "commit": self.commit,
            "seconds": began.elapsed().as_secs(),
            "rows": results,
        })
    }

    fn row(&self, row: &Row, time: Duration) -> Value {
        let measured = match row.method {
            Method::Ratio(load) => self.ratio(load, time),
            Method::Cores(load) => self.cores(load, time),
            Method::Slower(before, after) => self.slower(before, after, time),
            Method::Flood(known, new, both) => self.flood(known, new, both, time),
            Method::Choice(scheduler, servers) => choice(scheduler, servers),
            Method::Pause(load, most_ms) => self.pause(load, most_ms, time),
            Method::Memif => self.memif(),
            Method::Steady => self.steady(),
            Method::Peer(peer, load) => self.peer(peer, load, time),
        };
        let mark = json!({
            "name": row.name,
            "unit": row.method.unit(),
            "mark": row.mark.figure(),
            "aim": row.mark.aim(),
        });
        match measured {
            Ok(Measured { value, figures, main }) => {
                let passed = row.mark.holds(value);
                let mut all = main;
                merge(&mut all, mark);
                merge(&mut all, figures);
                merge(&mut all, json!({ "value": rounded(value), "passed": passed }));
                all
            }
            Err(why) => {
                let mut all = mark;
                merge(
                    &mut all,
                    json!({ "ns_per_packet": null, "reference_ns": null, "ratio": null, "skipped": why }),
                );
                all
            }
        }
    }

    fn ratio(&self, load: &str, time: Duration) -> Result<Measured, String> {
        let main = self.bench(load, true, time)?;
        Ok(Measured { value: figure(&main, "ratio")?, figures: json!({}), main })
    }

    fn cores(&self, load: &str, time: Duration) -> Result<Measured, String> {
        let [first, last] = machine::first_and_last_cpu();
        if first == last {
            return Err("there is one CPU only".to_owned());
        }
        let alone = |cpu| self.bench(&format!("{load} --cores {cpu}"), true, time / 3);
        let (main, other) = (alone(last)?, alone(first)?);
        let together = self.bench(&format!("{load} --cores {first},{last}"), false, time / 3)?;
        let speed = |outcome: &Value| Ok::<_, String>(1000.0 / figure(outcome, "ns_per_packet")?);
        // The median over both cores stands for each of them.
        let sum = speed(&main)? + speed(&other)?;
        let value = 2.0 * speed(&together)? / sum;
        let figures = json!({
            "single_ns": [figure(&main, "ns_per_packet")?, figure(&other, "ns_per_packet")?],
            "together_ns": figure(&together, "ns_per_packet")?,
            "together_mpps": figure(&together, "mpps")?,
        });
        Ok(Measured { value, figures, main })
    }

    fn slower(&self, before: &str, after: &str, time: Duration) -> Result<Measured, String> {
        let first = self.bench(before, true, time / 2)?;
        let main = self.bench(after, true, time / 2)?;
        let value = (figure(&first, "ratio")? / figure(&main, "ratio")? - 1.0) * 100.0;
        let figures = json!({
            "before_ns": figure(&first, "ns_per_packet")?,
            "before_ratio": figure(&first, "ratio")?,
        });
        Ok(Measured { value, figures, main })
    }

    fn flood(
        &self,
        known: &str,
        new: &str,
        both: &str,
        time: Duration,
    ) -> Result<Measured, String> {
        let known = self.bench(known, false, time / 3)?;
        let new = self.bench(new, false, time / 3)?;
        let main = self.bench(both, true, time / 3)?;
        let [known, new, mixed] = [
            figure(&known, "ns_per_packet")?,
            figure(&new, "ns_per_packet")?,
            figure(&main, "ns_per_packet")?,
        ];
        // Of two packets of the mixture one is new and costs what it costs alone; what is
        // left is the known client's.
        let value = ((2.0 * mixed - new) / known - 1.0) * 100.0;
        let figures = json!({ "known_ns": known, "new_ns": new, "mixed_ns": mixed });
        Ok(Measured { value, figures, main })
    }

    fn pause(&self, load: &str, most_ms: f64, time: Duration) -> Result<Measured, String> {
        // A round must be longer than what happens in it.
        let main = self.bench(&format!("{load} --seconds 1.5"), true, time)?;
        let live_ms = figure(&main, "live_in_ms")?;
        let lost = figure(&main, "lost")?;
        let pause = figure(&main, "pause_us")?;
        let kept = lost == 0.0 && live_ms <= most_ms;
        // A pause of any length is too long if packets were lost.
        let value = if kept { pause } else { f64::MAX };
        Ok(Measured { value, figures: json!({ "live_at_most_ms": most_ms }), main })
    }

    fn memif(&self) -> Result<Measured, String> {
        let cpus = machine::first_and_last_cpu();
        if cpus.first() == cpus.last() {
            return Err("there is one CPU only".to_owned());
        }
        let main = memif::compare(&self.director, MEMIF_ROUNDS, cpus)?;
        Ok(Measured { value: figure(&main, "ratio")?, figures: json!({}), main })
    }

    /// Another program in the director's place.
    fn peer(&self, peer: Peer, load: &str, time: Duration) -> Result<Measured, String> {
        let mode = match peer {
            Peer::Testpmd(mode) => mode.to_owned(),
            Peer::L3fwd => {
                let path = self.l3fwd.as_ref().ok_or("scripts/bench builds l3fwd")?;
                format!("l3fwd:{}", path.display())
            }
        };
        let main = self.bench(&format!("{load} --peer {mode}"), true, time)?;
        Ok(Measured { value: figure(&main, "ratio")?, figures: json!({}), main })
    }

    /// Measures latency over load through memif, and writes its plot below `folder`.
    pub fn latency(&self, folder: &Path, say: &dyn Fn(&str)) {
        let plots = folder.join("plots");
        if let Err(why) = memif::latency(&self.director, &plots, machine::first_and_last_cpu()) {
            say(&format!("latency over load: not measured, {why}"));
        }
    }

    fn steady(&self) -> Result<Measured, String> {
        let value = self.steady.ok_or("scripts/bench counts them, or scripts/bench steady")?;
        let none = json!({ "ns_per_packet": null, "reference_ns": null, "ratio": null });
        Ok(Measured { value: f64::from(value), figures: json!({}), main: none })
    }

    /// One measurement in a process of its own.
    fn bench(&self, load: &str, reference: bool, time: Duration) -> Result<Value, String> {
        if time < LEAST {
            return Err("no time was left for it".to_owned());
        }
        let mut command = Command::new(&self.director);
        command.args(["bench", "--json"]);
        if !load.contains("--seconds") {
            command.args(["--seconds", "0.3"]);
        }
        command.arg("--at-most");
        command.arg((time - LEAST / 2).as_secs().clamp(1, 20).to_string());
        command.args(load.split_whitespace()).args(&self.arguments);
        if reference {
            command.args(["--reference", "macswap"]);
        }
        let output = output_within(command, time)?;
        serde_json::from_str(&output).map_err(|error| format!("the bench's answer: {error}"))
    }
}

/// What a choice costs, measured here.
fn choice(scheduler: &str, servers: u32) -> Result<Measured, String> {
    let known = Scheduler::by_name(scheduler).ok_or("there is no such scheduler")?;
    let value = choice::ns(known, servers).map_err(|refused| refused.to_string())?;
    let main = json!({ "ns_per_packet": rounded(value), "reference_ns": null, "ratio": null });
    Ok(Measured { value, figures: json!({}), main })
}

/// A row's value, the figures behind it, and the measurement that it is about.
struct Measured {
    value: f64,
    figures: Value,
    main: Value,
}

/// What a program prints; it is ended when its time is over.
fn output_within(mut command: Command, time: Duration) -> Result<String, String> {
    let deadline = Instant::now() + time;
    let spawned =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child =
        spawned.map_err(|error| format!("director bench cannot be started: {error}"))?;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it was not done after {} s", time.as_secs()));
            }
        }
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("it failed and said nothing").to_owned())
}

fn figure(outcome: &Value, name: &str) -> Result<f64, String> {
    let figure = outcome.get(name).and_then(Value::as_f64);
    figure.ok_or_else(|| format!("the measurement has no {name}"))
}

/// Adds one object's fields to another's.
fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn sentence(row: &Row, result: &Value) -> String {
    if let Some(why) = result.get("skipped").and_then(Value::as_str) {
        return format!("{}: skipped, {why}", row.name);
    }
    let number = |name| result.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let kept = match (result.get("passed"), result.get("complete")) {
        (Some(Value::Bool(false)), _) => "MISSED",
        (_, Some(Value::Bool(false))) => "kept, rough",
        _ => "kept",
    };
    let (own, testpmd) = (number("ns_per_packet"), number("reference_ns"));
    let beside = match testpmd.is_nan() {
        true => String::new(),
        false => format!("{own:.1} ns, testpmd {testpmd:.1} ns; "),
    };
    format!(
        "{}: {beside}{:.3} {}{}",
        row.name,
        number("value"),
        row.method.unit(),
        match row.mark.figure().zip(row.mark.aim()) {
            Some((mark, aim)) => format!(" (mark {mark}: {kept}, aim {aim})"),
            None => String::new(),
        },
    )
}

fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Whether every row of a table that was measured kept its mark.
pub fn all_kept(table: &Value) -> bool {
    let rows = table.get("rows").and_then(Value::as_array);
    let kept = |row: &Value| row.get("passed").is_none_or(|passed| passed == &Value::Bool(true));
    rows.is_some_and(|rows| rows.iter().all(kept))
}

/// The program that runs now.
pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| Path::new("director").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let said = output_within(command, Duration::from_millis(50)).unwrap_err();
        assert_eq!(said, "it was not done after 0 s");
    }

    #[test]
    fn what_a_failing_program_says_last_is_the_reason() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo two >&2; exit 1"]);
        assert_eq!(output_within(command, Duration::from_secs(20)).unwrap_err(), "two");
    }

    #[test]
    fn rows_that_were_skipped_miss_no_mark() {
        assert!(all_kept(&json!({ "rows": [{ "passed": true }, { "skipped": "no time" }] })));
        assert!(!all_kept(&json!({ "rows": [{ "passed": true }, { "passed": false }] })));
    }
}
