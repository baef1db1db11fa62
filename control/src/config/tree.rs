//! YAML as a tree that remembers where everything stands.
//!
//! Scalars stay text: what a value means is decided by the key it stands under, so `no`,
//! `12:34:56:12:34:56` and `0080` cannot turn into something else on the way. Anchors,
//! aliases, tags and a second document are problems, and nothing is ever copied, so a tree
//! is never larger than its text allows. The rest of the file is read all the same: an
//! anchor or a tag is passed over, and an alias stands for a value that nobody knows.

use std::borrow::Cow;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span};

use super::code::Code;
use super::path::Path;
use super::problem::{Excerpt, Problem, Problems};
use super::text::saturate;

/// Nesting of lists and mappings; a configuration needs seven levels.
pub(super) const MAX_DEPTH: usize = 64;
/// Lists, mappings and scalars, keys not counted; 10,000 services with 8 real servers
/// each have about 700,000.
pub(super) const MAX_VALUES: usize = 1_000_000;

/// Keys of one mapping; the widest section has a few dozen.
const MAX_KEYS: usize = 1_000;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Node<'t> {
    pub(super) place: Place,
    pub(super) value: Value<'t>,
}

/// What a value is made of.
#[derive(Debug)]
pub(super) enum Value<'t> {
    /// Plain (unquoted) text, a null included: then the text is empty, `~` or `null`.
    Plain(Cow<'t, str>),
    /// Quoted text or a block scalar.
    Quoted(Cow<'t, str>),
    List(Vec<Node<'t>>),
    /// In the file's order; a key may be there twice.
    Map(Vec<Entry<'t>>),
    /// What an alias stands for.
    Unknown,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry<'t> {
    pub(super) place: Place,
    pub(super) key: Cow<'t, str>,
    pub(super) node: Node<'t>,
}

impl<'t> Node<'t> {
    /// Whether nothing was written: no value, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Plain(text) if matches!(text.as_ref(), "" | "~" | "null"))
    }

    /// The node at a path; where it ends early, the last node that is there.
    pub(super) fn nearest(&self, path: &Path<'_>) -> &Node<'t> {
        match path {
            Path::Root => self,
            Path::Key(parent, key) => {
                let parent = self.nearest(parent);
                let Value::Map(entries) = &parent.value else { return parent };
                entries.iter().find(|e| e.key == *key).map_or(parent, |entry| &entry.node)
            }
            Path::Item(parent, index) => {
                let parent = self.nearest(parent);
                let Value::List(items) = &parent.value else { return parent };
                items.get(*index).unwrap_or(parent)
            }
        }
    }
}

/// Reads one document, and tells what is wrong with it besides.
///
/// # Errors
///
/// Everything up to the place from which on nothing can be read.
pub(super) fn build(text: &str) -> Result<(Node<'_>, Vec<Problem>), Vec<Problem>> {
    let mut builder = Builder { text, open: Vec::new(), values: 0, problems: Vec::new() };
    match builder.run() {
        Ok(root) => Ok((root, builder.problems)),
        Err(last) => {
            builder.problems.push(last);
            Err(builder.problems)
        }
    }
}

/// Builds the tree without recursion.
struct Builder<'t> {
    text: &'t str,
    open: Vec<Open<'t>>,
    values: usize,
    problems: Vec<Problem>,
}

/// The items without room for more, which a million short lists would keep. An allocator may
/// leave a list that shrinks by less than a half where it is, so a short one is copied.
fn exact<T>(mut items: Vec<T>) -> Vec<T> {
    if items.len() == items.capacity() || items.len() > 64 {
        items.shrink_to_fit();
        return items;
    }
    let mut fitting = Vec::with_capacity(items.len());
    fitting.append(&mut items);
    fitting
}

/// A list or mapping whose end has not been seen.
enum Open<'t> {
    List(Place, Vec<Node<'t>>),
    Map(Place, Vec<Entry<'t>>, Key<'t>),
}

/// The key whose value comes next in a mapping.
enum Key<'t> {
    /// There was none since the last value.
    Awaited,
    Read(Place, Cow<'t, str>),
    /// It is none; its value belongs to nothing.
    Wrong,
}

impl<'t> Builder<'t> {
    fn run(&mut self) -> Result<Node<'t>, Problem> {
        let mut options = Options::default();
        // An alias is refused as such, whether or not its anchor is there.
        options.emit_unresolved_aliases = true;
        options.flow_nesting_limit = MAX_DEPTH;
        options.block_nesting_limit = MAX_DEPTH;
        let mut parser = Parser::new_from_str_with_options(self.text, options);
        let mut root = None;
        loop {
            let (event, span) = match parser.next_event() {
                None => break,
                Some(Ok(next)) => next,
                Some(Err(error)) => {
                    let place = place(error.marker().line(), error.marker().col());
                    return Err(Self::malformed(place, error.kind()));
                }
            };
            if matches!(event, Event::StreamEnd) {
                break;
            }
            if matches!(event, Event::DocumentStart(..)) && root.is_some() {
                let what = "a second document begins here; a configuration is one document";
                let place = place(span.start.line(), span.start.col());
                self.report(place, Code::SeveralDocuments, what, None);
                break;
            }
            if let Some(node) = self.take(event, &span)? {
                root = Some(node);
            }
        }
        Ok(root.unwrap_or(Node {
            place: Place { line: 1, column: 1 },
            value: Value::Plain(Cow::Borrowed("")),
        }))
    }

    /// Takes one event; gives the root back when it is complete.
    fn take(&mut self, event: Event<'t>, span: &Span) -> Result<Option<Node<'t>>, Problem> {
        let place = place(span.start.line(), span.start.col());
        match event {
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.alias(place);
                self.count(place)?;
                self.close(Node { place, value: Value::Unknown })
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.admit(place, anchor, tag.is_some())?;
                let value = match style {
                    ScalarStyle::Plain => Value::Plain(text),
                    _ => Value::Quoted(text),
                };
                self.close(Node { place, value })
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(place, anchor, tag.is_some(), Open::List(place, Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(place, anchor, tag.is_some(), Open::Map(place, Vec::new(), Key::Awaited))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, items)) => {
                    self.close(Node { place, value: Value::List(exact(items)) })
                }
                Some(Open::Map(place, entries, _)) => {
                    self.close(Node { place, value: Value::Map(exact(entries)) })
                }
                None => Ok(None),
            },
            // The stream's and the document's ends, and presentation, which is not asked for.
            _ => Ok(None),
        }
    }

    fn open(
        &mut self,
        place: Place,
        anchor: usize,
        tagged: bool,
        open: Open<'t>,
    ) -> Result<Option<Node<'t>>, Problem> {
        self.admit(place, anchor, tagged)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Self::too_deep(place));
        }
        self.open.push(open);
        Ok(None)
    }

    /// Reports what is not accepted about a value, and counts it.
    fn admit(&mut self, place: Place, anchor: usize, tagged: bool) -> Result<(), Problem> {
        if anchor != 0 {
            self.alias(place);
        }
        if tagged {
            let hint = "leave it out: what a value is follows from its key";
            self.report(place, Code::Tag, "YAML tags (`!...`) are not accepted", Some(hint));
        }
        self.count(place)
    }

    fn count(&mut self, place: Place) -> Result<(), Problem> {
        self.values += 1;
        if self.values > MAX_VALUES {
            let what = format!("the file has more than {MAX_VALUES} values");
            return Err(problem(place, Code::TooManyValues, what));
        }
        Ok(())
    }

    /// Puts a complete node into the list or mapping around it; gives the root back.
    fn close(&mut self, node: Node<'t>) -> Result<Option<Node<'t>>, Problem> {
        match self.open.last_mut() {
            None => return Ok(Some(node)),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => {
                match (std::mem::replace(key, Key::Awaited), node.value) {
                    (Key::Read(place, _), _) if entries.len() >= MAX_KEYS => {
                        let what = format!("a mapping has more than {MAX_KEYS} keys");
                        return Err(problem(place, Code::TooManyValues, what));
                    }
                    (Key::Read(place, key), value) => {
                        entries.push(Entry { place, key, node: Node { place: node.place, value } });
                    }
                    (Key::Wrong, _) => {}
                    (Key::Awaited, Value::Plain(text) | Value::Quoted(text)) => {
                        self.values -= 1;
                        *key = Key::Read(node.place, text);
                    }
                    (Key::Awaited, Value::List(_) | Value::Map(_)) => {
                        *key = Key::Wrong;
                        let what = "a list or mapping stands where a key belongs";
                        self.report(node.place, Code::ComplexKey, what, None);
                    }
                    (Key::Awaited, Value::Unknown) => *key = Key::Wrong,
                }
            }
        }
        Ok(None)
    }

    fn malformed(place: Place, kind: &ErrorKind) -> Problem {
        if matches!(kind, ErrorKind::RecursionLimitExceeded) {
            return Self::too_deep(place);
        }
        let reason = kind.to_string();
        let what = format!("this is not well-formed YAML: {reason}");
        let mut problem = problem(place, Code::Syntax, what);
        problem.hint = Some(syntax_hint(&reason).to_owned());
        problem
    }

    fn too_deep(place: Place) -> Problem {
        let what = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
        problem(place, Code::TooDeep, what)
    }

    fn alias(&mut self, place: Place) {
        let what = "YAML anchors (`&name`) and aliases (`*name`) are not accepted";
        let hint = "write the value out where it is needed";
        self.report(place, Code::Alias, what, Some(hint));
    }

    /// Notes a problem that does not keep the rest from being read.
    fn report(&mut self, place: Place, code: Code, what: &str, hint: Option<&str>) {
        if self.problems.len() > Problems::SHOWN {
            return;
        }
        let problem = problem(place, code, what.to_owned());
        self.problems.push(Problem { hint: hint.map(str::to_owned), ..problem });
    }
}

/// A problem of the text; its line is shown when all of them are known.
fn problem(place: Place, code: Code, what: String) -> Problem {
    Problem {
        code,
        path: String::new(),
        line: place.line,
        column: place.column,
        what,
        hint: None,
        excerpt: Excerpt::default(),
    }
}

fn place(line: usize, column: usize) -> Place {
    Place { line: saturate(line), column: saturate(column).saturating_add(1) }
}

/// What usually helps; the parser's words may change, then the last one is given.
fn syntax_hint(info: &str) -> &'static str {
    const HINTS: &[(&str, &str)] = &[
        ("tab", "indent with spaces"),
        ("mapping values are not allowed", "put a value that has a colon in it into quotes"),
        ("quote", "close the quote"),
        ("bracket", "close the bracket"),
        ("flow", "check the brackets and commas"),
        ("block", "indent it like its neighbours"),
        ("indent", "indent it like its neighbours"),
    ];
    HINTS
        .iter()
        .find(|(word, _)| info.contains(word))
        .map_or("check the indentation, the quotes and the brackets up to here", |(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Code, u32, u32) {
        let problem = build(text).unwrap_err().pop().unwrap();
        (problem.code, problem.line, problem.column)
    }

    fn noted(text: &str) -> Vec<(Code, u32, u32)> {
        let problems = build(text).unwrap().1;
        problems.iter().map(|problem| (problem.code, problem.line, problem.column)).collect()
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let (root, _) = build("a: 1\nlist:\n  - x\n  - { ü: [y, \"z\"] }\n").unwrap();
        let list = Path::Root.key("list");
        let second = list.item(1);
        let inner = second.key("ü");
        assert_eq!(root.nearest(&list.item(0)).place, Place { line: 3, column: 5 });
        assert_eq!(root.nearest(&inner.item(1)).place, Place { line: 4, column: 14 });
        assert!(matches!(&root.nearest(&inner.item(1)).value, Value::Quoted(z) if z == "z"));
        assert_eq!(root.nearest(&second.key("gone")).place, root.nearest(&second).place);
    }

    #[test]
    fn anchors_aliases_tags_and_documents_are_noted_where_they_stand() {
        assert_eq!(noted("a: &x 1\nb: *x\n"), [(Code::Alias, 1, 7), (Code::Alias, 2, 4)]);
        assert_eq!(noted("a: 1\n<<: *x\n"), [(Code::Alias, 2, 5)]);
        assert_eq!(noted("a: !!str 1\nb: !x 2\n").len(), 2);
        assert_eq!(noted("a: 1\n---\nb: 1\n"), [(Code::SeveralDocuments, 2, 1)]);
        assert_eq!(noted("? [a, b]\n: !x 1\nc: 2\n").len(), 2);
        assert_eq!(noted("? *a\n: 1\n").len(), 1);
    }

    #[test]
    fn what_stands_beside_a_noted_problem_is_read() {
        let (root, _) = build("? [a]\n: 1\nb: &x 2\nc: *x\nd: !y 3\n").unwrap();
        let Value::Map(entries) = &root.value else { panic!("{root:?}") };
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_ref()).collect();
        assert_eq!(keys, ["b", "c", "d"]);
        assert!(matches!(entries[1].node.value, Value::Unknown));
        assert!(matches!(&entries[2].node.value, Value::Plain(text) if text == "3"));
    }

    #[test]
    fn depth_and_size_are_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(build(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(refused(&nested(MAX_DEPTH + 1)), (Code::TooDeep, 1, 65));
        assert_eq!(refused(&"- ".repeat(MAX_DEPTH + 1)).0, Code::TooDeep);
        assert_eq!(refused(&"- a\n".repeat(MAX_VALUES)).0, Code::TooManyValues);
        assert!(build(&"a: 1\n".repeat(MAX_KEYS)).is_ok());
        assert_eq!(refused(&"a: 1\n".repeat(MAX_KEYS + 1)), (Code::TooManyValues, 1_001, 1));
        assert_eq!(refused("a: !x 1\nb: [\n").0, Code::Syntax);
        assert_eq!(build("a: !x 1\nb: [\n").unwrap_err().len(), 2);
    }

    #[test]
    fn an_empty_file_is_a_null() {
        for text in ["", "# nothing\n", "---\n", "~", "null\n"] {
            assert!(build(text).unwrap().0.is_null(), "{text:?}");
        }
    }
}
