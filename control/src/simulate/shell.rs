//! As much of a shell as the recordings' commands need: words and quotes, `;`, `&&`, `||`,
//! pipes, `<`, `>`, here-documents and `$?`.

use super::programs;
use super::world::World;
use crate::ipvsadm::Reply;

/// How a command depends on the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Always,
    Success,
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Operator(&'static str),
}

/// One program of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Simple {
    words: Vec<String>,
    input: Option<String>,
    output: Option<String>,
    errors_to_output: bool,
}

const OPERATORS: [&str; 9] = ["2>&1", ">>", "&&", "||", ";", "|", "<", ">", "\n"];

/// Runs a command line. What is no part of the simulation is an error, and says so.
pub(super) fn run(world: &mut World, line: &str, stdin: Option<&str>) -> Result<Reply, String> {
    let (line, document) = here_document(line);
    let stdin = document.or_else(|| stdin.map(str::to_owned)).unwrap_or_default();
    let mut all = Reply::default();
    for (after, pipeline) in split(&tokens(&line)?)? {
        let wanted = match after {
            After::Always => true,
            After::Success => all.rc == 0,
            After::Failure => all.rc != 0,
        };
        if wanted {
            let reply = run_pipeline(world, &pipeline, &stdin, all.rc)?;
            all.stdout.push_str(&reply.stdout);
            all.stderr.push_str(&reply.stderr);
            all.rc = reply.rc;
        }
    }
    Ok(all)
}

fn run_pipeline(
    world: &mut World,
    pipeline: &[Simple],
    stdin: &str,
    last_rc: u8,
) -> Result<Reply, String> {
    let mut flowing = stdin.to_owned();
    let mut all = Reply::default();
    for simple in pipeline {
        if let Some(file) = &simple.input {
            let text = world.files.get(file);
            flowing = text.cloned().ok_or_else(|| format!("there is no file {file}"))?;
        }
        let rc = last_rc.to_string();
        let words: Vec<String> = simple.words.iter().map(|word| word.replace("$?", &rc)).collect();
        let mut reply = programs::run(world, &words, &flowing)?;
        if simple.errors_to_output {
            reply.stdout.push_str(&std::mem::take(&mut reply.stderr));
        }
        flowing = match &simple.output {
            Some(file) => {
                if let Some(setting) = file.strip_prefix("/proc/sys/") {
                    let value = reply.stdout.trim();
                    programs::run(world, &words_of(&["sysctl", "-q", "-w"], setting, value), "")?;
                } else if file != "/dev/null" {
                    world.files.insert(file.clone(), reply.stdout);
                }
                String::new()
            }
            None => reply.stdout,
        };
        all.stderr.push_str(&reply.stderr);
        all.rc = reply.rc;
    }
    all.stdout = flowing;
    Ok(all)
}

/// The command that sets a file under `/proc/sys`.
fn words_of(command: &[&str], setting: &str, value: &str) -> Vec<String> {
    let words = command.iter().map(|word| (*word).to_owned());
    words.chain([format!("{}={value}", setting.replace('/', "."))]).collect()
}

/// Takes a here-document off a command: the line without it, and its text.
fn here_document(line: &str) -> (String, Option<String>) {
    let Some((before, after)) = line.split_once("<<") else { return (line.to_owned(), None) };
    let Some((mark, rest)) = after.split_once('\n') else { return (line.to_owned(), None) };
    let mark = mark.trim().trim_matches(['\'', '"']);
    let mut text = String::new();
    let mut lines = rest.lines();
    for line in lines.by_ref() {
        if line == mark {
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    let rest: Vec<&str> = lines.collect();
    (format!("{before}\n{}", rest.join("\n")), Some(text))
}

fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
        if let Some(operator) = operator.filter(|o| !(o.starts_with('2') && word.is_some())) {
            tokens.extend(word.take().map(Token::Word));
            tokens.push(Token::Operator(operator));
            rest = rest.get(operator.len()..).unwrap_or_default();
            continue;
        }
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
        match next {
            '\'' | '"' => {
                let (quoted, after) = rest.split_once(next).ok_or("a quotation does not end")?;
                word.get_or_insert_default().push_str(quoted);
                rest = after;
            }
            ' ' | '\t' => tokens.extend(word.take().map(Token::Word)),
            other => word.get_or_insert_default().push(other),
        }
    }
    tokens.extend(word.map(Token::Word));
    Ok(tokens)
}

fn split(tokens: &[Token]) -> Result<Vec<(After, Vec<Simple>)>, String> {
    let mut lines = Vec::new();
    let mut after = After::Always;
    let mut pipeline = vec![Simple::default()];
    let mut tokens = tokens.iter();
    while let Some(token) = tokens.next() {
        let Some(simple) = pipeline.last_mut() else { break };
        let mut file = || match tokens.next() {
            Some(Token::Word(file)) => Ok(file.clone()),
            _ => Err("a redirection names no file".to_owned()),
        };
        let next = match token {
            Token::Word(word) => {
                simple.words.push(word.clone());
                continue;
            }
            Token::Operator("<") => {
                simple.input = Some(file()?);
                continue;
            }
            Token::Operator(">") => {
                simple.output = Some(file()?);
                continue;
            }
            Token::Operator("2>&1") => {
                simple.errors_to_output = true;
                continue;
            }
            Token::Operator("|") => {
                pipeline.push(Simple::default());
                continue;
            }
            Token::Operator("&&") => After::Success,
            Token::Operator("||") => After::Failure,
            Token::Operator(";" | "\n") => After::Always,
            Token::Operator(other) => return Err(format!("{other} is not simulated")),
        };
        lines.push((after, std::mem::replace(&mut pipeline, vec![Simple::default()])));
        after = next;
    }
    lines.push((after, pipeline));
    lines.retain(|(_, pipeline)| pipeline.iter().any(|simple| !simple.words.is_empty()));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(line: &str) -> Vec<(After, Vec<Vec<String>>)> {
        let lines = split(&tokens(line).unwrap()).unwrap();
        lines
            .into_iter()
            .map(|(after, pipeline)| (after, pipeline.into_iter().map(|s| s.words).collect()))
            .collect()
    }

    #[test]
    fn a_line_is_cut_at_its_operators_and_not_in_quotes() {
        let line = "a 'b;c' > f; d | e -n && echo \"x y\" 2>&1";
        let words = |text: &[&str]| text.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            commands(line),
            [
                (After::Always, vec![words(&["a", "b;c"])]),
                (After::Always, vec![words(&["d"]), words(&["e", "-n"])]),
                (After::Success, vec![words(&["echo", "x y"])]),
            ]
        );
    }

    #[test]
    fn a_here_document_is_standard_input() {
        let (line, text) = here_document("ipvsadm -R <<'E'\n-C\n-A x\nE\n");
        assert_eq!(line.trim(), "ipvsadm -R");
        assert_eq!(text.as_deref(), Some("-C\n-A x\n"));
    }
}
