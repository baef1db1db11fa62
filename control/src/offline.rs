//! The commands that ask no running director: replay, simulate, import, explain-key, schema.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli;
use crate::config::{self, keys};
use crate::import::{self, Input, Kind};
use crate::ipvsadm::{Names, PortNames};
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
    let bytes = fs::read(&args.capture).map_err(|error| unreadable(&args.capture, &error))?;
    let frames =
        pcap::read(&bytes).map_err(|error| format!("{}: {error}", args.capture.display()))?;
    let replayed = replay::replay(&model, &frames, args.port.as_deref())?;
    let mut text = String::new();
    for told in &replayed.packets {
        text += &if args.json { told.json().to_string() } else { told.line() };
        text.push('\n');
    }
    if !args.json {
        text = format!("{text}\n{}\n{}\n", replayed.listings, replayed.totals);
    }
    if let Some(path) = &args.output {
        fs::write(path, pcap::write(&replayed.sent))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}

/// `director simulate`: exit status 0 only if every scenario passed.
pub fn simulate(args: &cli::Simulate) -> ExitCode {
    let options = simulate::Options { text: !args.no_text, verbose: args.verbose };
    let report = simulate::run(&args.paths, options);
    print(&report.to_string());
    if report.failed() == 0 && report.passed() > 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// `director import`.
///
/// # Errors
/// A file that cannot be read.
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
        texts.push((kind, file.display().to_string(), text));
    }
    let inputs: Vec<Input<'_>> =
        texts.iter().map(|(kind, name, text)| Input { kind: *kind, name, text }).collect();
    let imported = import::import(&inputs, &names(), args.config_id.as_deref());
    if imported.services == 0 && imported.notes.is_empty() {
        return Err("nothing was found to import; is it the right kind of file?".to_owned());
    }
    print(&imported.yaml);
    for note in &imported.notes {
        let _ = writeln!(io::stderr().lock(), "{note}");
    }
    Ok(ExitCode::SUCCESS)
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

/// Ports by name as this machine knows them. Hosts are not looked up: a name may mean
/// another address here than where the file comes from.
fn names() -> Names {
    let services = fs::read_to_string("/etc/services").unwrap_or_default();
    Names { ports: PortNames::read(&services), resolve: |_| None }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::stdin().lock(), &mut text)?;
        return Ok(text);
    }
    fs::read(file)
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failed {
    format!("cannot read {}: {error}", file.display())
}

fn print(text: &str) {
    // A closed pipe (`director replay | head`) is no error.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
