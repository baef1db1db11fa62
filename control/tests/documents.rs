//! Every command and every example of README.md and conf/README.md is run.
//!
//! A block of commands (`sh`, or `console` with `$ ` before them and their output after them) says
//! on the line before it how, in a comment that readers do not see:
//!
//! - `<!-- run: in the tree -->`: as it stands, in the root of the repository;
//! - `<!-- run: with a director -->`: asks a director that runs on the last `yaml` block before it,
//!   in a laboratory with the port on `net_af_packet`, where a client comes before each command;
//! - `<!-- run: on a real server -->`: in a network namespace of its own;
//! - `<!-- not run: REASON -->`: what needs a NIC, minutes or another machine. Each line is read by
//!   the parser of its program: the command line's, ipvsadm's, the shell's; scripts must be there
//!   and have help and the options. A line of a program that the test does not know fails.
//!
//! `sudo` is left out, `/etc/director/director.yaml` is the laboratory's file, `/tmp/` its folder,
//! and ten minutes are two seconds. In the output of a `console` block `...` stands for anything. A `yaml` block is a configuration, or a part of one
//! that is tried beside a port. Pictures are `text`. Any other block fails.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory, Parser};
use control::cli::Cli;
use control::config;
use control::ipvsadm::{self, Names};
use support::farm::Farm;
use support::node::Node;
use support::program::{Home, Program};
use support::server;

const CONFIG: &str = "/etc/director/director.yaml";
/// The client that the documents speak of.
const CLIENT: &str = "198.18.0.7";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A block of a document.
#[derive(Debug)]
struct Block {
    place: String,
    language: String,
    /// The comment on the line before.
    note: String,
    text: String,
}

/// What a comment says about a block of commands.
#[derive(Debug, PartialEq, Eq)]
enum How {
    Tree,
    Director,
    RealServer,
    NotAtAll,
}

impl Block {
    fn how(&self) -> How {
        let note = self.note.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        match note.unwrap_or_default() {
            "run: in the tree" => How::Tree,
            "run: with a director" => How::Director,
            "run: on a real server" => How::RealServer,
            other => match other.strip_prefix("not run: ") {
                Some(reason) if reason.len() > 10 => How::NotAtAll,
                _ => panic!(
                    "{}: say on the line before this block how it is run, such as \
                     <!-- run: with a director -->; control/tests/documents.rs has the list",
                    self.place
                ),
            },
        }
    }

    /// The commands, each with the output that is expected of it.
    fn commands(&self) -> Vec<(String, Option<String>)> {
        let mut commands: Vec<(String, Option<String>)> = Vec::new();
        for line in self.text.lines() {
            if self.language == "console" {
                match line.strip_prefix("$ ") {
                    Some(command) => commands.push((command.to_owned(), Some(String::new()))),
                    None => {
                        let (_, output) = commands.last_mut().expect("a command before its output");
                        *output.as_mut().unwrap() += &format!("{line}\n");
                    }
                }
            } else if !line.trim().is_empty() && !line.starts_with('#') {
                commands.push((line.to_owned(), None));
            }
        }
        for (command, _) in &mut commands {
            *command = command.replace("sudo ", "");
        }
        assert!(!commands.is_empty(), "{}: no command in this block", self.place);
        commands
    }
}

/// The blocks of a document in their order. Indented blocks cannot say what they are.
fn blocks(document: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let mut blocks = Vec::new();
    let (mut open, mut before): (Option<Block>, &str) = (None, "");
    for (number, line) in text.lines().enumerate() {
        let place = format!("{document}:{}", number + 1);
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.text += &format!("{line}\n"),
            (None, Some(language)) => {
                let (language, note) = (language.to_owned(), before.to_owned());
                open = Some(Block { place, language, note, text: String::new() });
            }
            (None, None) => {
                let indented = line.starts_with("    ") && before.is_empty();
                assert!(!indented, "{place}: put ``` around this block and say what it is");
            }
        }
        before = line;
    }
    assert!(open.is_none(), "{document}: a block has no end");
    blocks
}

/// Both documents' blocks; a director is asked about the YAML that its own document shows.
fn documents() -> Vec<Vec<Block>> {
    ["README.md", "conf/README.md"].into_iter().map(blocks).collect()
}

/// Runs a line of a shell in the tree, with the program in its path.
fn run(line: &str, environment: &[(&str, String)]) -> (bool, String, String) {
    let folder = Path::new(env!("CARGO_BIN_EXE_director")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euc", line])
        .current_dir(root())
        .env("PATH", path)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn must_run(
    block: &Block,
    environment: &[(&str, String)],
    adapt: &(dyn Fn(&str) -> String + Sync),
) {
    for (command, expected) in block.commands() {
        let (fine, stdout, stderr) = run(&adapt(&command), environment);
        assert!(fine, "{}: {command}\n{stdout}{stderr}", block.place);
        if let Some(expected) = expected {
            assert!(
                fits(&expected, &stdout),
                "{}: {command}\nshown:\n{expected}it prints:\n{stdout}",
                block.place
            );
        }
    }
}

/// Whether a text is what is shown, in which `...` is anything.
fn fits(shown: &str, text: &str) -> bool {
    let parts: Vec<&str> = shown.trim_end().split("...").collect();
    let mut rest = text.trim_end();
    for (index, part) in parts.iter().enumerate() {
        // A line of dots stands for no line as well.
        let part = if index > 0 { part.trim_start_matches('\n') } else { part };
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(at) if index > 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || parts.len() > 1 && parts.last().is_some_and(|last| last.trim().is_empty())
}

#[test]
fn what_is_shown_may_leave_parts_out() {
    assert!(fits("a\nb\n", "a\nb\n"));
    assert!(!fits("a\n", "a\nb\n"));
    assert!(fits("a\n...\n", "a\nb\nc\n"));
    assert!(fits("...\nb\n", "a\nb\n"));
    assert!(fits("took ... s\n", "took 17 s\n"));
    assert!(!fits("took ... s\n", "it took 17 s\n"));
}

#[test]
fn every_block_says_what_it_is() {
    let (mut commands, mut configurations) = (0, 0);
    for block in documents().iter().flatten() {
        match block.language.as_str() {
            "sh" | "console" => {
                block.how();
                commands += block.commands().len();
            }
            "yaml" => configurations += 1,
            "text" => {}
            other => panic!(
                "{}: `{other}` is no kind of block that a test knows: text, yaml, sh or console",
                block.place
            ),
        }
    }
    assert!(commands > 10 && configurations > 1, "{commands} commands, {configurations} files");
}

#[test]
fn every_yaml_block_is_a_configuration_or_part_of_one() {
    for block in documents().iter().flatten().filter(|block| block.language == "yaml") {
        let port = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]\n";
        let whole = block.text.lines().any(|line| line.starts_with("ports:"));
        let text = if whole { block.text.clone() } else { format!("{port}{}", block.text) };
        config::parse(&text, &block.place).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn what_runs_in_the_tree_or_on_a_real_server_does() {
    for block in documents().iter().flatten() {
        if !matches!(block.language.as_str(), "sh" | "console") {
            continue;
        }
        match block.how() {
            How::Tree => must_run(block, &[], &str::to_owned),
            How::RealServer => {
                let node = Node::new();
                for (command, _) in block.commands() {
                    node.shell(&command);
                }
            }
            How::Director | How::NotAtAll => {}
        }
    }
}

#[test]
fn what_asks_a_director_is_answered_by_one_that_runs_on_the_file_that_is_shown() {
    let mut asked = 0;
    for blocks in documents() {
        let mut yaml = None;
        for block in &blocks {
            match block.language.as_str() {
                "yaml" if block.text.contains("\nservices:") => yaml = Some(block.text.clone()),
                "sh" | "console" if block.how() == How::Director => {
                    let yaml = yaml.clone().expect("a configuration before its commands");
                    ask(block, &yaml);
                    asked += 1;
                }
                _ => {}
            }
        }
    }
    assert!(asked > 0);
}

/// Real servers that have the file's VIP on `lo`, and a client.
fn farm_of(yaml: &str) -> (Farm, String) {
    let farm = Farm::new(2);
    let mut words = yaml.split(|letter: char| letter.is_whitespace() || letter == ',');
    words.find(|word| *word == "vip:").expect("a VIP");
    let vip = words.next().unwrap().to_owned();
    for node in &farm.servers {
        node.ip(&format!("addr add {vip}/32 dev lo"));
    }
    server::everywhere(&farm, &[443]);
    farm.client.ip(&format!("addr add {CLIENT}/16 dev eth0"));
    (farm, format!("{vip}:443"))
}

/// Starts a director on the file and runs the block's commands against it, in its namespace.
fn ask(block: &Block, yaml: &str) {
    let (farm, service) = farm_of(yaml);
    let home = Home::new();
    let lines = yaml.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start() {
            text if text.starts_with("device:") => {
                format!("{:indent$}device: \"net_af_packet0,iface=eth0\"\n", "")
            }
            text if text.starts_with("cores:") => format!("{:indent$}cores: [1]\n", ""),
            _ => format!("{line}\n"),
        }
    });
    let file = home.yaml(&lines.collect::<String>());
    let program = Program::start_as(&farm.director, home, &file, &[]);
    let environment = [("DIRECTOR_SOCKET", program.home.socket().display().to_string())];
    let (path, pid) = (program.file().display().to_string(), program.pid());
    let folder = program.home.folder.display().to_string();
    let adapt = |command: &str| {
        server::ask(&farm.client, CLIENT, &service);
        if command.starts_with("director run ") {
            // This is what has been done.
            return format!("grep -zq director /proc/{pid}/cmdline");
        }
        let command = command.replace("/tmp/", &format!("{folder}/")).replace(CONFIG, &path);
        command.replace("--deadline 10m", "--deadline 2s")
    };
    farm.director.inside(|| must_run(block, &environment, &adapt));
    program.stop();
}

#[test]
fn what_cannot_be_run_here_is_at_least_understood() {
    let mut lines = 0;
    for block in documents().iter().flatten() {
        if !matches!(block.language.as_str(), "sh" | "console") || block.how() != How::NotAtAll {
            continue;
        }
        for (command, _) in block.commands() {
            let (fine, _, error) = run(&format!("bash -n <<'END'\n{command}\nEND"), &[]);
            assert!(fine && error.is_empty(), "{}: {command}\n{error}", block.place);
            let (line, remark) = command.split_once(" #").unwrap_or((&command, ""));
            let words: Vec<&str> = line.split_whitespace().collect();
            let place = format!("{}: {line}", block.place);
            understood(&words, remark, &place);
            lines += 1;
        }
    }
    assert!(lines > 10, "only {lines} lines");
}

/// Reads a line with the parser of the program that it is for; of a stranger's program, what the
/// line says about this tree must be so.
fn understood(words: &[&str], remark: &str, place: &str) {
    let manifest: String = ["Cargo.toml", "control/Cargo.toml"].map(file).concat();
    match words {
        ["director", rest @ ..] => {
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{place}\n{}", parsed.unwrap_err());
            if let ["ipvsadm", rest @ ..] = rest {
                as_ipvsadm(rest, place);
            }
        }
        ["ipvsadm", rest @ ..] => as_ipvsadm(rest, place),
        ["ipvsadm-save", rest @ ..] => {
            let (rest, target) = redirected(rest, place);
            as_ipvsadm(&[&["-S"], rest].concat(), place);
            file(&format!("conf/examples/coming-over/{target}"));
        }
        ["iptables-save", "-t", table, rest @ ..] => {
            let (_, target) = redirected(rest, place);
            let saved = file(&format!("conf/examples/coming-over/{target}"));
            assert!(saved.starts_with(&format!("*{table}\n")), "{place}");
        }
        [script, rest @ ..] if script.starts_with("scripts/") => {
            let (fine, help, error) = run(&format!("{script} --help"), &[]);
            assert!(fine && !help.is_empty(), "{script} --help\n{error}");
            for option in rest.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{place}: {script} has no {option}");
            }
            // What it makes is named as it is.
            if let Some(made) = remark.split_whitespace().find(|word| word.ends_with(".deb")) {
                let version = manifest.split("version = \"").nth(1).unwrap();
                let version = format!("{}-1", version.split('"').next().unwrap());
                assert!(help.contains(&made.replace(&version, "VERSION")), "{place}: {made}");
            }
        }
        ["cargo", "build", "--release", "-p", package] => {
            assert!(manifest.contains(&format!("name = \"{package}\"\n")), "{place}");
        }
        ["install", program, "/usr/bin/"] => {
            let name = program.strip_prefix("target/release/").unwrap_or_else(|| panic!("{place}"));
            assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")), "{place}");
        }
        ["sysctl", setting] => {
            let (key, value) = setting.split_once('=').unwrap_or_else(|| panic!("{place}"));
            let path = Path::new("/proc/sys").join(key.replace('.', "/"));
            assert!(path.exists() && value.parse::<u64>().is_ok(), "{place}");
        }
        ["modprobe", driver] => assert!(binds(driver), "{place}: nothing is bound to {driver}"),
        ["dpdk-devbind.py", bind, device] => {
            let driver = bind.strip_prefix("--bind=").unwrap_or_else(|| panic!("{place}"));
            assert!(file("README.md").contains(&format!("modprobe {driver}\n")), "{place}");
            let ports =
                format!("ports: [{{ name: p, device: {device}, addresses: [192.0.2.1/24] }}]");
            config::parse(ports, place).unwrap_or_else(|problems| panic!("{problems}"));
            assert!(file("README.md").contains(&format!("device: {device}\n")), "{place}");
        }
        ["apt", "install", package] => {
            let help = run("scripts/package --help", &[]).1;
            let package = package.strip_prefix("./").unwrap_or_else(|| panic!("{place}"));
            let (before, after) = package.split_once('*').unwrap_or_else(|| panic!("{place}"));
            assert!(help.contains(before) && help.contains(after), "{place}");
        }
        ["systemctl", word, rest @ ..] => {
            let unit = file(&format!("conf/{}.service", rest.last().unwrap_or(&"")));
            match *word {
                "enable" => assert!(unit.contains("\nWantedBy="), "{place}"),
                "reload" => assert!(unit.contains("\nExecReload="), "{place}"),
                "status" => {}
                other => panic!("{place}: tell this test what '{other}' wants of the unit"),
            }
        }
        _ => panic!("{place}: tell this test how such a line is checked"),
    }
}

/// A file of the tree.
fn file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn as_ipvsadm(words: &[&str], place: &str) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let parsed = ipvsadm::parse(&words, &Names::of_this_machine());
    assert!(parsed.is_ok(), "{place}: {parsed:?}");
}

/// The words before `> FILE`, and the file.
fn redirected<'a>(words: &'a [&'a str], place: &str) -> (&'a [&'a str], &'a str) {
    match words {
        [before @ .., ">", target] => (before, target),
        _ => panic!("{place}: where does it go?"),
    }
}

fn binds(driver: &str) -> bool {
    file("README.md").contains(&format!("dpdk-devbind.py --bind={driver} "))
}

/// Links, and files that sentences name, lead somewhere.
#[test]
fn files_in_sentences_are_there() {
    let mut seen = 0;
    for document in ["README.md", "conf/README.md", "benches/README.md"] {
        let text = file(document);
        let folder = root().join(Path::new(document).parent().unwrap());
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let path = link.split('#').next().unwrap();
            assert!(folder.join(path).exists(), "{document}: there is no {link}");
            seen += 1;
        }
        for span in text.split('`').skip(1).step_by(2).filter(|span| !span.contains('\n')) {
            let path = span.split_whitespace().next().unwrap_or_default();
            if path.starts_with("scripts/") {
                assert!(root().join(path).exists(), "{document}: there is no {path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "only {seen} files");
}

/// A command in the running text is one of the program's.
#[test]
fn commands_in_sentences_are_there() {
    let known: Vec<String> =
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut seen = 0;
    for document in ["README.md", "conf/README.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for span in text.split('`').skip(1).step_by(2).filter(|span| !span.contains('\n')) {
            let Some(rest) = span.strip_prefix("director ") else { continue };
            let name = rest.split_whitespace().next().unwrap_or_default();
            assert!(known.iter().any(|one| one == name), "{document}: there is no `{span}`");
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} commands");
}
