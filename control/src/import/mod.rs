//! Coming over from LVS: what ipvsadm, iptables, nft and keepalived say, as Director's YAML.
//!
//! ```text
//! text -> script (words of a shell), ipvsadm   -> Draft: services, real servers, timeouts
//!         keepalived (blocks, parameters)      -> Draft
//!         filter (iptables, nft: rules)        -> Draft: chains of rules
//! Draft -> filter::marks (which packets get which mark) -> settle (what Director can be told)
//!       -> write (YAML with the lines that it comes from)
//! ```
//!
//! Several texts make one configuration: a firewall mark's service comes from one of them and
//! its selectors from another. Nothing is lost silently: whatever cannot be carried over is a
//! [`Note`] with the reason and what to do about it. Everything here is a pure function of the
//! texts; however they look, it ends soon and within bounds.

mod draft;
mod filter;
mod ipvsadm;
mod keepalived;
mod note;
mod script;
mod settle;
mod write;

use crate::config::MAX_BYTES;
use crate::ipvsadm::Names;

pub use note::Note;

use draft::{Draft, Origin};

/// Who a text was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ipvsadm-save`'s text, or a shell script with ipvsadm's command lines.
    Ipvsadm,
    /// `iptables-save`'s or `ip6tables-save`'s text, a shell script with their command lines, or
    /// what `nft list ruleset` prints.
    Iptables,
    /// `keepalived.conf`.
    Keepalived,
}

/// One text to take over.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Who it was written for. In shell scripts ipvsadm's and iptables' command lines are both
    /// read, whichever of the two is said here.
    pub kind: Kind,
    /// What it is called in notes and comments: the file's name.
    pub name: &'a str,
    /// The text; at most [`MAX_BYTES`] of it are looked at. Bytes that are no UTF-8 are replaced.
    pub text: &'a [u8],
}

/// What has become of the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The configuration. Once its commented `ports` are filled in it loads; its comments say
    /// which line a service or real server comes from, and repeat the notes at the end.
    pub yaml: String,
    /// What was not carried over, or not as it was; by file and line.
    pub notes: Vec<Note>,
    /// How many notes there would be if all were kept.
    pub lost: usize,
    /// How many virtual services the configuration has.
    pub services: usize,
    /// Services that stand in it as remarks, to be completed.
    pub remarks: usize,
    /// Whether the texts had anything of what they were read as. Without that the configuration
    /// says nothing, and the notes only what the texts are not.
    pub found: bool,
}

/// Makes one configuration of these texts.
///
/// `names` knows ports and hosts by name; no other name is looked up. `config_id` is what
/// keepalived is started with as `-i` (without it, the host's name): it decides about lines that
/// begin with `@`.
pub fn import(inputs: &[Input<'_>], names: &Names, config_id: Option<&str>) -> Imported {
    let mut draft = Draft::new(inputs.iter().map(|input| input.name));
    for (file, input) in inputs.iter().enumerate() {
        let bytes = input.text.get(..MAX_BYTES).unwrap_or(input.text);
        if bytes.len() < input.text.len() {
            draft.notes.add(
                Origin::new(file, 0),
                format!("everything behind the first {MAX_BYTES} bytes"),
                "no configuration may be larger",
                "import the file in parts",
            );
        }
        let text = String::from_utf8_lossy(bytes);
        match input.kind {
            Kind::Ipvsadm => commands(file, &text, names, &mut draft),
            Kind::Iptables if filter::is_nft(&text) => filter::nft(file, &text, names, &mut draft),
            Kind::Iptables => commands(file, &text, names, &mut draft),
            Kind::Keepalived => keepalived::read(file, &text, names, config_id, &mut draft),
        }
    }
    let (plan, notes) = settle::settle(draft);
    write::write(&plan, notes)
}

/// Commands of a file that are read: more than twice as many as a configuration can hold services
/// and real servers.
const MOST_COMMANDS: usize = 350_000;

/// A shell script, or a saved listing, which is one without the commands' names.
fn commands(file: usize, text: &str, names: &Names, draft: &mut Draft) {
    let mut tables = filter::Reader::new(file, text);
    let is_saved = is_saved(text);
    let mut count = 0;
    script::each(text, |line| {
        let origin = Origin::new(file, line.number);
        count += 1;
        if count >= MOST_COMMANDS {
            if count == MOST_COMMANDS {
                let why = "there are too many commands";
                draft.notes.add(origin, "everything from here on", why, "import the file in parts");
            }
            return;
        }
        match script::program(&line.words) {
            Some((script::Program::Ipvsadm, args)) => ipvsadm::read(origin, args, names, draft),
            Some((script::Program::Iptables, args)) => {
                tables.command(origin, args, false, names, draft);
            }
            Some((script::Program::Ip6tables, args)) => {
                tables.command(origin, args, true, names, draft);
            }
            Some((script::Program::Nft, args))
                if args.first().is_none_or(|word| word != "list") =>
            {
                draft.notes.add(
                    origin,
                    format!("nft {}", args.join(" ")),
                    "single nft commands are not read",
                    "import the output of `nft list ruleset` instead",
                );
            }
            Some((script::Program::Nft, _)) => {}
            None if tables.is_listing(&line.words) => {
                tables.listed(origin, &line.words, names, draft);
            }
            None if line.words.first().is_some_and(|word| word.starts_with('-')) => {
                ipvsadm::read(origin, &line.words, names, draft);
            }
            // A script has commands of its own; what ipvsadm saved has none but ipvsadm's.
            None => {
                if is_saved && !line.words.is_empty() {
                    draft.notes.add(
                        origin,
                        line.words.join(" "),
                        "it is no command of ipvsadm's",
                        "leave it out, or mend it",
                    );
                }
            }
        }
    });
}

/// Whether a text is as `ipvsadm-save` writes it, without the command's name in its lines. A
/// script may have such lines, too, behind a call of ipvsadm.
fn is_saved(text: &str) -> bool {
    let is_line = |line: &str| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("-A" | "-a"))
            && words.next().is_some_and(|word| word.starts_with('-'))
    };
    let calls =
        |line: &str| line.split_whitespace().any(|word| word.rsplit('/').next() == Some("ipvsadm"));
    text.lines().any(is_line) && !text.lines().any(calls)
}
