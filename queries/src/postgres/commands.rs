//! What clients send that is no question: transactions, settings. There is nothing to change, so they are taken
//! and do nothing; `SHOW` tells what a client may rely on.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use futures_util::stream;
use pgwire::api::portal::Format;
use pgwire::api::results::{FieldFormat, QueryResponse, Response, Tag};
use pgwire::error::PgWireResult;

/// Settings that `SHOW` tells.
const SETTINGS: [(&str, &str); 11] = [
    ("server_version", "16.6"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("timezone", "UTC"),
    ("datestyle", "ISO, YMD"),
    ("search_path", "public"),
    ("standard_conforming_strings", "on"),
    ("transaction_isolation", "serializable"),
    ("transaction isolation level", "serializable"),
    ("transaction_read_only", "on"),
    ("statement_timeout", "0"),
];

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// A statement for the engine.
    Sql,
    /// `BEGIN`: statements see each their own moment all the same.
    Begin,
    /// `COMMIT`, `ROLLBACK`.
    End(&'static str),
    /// `SET`, `RESET`, `DISCARD`, `DEALLOCATE`: taken, without effect.
    Nothing(&'static str),
    /// `SHOW name` of one of the settings.
    Show(&'static str, &'static str),
}

/// Sorts a text.
pub(super) fn of(sql: &str) -> Command {
    let text = sql.trim().trim_end_matches(';').trim();
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_whitespace();
    // Several statements at once are the engine's to refuse.
    if text.contains(';') {
        return Command::Sql;
    }
    match words.next().unwrap_or_default() {
        "begin" | "start" => Command::Begin,
        "commit" | "end" => Command::End("COMMIT"),
        "rollback" | "abort" => Command::End("ROLLBACK"),
        "set" => Command::Nothing("SET"),
        "reset" => Command::Nothing("RESET"),
        "discard" => Command::Nothing("DISCARD ALL"),
        "deallocate" => Command::Nothing("DEALLOCATE"),
        "close" => Command::Nothing("CLOSE CURSOR"),
        "show" => {
            let name = lower["show".len()..].trim();
            let known = SETTINGS.iter().find(|(known, _)| *known == name);
            known.map_or(Command::Sql, |(name, value)| Command::Show(name, value))
        }
        _ => Command::Sql,
    }
}

impl Command {
    /// The columns of its answer.
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Show(name, _) => Arc::new(Schema::new(vec![Field::new(*name, DataType::Utf8, false)])),
            _ => Arc::new(Schema::empty()),
        }
    }

    /// Its answer.
    pub(super) fn respond(&self, format: FieldFormat) -> PgWireResult<Response> {
        Ok(match self {
            Self::Sql => Response::EmptyQuery,
            Self::Begin => Response::TransactionStart(Tag::new("BEGIN")),
            Self::End(tag) => Response::TransactionEnd(Tag::new(tag)),
            Self::Nothing(tag) => Response::Execution(Tag::new(tag)),
            Self::Show(_, value) => {
                let format = if format == FieldFormat::Binary { Format::UnifiedBinary } else { Format::UnifiedText };
                let fields = Arc::new(arrow_schema_to_pg_fields(&self.schema(), &format, None)?);
                let column: ArrayRef = Arc::new(StringArray::from(vec![*value]));
                let batch = RecordBatch::try_new(self.schema(), vec![column]).expect("one text column, one text");
                let rows: Vec<_> = encode_recordbatch(Arc::clone(&fields), batch).collect();
                Response::Query(QueryResponse::new(fields, stream::iter(rows)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_nothing_is_taken() {
        assert_eq!(of("BEGIN;"), Command::Begin);
        assert_eq!(of("begin read only"), Command::Begin);
        assert_eq!(of("SHOW TimeZone"), Command::Show("timezone", "UTC"));
        assert_eq!(of("SHOW TABLES"), Command::Sql);
        assert_eq!(of("BEGIN; DROP TABLE x"), Command::Sql);
        assert_eq!(of("SELECT 1"), Command::Sql);
        assert_eq!(of(""), Command::Sql);
    }
}
