//! The commands that ask the running director: what they send, and how they end.

mod clients;
mod drain;
mod listed;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::api::{self, Reply, Request, SocketError};
use crate::cli;
use crate::config;
use crate::get::{Kind, Output};
use crate::output::print;
use crate::reason::reason;

pub use clients::{clients, evict, pin, rebind, unpin};
pub use drain::{drain, undrain};
pub use listed::connections;
pub(crate) use {clients::Failed, listed::lines, listed::shown};

/// What a refused configuration ends with.
const UNCHANGED: &str = "nothing was changed";

/// `director diff` could not compare.
const NOT_COMPARED: u8 = 2;

/// What was asked for cannot be asked for.
const USAGE: u8 = 2;

/// Asks the running director and prints its answer: 0 done, 1 refused, which is also the answer
/// to a user who may not ask, 2 not reached, unless
/// the answer has a code of its own.
pub fn ask(socket: &Path, request: &Request) -> u8 {
    finish(api::call(socket, request))
}

/// The same for a configuration: a refusal ends with the word that nothing was changed, whoever
/// refused it.
fn change(socket: &Path, request: &Request) -> u8 {
    let answer = api::call(socket, request);
    let is_said = match &answer {
        Ok(Reply { ok, text, .. }) => *ok || text.contains(UNCHANGED),
        // Of what was sent, nobody knows what became of it.
        Err(error) => error.exit_status() != 1,
    };
    let code = finish(answer);
    if !is_said {
        complain(UNCHANGED);
    }
    code
}

fn finish(answer: Result<Reply, SocketError>) -> u8 {
    match answer {
        Ok(Reply { ok: true, text, code }) => {
            print(&text);
            code
        }
        Ok(Reply { ok: false, text, code }) => {
            complain(text.trim_end());
            code.max(1)
        }
        Err(error) => {
            complain(&error.to_string());
            error.exit_status()
        }
    }
}

/// `director apply`.
pub fn apply(args: &cli::Apply) -> u8 {
    match read(&args.file) {
        Ok(text) => {
            let file = (args.file != Path::new("-")).then(|| std::path::absolute(&args.file));
            let file = file.and_then(Result::ok).map(|file| file.display().to_string());
            let (name, dry_run) = (name_of(&args.file), args.dry_run);
            let request = Request::Apply { name, file, text, dry_run };
            change(&args.at.socket, &request)
        }
        Err(problem) => {
            complain(&format!("{problem}\n{UNCHANGED}"));
            1
        }
    }
}

/// `director diff`: 0 no difference, 1 some, 2 they could not be compared.
pub fn diff(args: &cli::Diff) -> u8 {
    let file = match &args.file {
        None => None,
        Some(file) => match read(file) {
            Ok(text) => Some((name_of(file), text)),
            Err(problem) => {
                complain(&problem);
                return NOT_COMPARED;
            }
        },
    };
    let answer = api::call(&args.at.socket, &Request::Diff { file, json: args.json });
    let compared = matches!(answer, Ok(Reply { ok: true, .. }));
    let code = finish(answer);
    // 1 is a difference, which nobody has seen where nothing was compared.
    if compared { code } else { NOT_COMPARED }
}

/// `director rollback`.
pub fn rollback(args: &cli::Rollback) -> u8 {
    let request = Request::Rollback { generation: args.generation, dry_run: args.dry_run };
    change(&args.at.socket, &request)
}

/// `director history`.
pub fn history(args: &cli::History) -> u8 {
    ask(&args.at.socket, &Request::History { json: args.json })
}

/// `director get`.
pub fn get(args: &cli::Get) -> u8 {
    // A configuration has no columns.
    let default = if args.what == Kind::Config { Output::Yaml } else { Output::Table };
    let output = args.output.unwrap_or(default);
    if args.what == Kind::Config {
        if let Some(name) = args.names.first() {
            complain(&format!(
                "the configuration is printed as a whole; 'director get services {name}' shows a part"
            ));
            return USAGE;
        }
        if matches!(output, Output::Table | Output::Wide) {
            complain("a configuration has no columns: write -o yaml or -o json");
            return USAGE;
        }
    }
    if let Kind::Bindings | Kind::Connections = args.what {
        return clients::paged(&args.at.socket, args.what, output, &args.names);
    }
    let request = Request::Get { what: args.what, output, names: args.names.clone() };
    match (args.what, output, api::call(&args.at.socket, &request)) {
        (Kind::Config, Output::Yaml, Ok(Reply { ok: true, text, code })) => {
            print(&(remarks(&text) + &text));
            code
        }
        (_, _, answer) => finish(answer),
    }
}

/// Remarks in a configuration.
const REMARKS: usize = 20;

/// What of the running configuration no file may say: ipvsadm takes more, as the kernel does.
fn remarks(yaml: &str) -> String {
    let Err(problems) = config::parse(yaml, "running") else { return String::new() };
    let mut text = String::from("# ipvsadm's commands made it; as a file it would be refused:\n");
    for problem in problems.iter().take(REMARKS) {
        text += &format!("#   {}: {}: {}\n", problem.code, problem.path, problem.what);
    }
    if problems.len() > REMARKS {
        text += &format!("#   and {} more\n", problems.len() - REMARKS);
    }
    text
}

/// A file's name in messages.
fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".into() } else { file.display().to_string() }
}

/// The text of a file, or of standard input, or why it is none that the director would take.
/// What is too long or no text is not sent.
fn read(file: &Path) -> Result<String, String> {
    let name = name_of(file);
    let failed = |error: io::Error| format!("cannot read {name}: {}", reason(&error));
    let limit = config::MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let done = match file == Path::new("-") {
        true => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        false => fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    done.map_err(failed)?;
    config::text_of(bytes, &name).map_err(|problems| problems.to_string().trim_end().to_owned())
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
