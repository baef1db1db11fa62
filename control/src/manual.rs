//! The manual pages: `director(1)` and one for each command from the command line's help,
//! `director.yaml(5)` from the description of the keys.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use roff::{Inline, Roff, bold, roman};

use crate::cli::{Cli, DEFAULT_CONFIG, DEFAULT_SOCKET};
use crate::config::keys::{Default, Found, Key, explain, reference};

/// At the foot of every page.
const SOURCE: &str = concat!("director ", env!("CARGO_PKG_VERSION"));
/// At the head of every page.
const MANUAL: &str = "Director";

/// Writes all pages into a folder, which is made if it is not there.
///
/// # Errors
/// What the system says.
pub fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = Cli::command().name("director").disable_help_subcommand(true);
    command.build();
    for one in std::iter::once(&command).chain(command.get_subcommands()) {
        if !one.is_hide_set() {
            let name = one.get_display_name().unwrap_or_else(|| one.get_name());
            fs::write(folder.join(format!("{name}.1")), of_command(one, name)?)?;
        }
    }
    fs::write(folder.join("director.yaml.5"), configuration())
}

/// The page of a command, under the name and version of the program.
fn of_command(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone().display_name(name));
    let man = man.title(name.to_uppercase()).source(SOURCE).manual(MANUAL);
    man.render(&mut page)?;
    Ok(page)
}

/// `director.yaml(5)`.
#[must_use]
pub fn configuration() -> String {
    let mut page = Roff::new();
    page.control("TH", ["DIRECTOR.YAML", "5", "", SOURCE, MANUAL]);
    head(&mut page, "NAME");
    page.text([roman("director.yaml - configuration of the Layer-4 load balancer director(1)")]);
    head(&mut page, "DESCRIPTION");
    paragraph(
        &mut page,
        "One YAML file says everything. It needs `ports`, and `services` to be of use. \
         `director check` finds its problems, all at once; `director explain-key` says of a key \
         what this page does. A change of the file is taken over while traffic runs, whole or not \
         at all, unless a key is marked as needing a restart.",
    );
    head(&mut page, "VALUES");
    for (name, about) in reference::values() {
        page.control("TP", []);
        page.text(inline(name));
        page.text(inline(&format!("{about}.")));
    }
    for (found, section) in reference::sections() {
        let title = if found.path.is_empty() { "TOP LEVEL".to_owned() } else { found.path.clone() };
        head(&mut page, &title);
        for text in section.about().split("\n\n") {
            paragraph(&mut page, text);
        }
        for rule in section.rules {
            paragraph(&mut page, &explain::sentence(rule));
        }
        for child in found.children() {
            if let Some((_, key)) = child.key {
                entry(&mut page, &child, key);
            }
        }
    }
    head(&mut page, "FILES");
    paragraph(
        &mut page,
        &format!("`{DEFAULT_CONFIG}`, the configuration that is read unless another one is named."),
    );
    paragraph(&mut page, &format!("`{DEFAULT_SOCKET}`, the control socket."));
    head(&mut page, "SEE ALSO");
    page.text([bold("director"), roman("(1), "), bold("ipvsadm"), roman("(8)")]);
    page.to_roff()
}

fn entry(page: &mut Roff, child: &Found, key: &Key) {
    page.control("TP", []);
    let mut tag = vec![bold(key.name), roman(": ")];
    tag.extend(inline(&key.value.to_string()));
    page.text(tag);
    for text in child.meaning().split("\n\n") {
        page.text(inline(text));
        page.control("br", []);
    }
    if let Some(words) = key.value.words_of() {
        page.control("RS", []);
        for word in words.names() {
            page.control("TP", []);
            page.text([bold(*word)]);
            page.text(inline(&words.meaning(word)));
        }
        page.control("RE", []);
        page.control("IP", []);
    }
    let mut facts = match key.default {
        Default::Is("{}" | "[]") => String::new(),
        Default::Is(value) => format!("Default: `{value}`."),
        Default::From(words) => format!("Default: {words}."),
        Default::Compulsory => "Compulsory.".to_owned(),
    };
    if key.restart {
        facts += " A change needs a restart.";
    }
    if !facts.is_empty() {
        page.text(inline(&facts));
    }
}

fn head(page: &mut Roff, title: &str) {
    page.control("SH", [title]);
}

fn paragraph(page: &mut Roff, text: &str) {
    page.control("PP", []);
    page.text(inline(text));
}

/// What stands between backticks is bold.
fn inline(text: &str) -> Vec<Inline> {
    text.split('`')
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::every;

    #[test]
    fn every_command_has_a_page_with_its_name_and_the_programs_version() {
        let folder = std::env::temp_dir().join(format!("director-manual-{}", std::process::id()));
        write(&folder).unwrap();
        let mut names = Vec::new();
        for file in fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_uppercase();
            let text = fs::read_to_string(&path).unwrap();
            let title = text.lines().find(|line| line.starts_with(".TH ")).unwrap();
            let wanted = format!("\"{SOURCE}\" \"?{MANUAL}\"?").replace("\"?", "");
            assert!(title.starts_with(&format!(".TH {name} ")), "{title}");
            assert!(title.trim_end().trim_end_matches('"').ends_with(&wanted), "{title}");
            names.push(name);
        }
        fs::remove_dir_all(&folder).unwrap();
        for name in ["DIRECTOR", "DIRECTOR-APPLY", "DIRECTOR-IPVSADM", "DIRECTOR.YAML"] {
            assert!(names.iter().any(|one| one == name), "{name}");
        }
        assert!(!names.iter().any(|one| one == "DIRECTOR-MANUAL"), "it is for packagers");
    }

    #[test]
    fn the_page_about_the_file_has_every_key_and_word() {
        let page = configuration();
        for found in every() {
            let (_, key) = found.key.unwrap();
            assert!(
                page.contains(&format!("\\fB{}\\fR: ", key.name.replace('-', "\\-"))),
                "{}",
                found.path
            );
        }
        assert!(page.contains("\\fBnew_elsewhere\\fR"));
        assert!(!page.contains('`'), "no Markdown is left");
    }
}
