//! Lines into statements with the blocks that belong to them.

use super::super::draft::Origin;
use super::super::note::Notes;

/// A statement: its words, and what is between its braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) words: Vec<String>,
    pub(super) children: Vec<Node>,
    /// Whether it had braces, also with nothing between them.
    block: bool,
}

/// Blocks within blocks; real files have five.
const DEEPEST: usize = 32;

/// Characters that are read of a line.
const LONGEST_LINE: usize = 65_536;

impl Node {
    /// The first word.
    pub(super) fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The word at this place, from 0 for the one behind the key.
    pub(super) fn value(&self, at: usize) -> Option<&str> {
        self.words.get(at + 1).map(String::as_str)
    }

    /// Everything that it says, on one line.
    pub(super) fn shown(&self) -> String {
        let mut text = String::new();
        self.show(&mut text);
        text
    }

    fn show(&self, text: &mut String) {
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            match word.contains(char::is_whitespace) || word.is_empty() {
                true => text.extend(["\"", word, "\""]),
                false => text.push_str(word),
            }
        }
        if self.block {
            text.push_str(" {");
            for (index, child) in self.children.iter().enumerate() {
                text.push_str(if index > 0 { "; " } else { " " });
                child.show(text);
            }
            text.push_str(" }");
        }
    }
}

/// Cuts lines into words and puts them into blocks.
pub(super) fn build(file: usize, lines: &[(usize, String)], notes: &mut Notes) -> Vec<Node> {
    // The last one is the block that is open; the first one is the file.
    let mut open = vec![Node::default()];
    let mut pending: Option<Node> = None;
    for (line, text) in lines {
        let words = words(text);
        let opens_last = words.first().is_some_and(|word| *word == Word::Open);
        if !opens_last {
            close(&mut open, pending.take());
        }
        for word in words {
            match word {
                Word::Text(text) => {
                    let node =
                        pending.get_or_insert_with(|| Node { line: *line, ..Node::default() });
                    node.words.push(text);
                }
                Word::Open => {
                    let mut node = pending.take().unwrap_or_default();
                    node.block = true;
                    if node.line == 0 {
                        node.line = *line;
                    }
                    if open.len() >= DEEPEST {
                        let why = "there are too many blocks within blocks";
                        let what = "everything from here on";
                        notes.add(Origin::new(file, *line), what, why, "see to the braces");
                        return finish(open);
                    }
                    open.push(node);
                }
                Word::Close => {
                    close(&mut open, pending.take());
                    if open.len() > 1 {
                        let node = open.pop();
                        close(&mut open, node);
                    } else {
                        let why = "it closes no block";
                        notes.add(Origin::new(file, *line), "a brace }", why, "see to the braces");
                    }
                }
            }
        }
    }
    close(&mut open, pending.take());
    if let Some(left) = open.get(1) {
        let what = format!("the block {}", left.words.join(" "));
        let why = "it is not closed";
        notes.add(Origin::new(file, left.line), what, why, "see to the braces");
    }
    finish(open)
}

/// Puts a node that is complete into the open block.
fn close(open: &mut [Node], node: Option<Node>) {
    if let (Some(block), Some(node)) = (open.last_mut(), node) {
        block.children.push(node);
    }
}

/// Closes what is still open.
fn finish(mut open: Vec<Node>) -> Vec<Node> {
    while open.len() > 1 {
        let node = open.pop();
        close(&mut open, node);
    }
    open.pop().map(|file| file.children).unwrap_or_default()
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Text(String),
    Open,
    Close,
}

/// A brace is a word of its own unless it belongs to a `${PARAMETER}`.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut begun, mut quoted, mut parameter) = (false, false, false);
    let mut before = ' ';
    for c in line.chars().take(LONGEST_LINE) {
        let brace = match c {
            '"' => {
                quoted = !quoted;
                begun = true;
                None
            }
            _ if quoted => {
                word.push(c);
                None
            }
            '{' if before == '$' => {
                parameter = true;
                word.push(c);
                None
            }
            '}' if parameter => {
                parameter = false;
                word.push(c);
                None
            }
            '{' => Some(Word::Open),
            '}' => Some(Word::Close),
            c if c.is_whitespace() => {
                if begun {
                    words.push(Word::Text(std::mem::take(&mut word)));
                    begun = false;
                }
                before = c;
                continue;
            }
            c => {
                word.push(c);
                None
            }
        };
        before = c;
        match brace {
            None => begun = true,
            Some(brace) => {
                if begun {
                    words.push(Word::Text(std::mem::take(&mut word)));
                    begun = false;
                }
                words.push(brace);
            }
        }
    }
    if begun {
        words.push(Word::Text(word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Node>, usize) {
        let lines: Vec<(usize, String)> =
            text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect();
        let mut notes = Notes::default();
        let nodes = build(0, &lines, &mut notes);
        (nodes, notes.finish(&["f".into()]).len())
    }

    #[test]
    fn braces_stand_anywhere_on_a_line() {
        for text in ["a b {\n c d\n e\n}\nf", "a b\n{\nc d\ne }\nf", "a b { c d\n e }\n f"] {
            let (nodes, notes) = read(text);
            let shown: Vec<String> = nodes.iter().map(Node::shown).collect();
            assert_eq!(shown, ["a b { c d; e }", "f"], "{text}");
            assert_eq!((nodes[0].children.len(), notes), (2, 0), "{text}");
        }
    }

    #[test]
    fn quotes_keep_words_together_and_braces_out() {
        let (nodes, _) = read("a \"b { c\" ${d} \"\"");
        assert_eq!(nodes[0].words, ["a", "b { c", "${d}", ""]);
        assert_eq!(nodes[0].shown(), "a \"b { c\" ${d} \"\"");
    }

    #[test]
    fn braces_that_do_not_match_are_noted() {
        assert_eq!(read("a {\n b\n").1, 1);
        assert_eq!(read("}\n").1, 1);
        assert_eq!(read(&"x {\n".repeat(100_000)).1, 1);
    }
}
