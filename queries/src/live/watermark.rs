//! The table `watermark`: to where each table is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};
use sink::tables::Table;

use super::Entry;
use crate::error::SqlError;

/// Its name.
pub const NAME: &str = "watermark";

/// How far one partition of a table reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) table: Table,
    pub(super) partition: u32,
    /// Records before this offset are not in answers: the log had let go of them, or no lake keeps them.
    pub(super) begins: u64,
    /// Records before this offset are in files.
    pub(super) landed: u64,
    /// Records before this offset are in answers.
    pub(super) complete: u64,
    /// Records before this offset are in the log, as far as is known.
    pub(super) end: u64,
}

/// How far every partition reaches.
pub(super) fn rows(entries: &BTreeMap<Table, Entry>, log: Option<u128>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (table, entry) in entries {
        let landed = match (&entry.snapshot, log) {
            (Some(snapshot), Some(log)) => super::next_offsets(snapshot, log),
            // Without a log the newest one that landed here counts.
            (Some(snapshot), None) => {
                snapshot.logs().last().map(|log| super::next_offsets(snapshot, log)).unwrap_or_default()
            }
            (None, _) => BTreeMap::new(),
        };
        let partitions: BTreeSet<u32> =
            landed.keys().chain(entry.tail.ends().keys()).chain(entry.ends.keys()).copied().collect();
        for partition in partitions {
            let begins = match landed.contains_key(&partition) {
                true => 0,
                false => entry.begun.get(&partition).copied().unwrap_or(0),
            };
            let landed = landed.get(&partition).copied().unwrap_or(0);
            let complete = entry.tail.ends().get(&partition).copied().unwrap_or(landed).max(landed);
            let end = entry.ends.get(&partition).copied().unwrap_or(complete).max(complete);
            rows.push(Row { table: *table, partition, begins, landed, complete, end });
        }
    }
    rows
}

/// What a reader has to know: a sentence for each table that does not reach up to the log's end or down to its
/// beginning.
pub(super) fn notes(
    rows: &[Row],
    is_full: impl Fn(Table) -> bool,
    is_waiting: impl Fn(Table) -> bool,
    has_lake: bool,
) -> Vec<String> {
    let behind = rows.iter().filter(|row| row.end > row.complete).filter_map(|row| {
        let why = if is_waiting(row.table) {
            "the tail is still being read"
        } else if has_lake && is_full(row.table) {
            "landing has stopped and the tail has no room for more"
        } else {
            // What was appended a moment ago.
            return None;
        };
        let Row { table, partition, complete, end, .. } = row;
        Some(format!("{table} reaches offset {complete} of partition {partition} and the log goes on to {end}: {why}"))
    });
    let mut notes: Vec<String> = behind.collect();
    let short: BTreeSet<&str> = rows.iter().filter(|row| row.begins > 0).map(|row| row.table.name()).collect();
    if !short.is_empty() && !has_lake {
        let names = short.into_iter().collect::<Vec<_>>().join(", ");
        notes.push(format!(
            "without a lake only the newest records are kept for SQL: {names} begin where watermark says"
        ));
    }
    notes
}

/// Its columns.
pub fn schema() -> SchemaRef {
    let long = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        Field::new("table_name", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        long("begins"),
        long("landed"),
        long("complete"),
        long("log_end"),
        Field::new("is_complete", DataType::Boolean, false),
    ]))
}

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> Result<Arc<dyn TableProvider>, SqlError> {
    let schema = schema();
    let number = |pick: fn(&Row) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::try_from(pick(row)).unwrap_or(i64::MAX))))
    };
    let partitions = rows.iter().map(|row| i32::try_from(row.partition).unwrap_or(i32::MAX));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.table.name()))),
        Arc::new(Int32Array::from_iter_values(partitions)),
        number(|row| row.begins),
        number(|row| row.landed),
        number(|row| row.complete),
        number(|row| row.end),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.complete == row.end)))),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
