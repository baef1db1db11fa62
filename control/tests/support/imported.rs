//! What an import wrote, completed as an operator completes it.

use control::config::{self, Model};
use control::import::Imported;

/// The configuration as an operator completes it: `ports` without its remark signs, and every
/// guess filled in.
fn filled(yaml: &str) -> String {
    let mut in_ports = false;
    let mut text = String::new();
    for line in yaml.lines() {
        in_ports = (in_ports || line == "# ports:") && !line.is_empty();
        if !in_ports {
            text.push_str(line);
        } else if let Some(line) = line.strip_prefix("# ").or_else(|| line.strip_prefix('#')) {
            let line = line
                .replace("gateway: ?.?.?.?", "gateway: 198.18.199.2")
                .replace("- ?.?.?.?/24", "- 198.18.199.1/24")
                .replace("\"?::?\"", "fe80::1")
                .replace('?', "250");
            text.push_str(&line);
            // A gateway has to be in a network of the port.
            if line.contains("addresses:") && yaml.contains("gateway: ?.?.?.?") {
                text.push_str("\n      - 198.18.199.1/24");
            }
        }
        text.push('\n');
    }
    text
}

/// What the completed configuration says; it must load.
pub fn load(done: &Imported) -> Model {
    let text = filled(&done.yaml);
    config::parse(&text, "imported").unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}
