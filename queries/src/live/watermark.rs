//! The table `watermark`: to where each table is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
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
            let landed = landed.get(&partition).copied().unwrap_or(0);
            let complete = entry.tail.ends().get(&partition).copied().unwrap_or(landed).max(landed);
            let end = entry.ends.get(&partition).copied().unwrap_or(complete).max(complete);
            rows.push(Row { table: *table, partition, landed, complete, end });
        }
    }
    rows
}

/// A sentence for each table whose tail has no room for more.
pub(super) fn notes(rows: &[Row], full: impl Fn(Table) -> bool) -> Vec<String> {
    rows.iter()
        .filter(|row| row.end > row.complete && full(row.table))
        .map(|row| {
            format!(
                "{} reaches offset {} of partition {} and the log goes on to {}: the sink has stopped landing and \
                 the tail has no room for more",
                row.table, row.complete, row.partition, row.end
            )
        })
        .collect()
}

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> Result<Arc<dyn TableProvider>, SqlError> {
    let long = |name: &str| Field::new(name, DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![
        Field::new("table_name", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        long("landed"),
        long("complete"),
        long("log_end"),
        Field::new("is_complete", DataType::Boolean, false),
    ]));
    let number = |pick: fn(&Row) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::try_from(pick(row)).unwrap_or(i64::MAX))))
    };
    let partitions = rows.iter().map(|row| i32::try_from(row.partition).unwrap_or(i32::MAX));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.table.name()))),
        Arc::new(Int32Array::from_iter_values(partitions)),
        number(|row| row.landed),
        number(|row| row.complete),
        number(|row| row.end),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.complete == row.end)))),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
