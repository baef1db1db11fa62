//! Lines into statements with the blocks that belong to them.

use super::super::draft::Origin;
use super::super::note::Notes;

/// A statement: its words, and what is between its braces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: u32,
    /// Whether it had braces, also with nothing between them.
    block: bool,
    pub(super) words: Words,
    pub(super) children: Vec<Node>,
}

/// Words in one piece of memory, as files may have millions of them: each ends with a NUL,
/// which no word has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words(Box<str>);

/// Blocks within blocks; real files have five.
const DEEPEST: usize = 32;

/// Statements of a file that are read.
const MOST_NODES: usize = 400_000;

/// Characters that are read of a line.
const LONGEST_LINE: usize = 65_536;

impl Words {
    /// One after the other.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\0')
    }

    /// All of them with spaces between them.
    pub(super) fn joined(&self) -> String {
        self.0.strip_suffix('\0').unwrap_or_default().replace('\0', " ")
    }
}

impl Node {
    /// The first word.
    pub(super) fn key(&self) -> &str {
        self.words.iter().next().unwrap_or_default()
    }

    /// The word at this place, from 0 for the one behind the key.
    pub(super) fn value(&self, at: usize) -> Option<&str> {
        self.values().nth(at)
    }

    /// The words behind the key.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.words.iter().skip(1)
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

/// Puts lines, as they come, into blocks.
pub(super) struct Builder {
    file: usize,
    /// The last one is the block that is open; the first one is the file.
    open: Vec<Node>,
    /// The statement whose end has not been seen: its line, and its words as in [`Words`].
    pending: Option<(u32, String)>,
    count: usize,
    /// Nothing more is read.
    full: bool,
}

impl Builder {
    pub(super) fn new(file: usize) -> Self {
        Self { file, open: vec![Node::default()], pending: None, count: 0, full: false }
    }

    /// Cuts one more line into words.
    pub(super) fn line(&mut self, number: usize, text: &str, notes: &mut Notes) {
        if self.full {
            return;
        }
        let line = u32::try_from(number).unwrap_or(u32::MAX);
        let at = Origin::new(self.file, number);
        let words = words(text);
        if words.first().is_none_or(|word| *word != Word::Open) {
            self.close_pending();
        }
        for word in words {
            match word {
                Word::Text(text) => {
                    let (_, words) = self.pending.get_or_insert_with(|| (line, String::new()));
                    words.push_str(&text);
                    words.push('\0');
                }
                Word::Open => {
                    if self.open.len() >= DEEPEST {
                        self.stop(at, "there are too many blocks within blocks", notes);
                        return;
                    }
                    let mut node = self.take_pending().unwrap_or_default();
                    node.block = true;
                    if node.line == 0 {
                        node.line = line;
                    }
                    self.open.push(node);
                }
                Word::Close => {
                    self.close_pending();
                    if !self.close_block() {
                        let why = "it closes no block";
                        notes.add(at, "a brace }", why, "see to the braces");
                    }
                }
            }
            if self.count > MOST_NODES {
                self.stop(at, "there are too many statements in the file", notes);
                return;
            }
        }
    }

    /// What was read. A block that is still open is noted, and closed.
    pub(super) fn finish(mut self, notes: &mut Notes) -> Vec<Node> {
        self.close_pending();
        if let Some(left) = self.open.get(1).filter(|_| !self.full) {
            let what = format!("the block {}", left.words.joined());
            let at = Origin::new(self.file, left.line as usize);
            notes.add(at, what, "it is not closed", "see to the braces");
        }
        while self.close_block() {}
        self.open.pop().map(|file| file.children).unwrap_or_default()
    }

    fn stop(&mut self, at: Origin, why: &str, notes: &mut Notes) {
        self.full = true;
        self.pending = None;
        let hint = "see to the braces, or import the file in parts";
        notes.add(at, "everything from here on", why, hint);
    }

    fn take_pending(&mut self) -> Option<Node> {
        let (line, words) = self.pending.take()?;
        let words = Words(words.into_boxed_str());
        Some(Node { line, words, ..Node::default() })
    }

    fn close_pending(&mut self) {
        if let Some(node) = self.take_pending() {
            self.close(node);
        }
    }

    /// Closes the innermost block; `false` if that is the file.
    fn close_block(&mut self) -> bool {
        if self.open.len() <= 1 {
            return false;
        }
        if let Some(mut node) = self.open.pop() {
            node.children.shrink_to_fit();
            self.close(node);
        }
        true
    }

    /// Puts a node that is complete into the open block.
    fn close(&mut self, node: Node) {
        self.count += 1;
        if let Some(block) = self.open.last_mut() {
            block.children.push(node);
        }
    }
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
                word.push(if c == '\0' { ' ' } else { c });
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
            c if c.is_whitespace() || c == '\0' => {
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
        let mut notes = Notes::default();
        let mut builder = Builder::new(0);
        for (index, line) in text.lines().enumerate() {
            builder.line(index + 1, line, &mut notes);
        }
        let nodes = builder.finish(&mut notes);
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
        assert_eq!(nodes[0].words.iter().collect::<Vec<_>>(), ["a", "b { c", "${d}", ""]);
        assert_eq!(nodes[0].words.joined(), "a b { c ${d} ");
        assert_eq!(nodes[0].shown(), "a \"b { c\" ${d} \"\"");
    }

    #[test]
    fn braces_that_do_not_match_are_noted() {
        assert_eq!(read("a {\n b\n").1, 1);
        assert_eq!(read("}\n").1, 1);
        assert_eq!(read(&"x {\n".repeat(100_000)).1, 1);
    }

    #[test]
    fn statements_beyond_the_most_are_noted_once() {
        let (nodes, notes) = read(&format!("{}\n", "{}".repeat(1_000)).repeat(500));
        assert_eq!((nodes.len(), notes), (MOST_NODES + 1, 1));
    }
}
