//! The open files of a table: one per event date, encoded as rows come.

use std::collections::BTreeMap;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Date32Type;
use parquet::errors::ParquetError;

use crate::encode::{Encoded, Encoder, Order};
use crate::tables::{Marks, RowError, Rows, Table};

/// Rows that are turned into columns before they are encoded.
const BATCH_ROWS: usize = 8_192;

/// Open files.
#[derive(Debug)]
pub struct Files {
    rows: Rows,
    open: BTreeMap<i32, Encoder>,
    encoded: u64,
}

impl Files {
    /// No files yet; `marks` as the table's newest snapshot has them.
    pub fn new(table: Table, marks: BTreeMap<u32, Marks>) -> Self {
        Self { rows: Rows::resume(table, marks), open: BTreeMap::new(), encoded: 0 }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it is no record of the table.
    pub fn push(&mut self, partition: u32, offset: u64, bytes: &[u8]) -> Result<(), RowError> {
        self.rows.push(partition, offset, bytes)
    }

    /// Whether enough rows have come together for [`Self::encode`].
    pub fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS
    }

    /// Encodes the rows that have come together.
    ///
    /// # Errors
    /// When Parquet refuses them, which it does for none of our tables.
    pub fn encode(&mut self) -> Result<(), ParquetError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let batch = self.rows.finish();
        self.encoded += batch.num_rows() as u64;
        let dates = batch.column(batch.num_columns() - 1).as_primitive::<Date32Type>();
        let first = dates.value(0);
        if dates.values().iter().all(|date| *date == first) {
            return self.write(first, &batch);
        }
        let mut all: Vec<i32> = dates.values().to_vec();
        all.sort_unstable();
        all.dedup();
        for date in all {
            let of_date: BooleanArray = dates.values().iter().map(|value| Some(*value == date)).collect();
            let part = filter_record_batch(&batch, &of_date)?;
            self.write(date, &part)?;
        }
        Ok(())
    }

    fn write(&mut self, date: i32, batch: &RecordBatch) -> Result<(), ParquetError> {
        let kept: Vec<usize> = (0..batch.num_columns() - 1).collect();
        let batch = batch.project(&kept)?;
        let encoder = match self.open.entry(date) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(Encoder::new(self.rows.table(), Order::Arrival)?)
            }
        };
        encoder.write(&batch)
    }

    /// Rows in all open files.
    pub fn rows(&self) -> u64 {
        self.encoded + self.rows.len() as u64
    }

    /// About how many bytes all open files have.
    pub fn bytes(&self) -> u64 {
        self.open.values().map(Encoder::size).sum()
    }

    /// Open files.
    pub fn dates(&self) -> usize {
        self.open.len()
    }

    /// What is known of the writers, by partition.
    pub const fn marks(&self) -> &BTreeMap<u32, Marks> {
        self.rows.marks()
    }

    /// Records that made no row because they repeat others, in all.
    pub const fn repeated(&self) -> u64 {
        self.rows.repeated()
    }

    /// Ends the open files: date and content of each.
    ///
    /// # Errors
    /// When Parquet refuses.
    pub fn finish(&mut self) -> Result<Vec<(i32, Encoded)>, ParquetError> {
        self.encode()?;
        self.encoded = 0;
        std::mem::take(&mut self.open).into_iter().map(|(date, encoder)| Ok((date, encoder.finish()?))).collect()
    }
}
