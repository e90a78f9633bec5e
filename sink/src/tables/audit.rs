//! `audit`: who called what, and the outcome.

use model::UnixNanos;

use super::Table;
use super::columns::columns;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp};

columns! {
    /// Columns of `audit`.
    Columns {
        actor: Text = "Who called: the name of a key or user";
        account: Long null = "The actor's account";
        action: Text = "What was called";
        outcome: Text = "What became of it";
        record: Text = "The whole record, as JSON";
    }
}

/// The fields that every record of the topic has; the rest is kept as it is.
#[derive(serde::Deserialize)]
struct Entry {
    actor: String,
    #[serde(default)]
    account: Option<u32>,
    action: String,
    outcome: String,
    ts_event: UnixNanos,
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], _marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let entry: Entry = serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::Audit, &error))?;
        let text = std::str::from_utf8(bytes)
            .map_err(|error| RowError::Json { table: Table::Audit, reason: error.to_string() })?;
        self.actor.put(&entry.actor);
        self.account.maybe(entry.account.map(i64::from));
        self.action.put(&entry.action);
        self.outcome.put(&entry.outcome);
        self.record.put(text);
        Ok(Some(Stamp { event: entry.ts_event, received: Some(entry.ts_event) }))
    }
}
