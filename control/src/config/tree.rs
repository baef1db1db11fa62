//! YAML as a tree that remembers where everything stands.
//!
//! Scalars stay text: what a value means is decided by the key it stands under, so `no`,
//! `12:34:56:12:34:56` and `0080` cannot turn into something else on the way. Anchors,
//! aliases, tags and several documents are refused at the first one, before anything is
//! copied, so a tree is never larger than its text allows.

use std::borrow::Cow;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span};

use super::code::Code;
use super::path::Path;
use super::problem::{Excerpt, Problem};
use super::text::saturate;

/// Nesting of lists and mappings; a configuration needs seven levels.
pub(super) const MAX_DEPTH: usize = 64;
/// Lists, mappings and scalars, keys not counted; 10,000 services with 8 real servers
/// each have about 700,000.
pub(super) const MAX_VALUES: usize = 1_000_000;

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

/// Reads one document.
pub(super) fn build(text: &str) -> Result<Node<'_>, Problem> {
    Builder { text, open: Vec::new(), values: 0 }.run()
}

/// Builds the tree without recursion.
struct Builder<'t> {
    text: &'t str,
    open: Vec<Open<'t>>,
    values: usize,
}

/// A list or mapping whose end has not been seen.
enum Open<'t> {
    List(Place, Vec<Node<'t>>),
    Map(Place, Vec<Entry<'t>>, Option<(Place, Cow<'t, str>)>),
}

impl<'t> Builder<'t> {
    fn run(mut self) -> Result<Node<'t>, Problem> {
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
                    return Err(self.malformed(place, error.kind()));
                }
            };
            if matches!(event, Event::StreamEnd) {
                break;
            }
            if let Some(node) = self.take(event, &span, root.is_some())? {
                root = Some(node);
            }
        }
        Ok(root.unwrap_or(Node {
            place: Place { line: 1, column: 1 },
            value: Value::Plain(Cow::Borrowed("")),
        }))
    }

    /// Takes one event; gives the root back when it is complete.
    fn take(
        &mut self,
        event: Event<'t>,
        span: &Span,
        done: bool,
    ) -> Result<Option<Node<'t>>, Problem> {
        let place = place(span.start.line(), span.start.col());
        match event {
            Event::DocumentStart(..) if done => {
                let what = "a second document begins here; a configuration is one document";
                Err(self.problem(place, Code::SeveralDocuments, what.to_owned()))
            }
            Event::DocumentStart(..) => Ok(None),
            Event::Alias(_) | Event::UnresolvedAlias(_) => Err(self.alias(place)),
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
                self.open(place, anchor, tag.is_some(), Open::Map(place, Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, mut items)) => {
                    // A million short lists would keep room for three more items each.
                    items.shrink_to_fit();
                    self.close(Node { place, value: Value::List(items) })
                }
                Some(Open::Map(place, mut entries, _)) => {
                    entries.shrink_to_fit();
                    self.close(Node { place, value: Value::Map(entries) })
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
            return Err(self.too_deep(place));
        }
        self.open.push(open);
        Ok(None)
    }

    /// Refuses what could make a tree larger than its text or mean something hidden.
    fn admit(&mut self, place: Place, anchor: usize, tagged: bool) -> Result<(), Problem> {
        if anchor != 0 {
            return Err(self.alias(place));
        }
        if tagged {
            let what = "YAML tags (`!...`) are not accepted".to_owned();
            return Err(self.problem(place, Code::Tag, what));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            let what = format!("the file has more than {MAX_VALUES} values");
            return Err(self.problem(place, Code::TooManyValues, what));
        }
        Ok(())
    }

    /// Puts a complete node into the list or mapping around it.
    fn close(&mut self, node: Node<'t>) -> Result<Option<Node<'t>>, Problem> {
        match self.open.last_mut() {
            None => return Ok(Some(node)),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match (key.take(), node.value) {
                (Some((place, key)), value) => {
                    entries.push(Entry { place, key, node: Node { place: node.place, value } });
                }
                (None, Value::Plain(text) | Value::Quoted(text)) => {
                    self.values -= 1;
                    *key = Some((node.place, text));
                }
                (None, Value::List(_) | Value::Map(_)) => {
                    let what = "a list or mapping stands where a key belongs".to_owned();
                    return Err(self.problem(node.place, Code::ComplexKey, what));
                }
            },
        }
        Ok(None)
    }

    fn malformed(&self, place: Place, kind: &ErrorKind) -> Problem {
        if matches!(kind, ErrorKind::RecursionLimitExceeded) {
            return self.too_deep(place);
        }
        let reason = kind.to_string();
        let what = format!("this is not well-formed YAML: {reason}");
        let mut problem = self.problem(place, Code::Syntax, what);
        problem.hint = Some(syntax_hint(&reason).to_owned());
        problem
    }

    fn too_deep(&self, place: Place) -> Problem {
        let what = format!("lists and mappings are nested more than {MAX_DEPTH} deep");
        self.problem(place, Code::TooDeep, what)
    }

    fn alias(&self, place: Place) -> Problem {
        let what = "YAML anchors (`&name`) and aliases (`*name`) are not accepted";
        let mut problem = self.problem(place, Code::Alias, what.to_owned());
        problem.hint = Some("write the value out where it is needed".to_owned());
        problem
    }

    fn problem(&self, place: Place, code: Code, what: String) -> Problem {
        let line = (place.line as usize).checked_sub(1).and_then(|n| self.text.lines().nth(n));
        Problem {
            code,
            path: String::new(),
            line: place.line,
            column: place.column,
            what,
            hint: None,
            excerpt: Excerpt::of_line(line.unwrap_or_default(), place.column),
        }
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
        let problem = build(text).unwrap_err();
        (problem.code, problem.line, problem.column)
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let root = build("a: 1\nlist:\n  - x\n  - { ü: [y, \"z\"] }\n").unwrap();
        let list = Path::Root.key("list");
        let second = list.item(1);
        let inner = second.key("ü");
        assert_eq!(root.nearest(&list.item(0)).place, Place { line: 3, column: 5 });
        assert_eq!(root.nearest(&inner.item(1)).place, Place { line: 4, column: 14 });
        assert!(matches!(&root.nearest(&inner.item(1)).value, Value::Quoted(z) if z == "z"));
        assert_eq!(root.nearest(&second.key("gone")).place, root.nearest(&second).place);
    }

    #[test]
    fn anchors_aliases_tags_and_documents_are_refused_where_they_stand() {
        assert_eq!(refused("a: &x 1\nb: *x\n").0, Code::Alias);
        assert_eq!(refused("a: 1\n<<: *x\n").0, Code::Alias);
        assert_eq!(refused("a: !!str 1\n").0, Code::Tag);
        assert_eq!(refused("a: 1\n---\nb: 1\n"), (Code::SeveralDocuments, 2, 1));
        assert_eq!(refused("? [a, b]\n: 1\n").0, Code::ComplexKey);
    }

    #[test]
    fn depth_and_size_are_limited() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(build(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(refused(&nested(MAX_DEPTH + 1)), (Code::TooDeep, 1, 65));
        assert_eq!(refused(&"- ".repeat(MAX_DEPTH + 1)).0, Code::TooDeep);
        assert_eq!(refused(&"- a\n".repeat(MAX_VALUES)).0, Code::TooManyValues);
    }

    #[test]
    fn an_empty_file_is_a_null() {
        for text in ["", "# nothing\n", "---\n", "~", "null\n"] {
            assert!(build(text).unwrap().is_null(), "{text:?}");
        }
    }
}
