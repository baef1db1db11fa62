//! The commands that ask no running director: replay, simulate, import, explain-key, schema,
//! completions, manual.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli;
use crate::config::{self, keys};
use crate::counted::{agreeing, counted};
use crate::import::{self, Imported, Input, Kind};
use crate::ipvsadm::Names;
use crate::manual;
use crate::output::print;
use crate::reason::reason;
use crate::replay::{self, pcap};
use crate::simulate;

/// Why a command could not do its work; a sentence for standard error.
type Failed = String;

/// `director replay`.
///
/// # Errors
/// The configuration's problems, or what is wrong with the capture.
pub fn replay(args: &cli::Replay) -> Result<ExitCode, Failed> {
    let model = config::load(&args.config).map_err(|problems| problems.to_string())?;
    if let Some(output) = &args.output
        && same_file(output, &args.capture)
    {
        return Err(format!(
            "{} would be written over what it is made from; give -o another name",
            output.display()
        ));
    }
    let capture = capture(&args.capture)?;
    let replayed = replay::replay(&model, &capture.frames, args.port.as_deref())?;
    let missing = capture.missing();
    let mut text = String::new();
    for told in &replayed.packets {
        text += &if args.json { told.json().to_string() } else { told.line() };
        text.push('\n');
    }
    text += &match args.json {
        true => format!("{}\n", replayed.end_json(&missing)),
        false => format!("\n{}\n", replayed.end()),
    };
    if let Some(path) = &args.output {
        fs::write(path, pcap::write_as(path, &replayed.sent))
            .map_err(|error| format!("cannot write {}: {}", path.display(), reason(&error)))?;
    }
    print(&text);
    for sentence in &missing {
        let _ = writeln!(io::stderr().lock(), "{}: {sentence}", args.capture.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A capture. What is none is not read to its end: it may have none.
fn capture(path: &Path) -> Result<pcap::Capture, Failed> {
    let failed = |error: io::Error| unreadable(path, &error);
    let wrong = |error: pcap::CaptureError| format!("{}: {error}", path.display());
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    (&file).take(CAPTURE_HEAD).read_to_end(&mut bytes).map_err(failed)?;
    if let Err(error @ (pcap::CaptureError::Magic | pcap::CaptureError::Link(_))) =
        pcap::read(&bytes)
    {
        return Err(wrong(error));
    }
    (&file).read_to_end(&mut bytes).map_err(failed)?;
    pcap::read(&bytes).map_err(wrong)
}

/// Enough of a capture to see whether it is one.
const CAPTURE_HEAD: u64 = 4_096;

/// `director simulate`: 0 only if every scenario passed, 1 if one did not, 2 if something
/// could not be played at all.
pub fn simulate(args: &cli::Simulate) -> ExitCode {
    let options = simulate::Options { text: !args.no_text, verbose: args.verbose };
    let report = simulate::run(&args.paths, options);
    for sentence in &report.unreadable {
        let _ = writeln!(io::stderr().lock(), "{sentence}");
    }
    // Last, also where both go to one terminal.
    print(&report.to_string());
    match (report.unreadable.is_empty(), report.failed()) {
        (false, _) => ExitCode::from(2),
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => ExitCode::from(1),
    }
}

/// `director import`: 0 if everything was carried over, 3 if not everything was.
///
/// # Errors
/// A file that cannot be read, or has nothing of the program that it was named for.
pub fn import(args: &cli::Import) -> Result<ExitCode, Failed> {
    let kind = match args.kind {
        cli::ImportKind::Ipvsadm => Kind::Ipvsadm,
        cli::ImportKind::Iptables => Kind::Iptables,
        cli::ImportKind::Keepalived => Kind::Keepalived,
    };
    let mut files: Vec<(Kind, &PathBuf)> = vec![(kind, &args.file)];
    files.extend(args.iptables.iter().map(|file| (Kind::Iptables, file)));
    files.extend(args.ipvsadm.iter().map(|file| (Kind::Ipvsadm, file)));
    let mut texts = Vec::new();
    for (kind, file) in files {
        let text = read(file).map_err(|error| unreadable(file, &error))?;
        if text.len() > config::MAX_BYTES {
            let (name, most) = (name_of(file), config::MAX_BYTES);
            return Err(format!(
                "{name}: it has more than {most} bytes (8 MiB), which no configuration may have; \
                 import it in parts"
            ));
        }
        texts.push((kind, name_of(file), text));
    }
    let inputs: Vec<Input<'_>> =
        texts.iter().map(|(kind, name, text)| Input { kind: *kind, name, text }).collect();
    let names = names();
    let imported = import::import(&inputs, &names, args.config_id.as_deref());
    if !imported.found {
        return Err(nothing_found(&inputs, &names, &imported));
    }
    print(&imported.yaml);
    let lost = imported.lost;
    if lost == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    // On a terminal the configuration has just been shown, and ends with the same notes.
    if !io::stdout().is_terminal() {
        text += "not carried over, or not as it was:\n";
        for note in &imported.notes {
            text += &format!("  {note}\n");
        }
    }
    let were = |number: usize| agreeing(number, "was", "were");
    let Imported { services, remarks, .. } = imported;
    text += &format!("{} {} carried over, ", counted(services, "service"), were(services));
    if remarks > 0 {
        let stands = agreeing(remarks, "stands as a remark", "stand as remarks");
        text += &format!("{} {stands} to be completed, ", counted(remarks, "service"));
    }
    text += &format!("{} {} not\n", counted(lost, "thing"), were(lost));
    let _ = io::stderr().lock().write_all(text.as_bytes());
    Ok(ExitCode::from(3))
}

/// Bytes of it that are looked at for what it is instead.
const LOOKED_AT: usize = 64 << 10;
/// Notes that are told of a file that is probably of another kind.
const TOLD: usize = 20;
/// The same where it is known of which one.
const TOLD_OF_OTHERS: usize = 3;

/// Why there is nothing to write, and what the file looks like instead.
fn nothing_found(inputs: &[Input<'_>], names: &Names, imported: &Imported) -> Failed {
    let word = |kind| match kind {
        Kind::Ipvsadm => "ipvsadm",
        Kind::Iptables => "iptables",
        Kind::Keepalived => "keepalived",
    };
    let files: Vec<&str> = inputs.iter().map(|input| input.name).collect();
    let mut text = format!("{}: no service was found, so nothing was written", files.join(", "));
    let mut most = TOLD;
    if let Some(first) = inputs.first() {
        let begin = first.text.get(..LOOKED_AT).unwrap_or(first.text);
        let other = [Kind::Ipvsadm, Kind::Iptables, Kind::Keepalived].into_iter().find(|kind| {
            *kind != first.kind
                && import::import(&[Input { kind: *kind, text: begin, ..*first }], names, None)
                    .found
        });
        text += &match other {
            Some(other) => {
                most = TOLD_OF_OTHERS;
                format!("; {0} looks like {1}'s: director import {1} {0}", first.name, word(other))
            }
            None => format!("; is {} what {} reads?", first.name, word(first.kind)),
        };
    }
    for note in imported.notes.iter().take(most) {
        text += &format!("\n  {note}");
    }
    if imported.notes.len() > most {
        text += &format!("\n  and {} more", imported.notes.len() - most);
    }
    text
}

/// `director explain-key`.
///
/// # Errors
/// A path that is no key, with what may have been meant.
pub fn explain_key(args: &cli::ExplainKey) -> Result<ExitCode, Failed> {
    let text = match args.recursive {
        true => keys::explain::tree(&args.path),
        false => keys::explain::explain(&args.path),
    }?;
    print(&text);
    Ok(ExitCode::SUCCESS)
}

/// `director schema`.
///
/// # Errors
/// None in practice: the schema is plain data.
pub fn schema() -> Result<ExitCode, Failed> {
    let schema = keys::schema::schema();
    let text = serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())?;
    print(&(text + "\n"));
    Ok(ExitCode::SUCCESS)
}

/// `director completions`.
pub fn completions(args: &cli::Completions) {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut cli::Cli::command(), "director", &mut text);
    print(&String::from_utf8_lossy(&text));
}

/// `director manual`.
///
/// # Errors
/// A folder that cannot be written to.
pub fn manual(args: &cli::Manual) -> Result<ExitCode, Failed> {
    manual::write(&args.folder).map_err(|error| {
        format!("cannot write to {}: {}", args.folder.display(), reason(&error))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Ports by name as this machine knows them. Hosts are not looked up: a name may mean
/// another address here than where the file comes from.
fn names() -> Names {
    Names::of_ports()
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    // One byte more than is looked at, so that the rest is told of.
    let most = config::MAX_BYTES as u64 + 1;
    let mut text = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut text)?;
    } else {
        fs::File::open(file)?.take(most).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// A file's name in messages.
fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".into() } else { file.display().to_string() }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failed {
    format!("cannot read {}: {}", name_of(file), reason(error))
}
