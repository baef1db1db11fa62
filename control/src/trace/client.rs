//! The commands' side: asks for records again and again, and prints or writes them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::session::{Batch, Opened};
use super::{Question, hex, pcapng};
use crate::api::{self, Reply, Request};
use crate::cli;
use crate::counted::counted;
use crate::output;
use crate::reason::reason;

/// Between two questions while there is nothing to tell.
const PAUSE: Duration = Duration::from_millis(50);

/// How a trace ended.
struct Ended {
    told: u64,
    passed_by: u64,
    lost: u64,
}

/// Why a trace could not be made.
struct Failure {
    sentence: String,
    /// 1: it was refused; 2: the director was not reached.
    code: u8,
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self { sentence, code: 1 }
    }
}

fn end(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { sentence, code }) => {
            complain(sentence.trim_end());
            ExitCode::from(code)
        }
    }
}

/// `director trace`: 0 done, 1 refused, 2 not reached.
pub fn trace(args: &cli::Trace) -> ExitCode {
    end(print_trace(args))
}

/// `director capture`: the same.
pub fn capture(args: &cli::Capture) -> ExitCode {
    end(write_capture(args))
}

fn print_trace(args: &cli::Trace) -> Result<(), Failure> {
    let opened = begin(&args.at.socket, &question(&args.select, 0))?;
    let ended = follow(&args.at.socket, &opened, &args.select, |record| {
        let line = if args.json { record.to_string() } else { line(record) };
        output::print(&format!("{line}\n"))
    })?;
    if ended.passed_by > 0 || ended.lost > 0 {
        complain(&missed(&ended));
    }
    Ok(())
}

fn write_capture(args: &cli::Capture) -> Result<(), Failure> {
    let name = args.output.display();
    let failed = |error: io::Error| format!("{name} cannot be written: {}", reason(&error));
    let mut out = open(&args.output).map_err(failed)?;
    let opened = begin(&args.at.socket, &question(&args.select, args.snaplen))?;
    let mut written = pcapng::begin(&mut out, &opened.ports, args.snaplen);
    let ended = follow(&args.at.socket, &opened, &args.select, |record| {
        if written.is_ok() {
            written = write_packet(&mut out, record, &opened.ports);
        }
        written.is_ok()
    })?;
    match written.and_then(|()| out.flush()) {
        // Nobody reads the pipe any more: that is an end like any other.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error).into()),
        _ => {}
    }
    complain(&format!("{} in {name}; {}", counted(ended.told, "packet"), missed(&ended)));
    Ok(())
}

fn question(select: &cli::Select, snaplen: u32) -> Question {
    Question {
        client: select.client,
        service: select.service.clone(),
        verdict: select.verdict.clone(),
        snaplen,
        rate: select.rate,
    }
}

fn missed(ended: &Ended) -> String {
    format!(
        "{} more came too fast to be looked at (--rate), {} were lost because they were not \
         fetched in time",
        ended.passed_by, ended.lost
    )
}

fn begin(socket: &Path, question: &Question) -> Result<Opened, Failure> {
    ask(socket, &Request::Trace { question: question.clone() })
}

/// Hands records to `take` until it wants no more, there are enough, the time is over or a
/// signal says stop.
fn follow(
    socket: &Path,
    opened: &Opened,
    select: &cli::Select,
    mut take: impl FnMut(&Value) -> bool,
) -> Result<Ended, Failure> {
    let stop = stop_signals()?;
    let began = Instant::now();
    let session = opened.session;
    let mut ended = Ended { told: 0, passed_by: 0, lost: 0 };
    let wanted = select.count.unwrap_or(u64::MAX);
    let is_over = || {
        stop.load(Ordering::Relaxed) || select.period.is_some_and(|most| began.elapsed() >= most)
    };
    'asking: while ended.told < wanted {
        // Asked for a last time after the end, so that what was seen before it is told.
        let last = is_over();
        let batch: Batch = ask(socket, &Request::Traced { session })?;
        (ended.passed_by, ended.lost) = (batch.passed_by, batch.lost);
        for record in &batch.records {
            if ended.told >= wanted || !take(record) {
                break 'asking;
            }
            ended.told += 1;
        }
        if last {
            break;
        }
        if batch.records.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
    // A director that is gone has forgotten it already.
    let _ = api::call(socket, &Request::EndTrace { session });
    Ok(ended)
}

fn ask<T: serde::de::DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, Failure> {
    match api::call(socket, request) {
        Ok(Reply { ok: true, text, .. }) => serde_json::from_str(&text)
            .map_err(|error| format!("the director gave no readable answer: {error}").into()),
        Ok(Reply { ok: false, text, .. }) => Err(text.into()),
        Err(error) => Err(Failure { code: error.exit_status(), sentence: error.to_string() }),
    }
}

fn stop_signals() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| format!("the system refused a signal handler: {error}"))?;
    }
    Ok(stop)
}

/// A record in a line: the time of day (UTC), the port, the packet, what became of it and why.
fn line(record: &Value) -> String {
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or("-");
    let at_ns = record.get("at_unix_ns").and_then(Value::as_u64).unwrap_or(0);
    let (seconds, micros) = (at_ns / 1_000_000_000 % 86_400, at_ns / 1_000 % 1_000_000);
    format!(
        "{:02}:{:02}:{:02}.{micros:06}  {}  {}  {}  {}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        text("port"),
        text("packet"),
        text("verdict"),
        text("decision")
    )
}

fn open(path: &Path) -> io::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout().lock()));
    }
    // What is on the wire is for the eyes of the one who captures it.
    let file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(Box::new(BufWriter::new(file)))
}

fn write_packet(out: &mut impl Write, record: &Value, ports: &[String]) -> io::Result<()> {
    let text = |key: &str| record.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| record.get(key).and_then(Value::as_u64).unwrap_or(0);
    let place = ports.iter().position(|port| port == text("port")).unwrap_or(0);
    let bytes = hex::read(text("frame")).unwrap_or_default();
    let comment = format!("{}  {}", text("verdict"), text("decision"));
    let packet = pcapng::Packet {
        interface: place as u32,
        at_ns: number("at_unix_ns"),
        bytes: &bytes,
        length: number("length") as u32,
        comment: &comment,
        sent: false,
    };
    pcapng::packet(out, &packet)
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
