//! `dead_letters`: what could not be used, and why.

use std::borrow::Cow;

use model::UnixNanos;

use super::Table;
use super::columns::columns;
use super::marks::Marks;
use super::rows::{Reads, RowError, Stamp, long};

columns! {
    /// Columns of `dead_letters`.
    Columns {
        source: Text = "The source in pipeline.yaml, control, a replayed venue, or sink/TOPIC/PARTITION";
        place: Text = "Where in the source: connection and frame, request, file and line, or offset";
        reason: Text = "Why it was refused";
        length: Long = "Its size in bytes";
        input: Text = "Its first bytes; what is not UTF-8 shows as U+FFFD";
    }
}

#[derive(serde::Deserialize)]
struct Letter<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    offset: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    length: u64,
    #[serde(borrow)]
    input: Cow<'a, str>,
    ts_recv: UnixNanos,
}

impl Reads for Columns {
    fn read(&mut self, _offset: u64, bytes: &[u8], _marks: &mut Marks) -> Result<Option<Stamp>, RowError> {
        let letter: Letter<'_> =
            serde_json::from_slice(bytes).map_err(|error| RowError::json(Table::DeadLetters, &error))?;
        let length = long("length", letter.length)?;
        self.source.put(&letter.source);
        self.place.put(&letter.offset);
        self.reason.put(&letter.reason);
        self.length.put(length);
        self.input.put(&letter.input);
        Ok(Some(Stamp { event: letter.ts_recv, received: Some(letter.ts_recv) }))
    }
}
