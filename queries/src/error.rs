//! What can go wrong with a statement, as a sentence with a position.

use std::fmt;

use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};

/// Characters of a message that are passed on.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// Whose matter an error is, for status codes of the doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The statement cannot be understood: SQLSTATE 42601.
    Syntax,
    /// It names what is not there, or its types do not fit: SQLSTATE 42P01 and its like.
    Meaning,
    /// It asks for what nobody may do here: SQLSTATE 42501.
    Refused,
    /// It met a limit of time, memory, rows or size: SQLSTATE 53000 or 57014.
    Limit,
    /// Its values do not fit, as in a division by zero: SQLSTATE 22000.
    Data,
    /// All places are taken: try again. SQLSTATE 53300.
    Busy,
    /// The client went away or asked for the end: SQLSTATE 57014.
    Cancelled,
    /// Our fault or the store's: SQLSTATE XX000.
    Internal,
}

impl ErrorKind {
    /// The five letters that the Postgres protocol has for it.
    pub fn sqlstate(self) -> &'static str {
        match self {
            Self::Syntax => "42601",
            Self::Meaning => "42000",
            Self::Refused => "42501",
            Self::Limit => "54000",
            Self::Data => "22000",
            Self::Busy => "53300",
            Self::Cancelled => "57014",
            Self::Internal => "XX000",
        }
    }

    /// A stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Syntax => "sql_syntax",
            Self::Meaning => "sql_meaning",
            Self::Refused => "sql_refused",
            Self::Limit => "sql_limit",
            Self::Data => "sql_data",
            Self::Busy => "sql_busy",
            Self::Cancelled => "sql_cancelled",
            Self::Internal => "sql_internal",
        }
    }
}

/// A place in a statement, both numbers from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Character in the line.
    pub column: u64,
}

/// Why a statement was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct SqlError {
    /// Whose matter it is.
    pub kind: ErrorKind,
    /// A sentence.
    pub message: String,
    /// Where in the statement, when that is known.
    pub position: Option<Position>,
}

impl fmt::Display for SqlError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(out, "line {line}, column {column}: {}", self.message),
            None => out.write_str(&self.message),
        }
    }
}

impl SqlError {
    /// An error without a position.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), position: None }
    }

    /// What nobody may do here.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// A limit that was met.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    /// What the statement means is not there.
    pub fn meaning(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Meaning, message)
    }

    /// Our own fault.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, message.to_string())
    }

    /// Puts the error at a place.
    pub fn at(mut self, line: u64, column: u64) -> Self {
        if line > 0 {
            self.position = Some(Position { line, column });
        }
        self
    }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        let position = span_of(&error);
        let (kind, message) = sort(&error);
        let (message, found) = split_position(&cut(&message));
        Self { kind, message, position: position.or(found) }
    }
}

/// The place that the planner notes in its diagnostic, if it noted one.
fn span_of(error: &DataFusionError) -> Option<Position> {
    let start = error.diagnostic()?.span?.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}

/// Kind and message of the innermost error.
fn sort(error: &DataFusionError) -> (ErrorKind, String) {
    match error {
        DataFusionError::SQL(error, _) => (ErrorKind::Syntax, strip(&error.to_string(), "sql parser error: ")),
        DataFusionError::Plan(message) => (ErrorKind::Meaning, message.clone()),
        DataFusionError::SchemaError(error, _) => (ErrorKind::Meaning, error.to_string()),
        DataFusionError::NotImplemented(message) => (ErrorKind::Meaning, format!("not supported: {message}")),
        DataFusionError::ResourcesExhausted(message) => (ErrorKind::Limit, memory(message)),
        DataFusionError::Execution(message) => (ErrorKind::Data, message.clone()),
        DataFusionError::ArrowError(error, _) => (ErrorKind::Data, error.to_string()),
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(error) => (error.kind, error.message.clone()),
            None => (ErrorKind::Internal, inner.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => sort(inner),
        DataFusionError::Shared(inner) => sort(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => sort(first),
            None => (ErrorKind::Internal, "no reason given".to_owned()),
        },
        DataFusionError::ObjectStore(error) => (ErrorKind::Internal, format!("the lake's store failed: {error}")),
        other => (ErrorKind::Internal, other.to_string()),
    }
}

fn memory(message: &str) -> String {
    let first = message.lines().next().unwrap_or(message);
    format!("the statement needs more memory than one may have: {first}")
}

fn strip(text: &str, prefix: &str) -> String {
    text.strip_prefix(prefix).unwrap_or(text).to_owned()
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Takes ` at Line: 3, Column: 14` off a message.
fn split_position(message: &str) -> (String, Option<Position>) {
    let Some(at) = message.find(" at Line: ") else { return (message.to_owned(), None) };
    let numbers = &message[at + " at Line: ".len()..];
    let mut parts = numbers.splitn(2, ", Column: ");
    let line = parts.next().and_then(|text| text.parse().ok());
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let column = parts.next().and_then(|text| digits(text).parse().ok());
    match (line, column) {
        (Some(line), Some(column)) => (message[..at].to_owned(), Some(Position { line, column })),
        _ => (message.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_taken_out_of_the_sentence() {
        let (message, position) = split_position("Expected: an expression, found: EOF at Line: 2, Column: 14");
        assert_eq!(message, "Expected: an expression, found: EOF");
        assert_eq!(position, Some(Position { line: 2, column: 14 }));
        let (message, position) = split_position("no place at Line: x");
        assert_eq!((message.as_str(), position), ("no place at Line: x", None));
    }

    #[test]
    fn an_error_of_ours_keeps_its_kind_on_its_way_through_the_planner() {
        let error = DataFusionError::External(Box::new(SqlError::limit("too much")));
        let error = SqlError::from(DataFusionError::Context("in between".into(), Box::new(error)));
        assert_eq!(error, SqlError::limit("too much"));
    }
}
