//! Reads one mapping of the file: each field once, every mistake noted, unknown fields refused.

use super::problem::{Place, Problem};
use super::tree::{Field, Node, Value};

/// What all sections share while one file is read.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) problems: Vec<Problem>,
}

impl Context {
    /// Notes a mistake.
    pub(crate) fn complain(&mut self, place: Place, path: &str, what: impl Into<String>) {
        self.problems.push(Problem { place, path: path.to_owned(), what: what.into() });
    }
}

/// A mapping that is being read.
pub(crate) struct Section<'a> {
    path: String,
    place: Place,
    fields: &'a [Field],
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Opens the mapping in `node`; nothing at all counts as an empty mapping.
    pub(crate) fn open(node: &'a Node, path: &str, context: &mut Context) -> Self {
        let fields: &[Field] = match &node.value {
            Value::Mapping(fields) => fields,
            Value::Null => &[],
            Value::Scalar(_) | Value::Sequence(_) => {
                context.complain(node.place, path, format!("a mapping of fields is needed here, not {}", node.kind()));
                &[]
            }
        };
        Self { path: path.to_owned(), place: node.place, fields, asked: Vec::new() }
    }

    /// Where the mapping stands.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The path of one of its fields.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The node of a field, if the field is there with a value.
    pub(crate) fn node(&mut self, name: &'static str) -> Option<&'a Node> {
        self.asked.push(name);
        let field = self.fields.iter().find(|field| field.name == name)?;
        (field.node.value != Value::Null).then_some(&field.node)
    }

    /// A field's value by `read`, which says what is wrong with a text and what is allowed.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        context: &mut Context,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(name)?;
        let text = match &node.value {
            Value::Scalar(text) => text,
            _ => {
                context.complain(
                    node.place,
                    &self.path_of(name),
                    format!("a single value is needed here, not {}", node.kind()),
                );
                return None;
            }
        };
        match read(text) {
            Ok(value) => Some(value),
            Err(what) => {
                context.complain(node.place, &self.path_of(name), what);
                None
            }
        }
    }

    /// As [`Self::optional`], with a complaint where the field is missing. `example` shows how to write it.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        example: &str,
        context: &mut Context,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let before = context.problems.len();
        let value = self.optional(name, context, read);
        if value.is_none() && context.problems.len() == before {
            context.complain(self.place, &self.path_of(name), format!("is missing: add `{name}: {example}`"));
        }
        value
    }

    /// A list of single values by `read`; a mistake in one leaves the others.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        context: &mut Context,
        mut read: impl FnMut(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let node = self.node(name)?;
        let path = self.path_of(name);
        let Value::Sequence(items) = &node.value else {
            context.complain(node.place, &path, format!("a list is needed here, not {}", node.kind()));
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            let Value::Scalar(text) = &item.value else {
                context.complain(item.place, &path, format!("a single value is needed here, not {}", item.kind()));
                continue;
            };
            match read(text) {
                Ok(value) => values.push(value),
                Err(what) => context.complain(item.place, &path, what),
            }
        }
        Some(values)
    }

    /// The fields of a mapping whose names are free: name, place, node.
    pub(crate) fn entries(&mut self, name: &'static str, context: &mut Context) -> &'a [Field] {
        let Some(node) = self.node(name) else { return &[] };
        match &node.value {
            Value::Mapping(fields) => fields,
            _ => {
                let what = format!("a mapping of fields is needed here, not {}", node.kind());
                context.complain(node.place, &self.path_of(name), what);
                &[]
            }
        }
    }

    /// Ends the reading: every field that nobody asked for is a mistake.
    pub(crate) fn finish(&self, context: &mut Context) {
        for field in self.fields {
            if self.asked.contains(&field.name.as_str()) {
                continue;
            }
            let mut what = "is not a field here".to_owned();
            match nearest(&field.name, &self.asked) {
                Some(name) => what.push_str(&format!(": did you mean {name}?")),
                None if self.asked.is_empty() => {}
                None => what.push_str(&format!(": known are {}", self.asked.join(", "))),
            }
            context.complain(field.place, &self.path_of(&field.name), what);
        }
    }
}

/// The candidate at an edit distance of at most 2, and below the name's length.
pub(crate) fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(distance, _)| *distance <= 2 && *distance < name.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let cost = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
