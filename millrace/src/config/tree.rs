//! A YAML file as a tree that remembers where everything stands and what the text was.
//!
//! Scalars stay text: a tick of `0.01` must not pass through a float. Reading goes on after a mistake in the
//! meaning; only broken YAML ends it.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Place, Problem};

/// Nesting deeper than this is refused: no section needs it.
const DEPTH_MAX: usize = 16;
/// A larger file is refused.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing: an empty plain scalar, `null` or `~`.
    Null,
    /// A scalar's text.
    Scalar(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Fields in the order of the file.
    Mapping(Vec<Field>),
}

/// One field of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl Node {
    /// The kind of value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

/// Reads the first document of `text`; `variable` looks up `${NAME}`.
///
/// `None` when the text is not YAML; what else is wrong is added to `problems` and reading goes on.
pub(crate) fn parse(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    let mut builder = Builder { open: Vec::new(), root: None, variable, problems };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        match event {
            Err(error) => {
                let place = Place { line: error.marker().line(), column: error.marker().col() + 1 };
                builder.complain(place, format!("not YAML: {}", error.info()));
                return None;
            }
            Ok((Event::DocumentStart(_), span)) => {
                documents += 1;
                if documents > 1 {
                    builder.complain(place(span), "a second document is not read: keep one".into());
                    break;
                }
            }
            Ok((event, span)) => {
                if !builder.event(event, span) {
                    return None;
                }
            }
        }
    }
    Some(builder.root.unwrap_or(Node { place: Place { line: 1, column: 1 }, value: Value::Null }))
}

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

struct Builder<'a> {
    open: Vec<Open>,
    root: Option<Node>,
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: &'a mut Vec<Problem>,
}

/// A collection whose end has not come yet.
enum Open {
    Sequence(Place, Vec<Node>),
    Mapping { at: Place, fields: Vec<Field>, key: Option<(Place, Option<String>)> },
}

impl Builder<'_> {
    fn complain(&mut self, place: Place, what: String) {
        let path = self.open.iter().filter_map(Open::name).collect::<Vec<_>>().join(".");
        self.problems.push(Problem { place, path, what });
    }

    /// Whether reading can go on.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = place(span);
        match event {
            Event::Scalar(text, style, _, _) => self.scalar(at, text, style),
            Event::SequenceStart(..) => self.open.push(Open::Sequence(at, Vec::new())),
            Event::MappingStart(..) => self.open.push(Open::Mapping { at, fields: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(place, nodes)) => self.value(Node { place, value: Value::Sequence(nodes) }),
                Some(Open::Mapping { at, fields, .. }) => {
                    self.value(Node { place: at, value: Value::Mapping(fields) });
                }
                None => {}
            },
            Event::Alias(_) => {
                self.complain(at, "aliases are not read: write the value out".into());
                self.value(Node { place: at, value: Value::Null });
            }
            _ => {}
        }
        if self.open.len() > DEPTH_MAX {
            self.complain(at, format!("nested deeper than {DEPTH_MAX} levels"));
            return false;
        }
        true
    }

    fn scalar(&mut self, at: Place, text: Cow<'_, str>, style: ScalarStyle) {
        if let Some(Open::Mapping { key: key @ None, .. }) = self.open.last_mut() {
            *key = Some((at, Some(text.into_owned())));
            return;
        }
        let plain = style == ScalarStyle::Plain;
        let value = match &*text {
            "" | "~" | "null" if plain => Value::Null,
            _ => Value::Scalar(self.expand(at, &text)),
        };
        self.value(Node { place: at, value });
    }

    /// Puts a finished node where it belongs.
    fn value(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence(_, nodes)) => nodes.push(node),
            Some(Open::Mapping { fields, key, .. }) => match key.take() {
                None => {
                    // A list or mapping in the place of a key.
                    *key = Some((node.place, None));
                    self.complain(node.place, "a field's name must be a single value".into());
                }
                Some((_, None)) => {}
                Some((place, Some(name))) => {
                    if let Some(earlier) = fields.iter().find(|field| field.name == name) {
                        let what = format!("{name} stands twice: first in line {}; keep one", earlier.place.line);
                        self.complain(place, what);
                    } else {
                        fields.push(Field { name, place, node });
                    }
                }
            },
        }
    }

    /// Replaces each `${NAME}` by the environment's value.
    fn expand(&mut self, at: Place, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let Some(end) = rest[start..].find('}') else {
                self.complain(at, format!("{text:?} opens ${{ and does not close it"));
                return text.to_owned();
            };
            let name = &rest[start + 2..start + end];
            match (self.variable)(name) {
                Some(value) => out.push_str(&value),
                None => self.complain(at, format!("environment variable {name} is not set")),
            }
            rest = &rest[start + end + 1..];
        }
        out.push_str(rest);
        out
    }
}

impl Open {
    /// The name of the field that is being read.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Mapping { key: Some((_, Some(name))), .. } => Some(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let mut problems = Vec::new();
        let known = |name: &str| (name == "HOME_PORT").then(|| "8080".to_owned());
        let node = parse(text, &known, &mut problems);
        let shown = |problem: &Problem| format!("{}:{} {}", problem.place.line, problem.place.column, problem.what);
        (node, problems.iter().map(shown).collect())
    }

    #[test]
    fn text_is_kept_as_it_stands() {
        let (node, problems) = read("tick: 0.010\nlisten: \"127.0.0.1:${HOME_PORT}\"\nnothing:\n");
        assert!(problems.is_empty(), "{problems:?}");
        let Some(Node { value: Value::Mapping(fields), .. }) = node else { panic!("a mapping") };
        assert_eq!(fields[0].node.value, Value::Scalar("0.010".into()));
        assert_eq!(fields[1].node.value, Value::Scalar("127.0.0.1:8080".into()));
        assert_eq!(fields[2].node.value, Value::Null);
        assert_eq!((fields[1].place.line, fields[1].node.place.column), (2, 9));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "3:1 a stands twice: first in line 1; keep one"),
            ("a: ${NOPE}\n", "1:4 environment variable NOPE is not set"),
            ("a: &x 1\nb: *x\n", "2:4 aliases are not read: write the value out"),
            ("[1]: 2\n", "1:1 a field's name must be a single value"),
        ] {
            let (_, problems) = read(text);
            assert_eq!(problems, [expected], "{text}");
        }
        let (node, problems) = read("a: [1, 2\nb: 3");
        assert!(node.is_none() && problems.len() == 1, "{problems:?}");
        let (_, problems) = read(&"- ".repeat(40));
        assert!(problems.iter().any(|problem| problem.contains("nested deeper than 16")), "{problems:?}");
    }
}
