//! Rows as they landed, put in order a bounded number of bytes at a time: each becomes a sorted file in memory, which
//! the merge takes from there.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::errors::ParquetError;

use crate::encode::{Encoder, Order};
use crate::tables::Table;

/// Bytes of rows that are sorted at a time, about.
const RUN_BYTES: usize = 4 << 20;
/// Rows that are put in their new order at a time.
const SLICE_ROWS: usize = 2_048;

/// Collects rows and gives sorted files.
pub(super) struct Runs {
    table: Table,
    converter: RowConverter,
    held: Vec<RecordBatch>,
    bytes: usize,
    done: Vec<Bytes>,
}

impl Runs {
    pub(super) fn new(table: Table) -> Result<Self, ArrowError> {
        Ok(Self { table, converter: converter(table)?, held: Vec::new(), bytes: 0, done: Vec::new() })
    }

    /// Adds rows with the columns of the table.
    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), ParquetError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.bytes += batch.columns().iter().map(|column| column.get_buffer_memory_size()).sum::<usize>();
        self.held.push(batch);
        if self.bytes >= RUN_BYTES { self.end_run() } else { Ok(()) }
    }

    /// The sorted files, in no particular order.
    pub(super) fn finish(mut self) -> Result<Vec<Bytes>, ParquetError> {
        self.end_run()?;
        Ok(self.done)
    }

    fn end_run(&mut self) -> Result<(), ParquetError> {
        let held = std::mem::take(&mut self.held);
        self.bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        let mut keys = Vec::with_capacity(held.len());
        for batch in &held {
            keys.push(self.converter.convert_columns(&sort_columns(self.table, batch))?);
        }
        let places = |(batch, rows): (usize, &arrow::row::Rows)| (0..rows.num_rows()).map(move |row| (batch, row));
        let mut order: Vec<(usize, usize)> = keys.iter().enumerate().flat_map(places).collect();
        order.sort_unstable_by(|a, b| keys[a.0].row(a.1).cmp(&keys[b.0].row(b.1)).then(a.cmp(b)));
        drop(keys);
        let batches: Vec<&RecordBatch> = held.iter().collect();
        let mut encoder = Encoder::new(self.table, Order::Run)?;
        for slice in order.chunks(SLICE_ROWS) {
            encoder.write(&interleave_record_batch(&batches, slice)?)?;
        }
        // Copied to its length: a buffer that grew by doubling may be half empty, and all runs are held at once.
        self.done.push(Bytes::copy_from_slice(&encoder.finish()?.bytes));
        Ok(())
    }
}

/// Makes the keys by which rows of a table are sorted.
pub(super) fn converter(table: Table) -> Result<RowConverter, ArrowError> {
    let schema = table.file_schema();
    let kind = |name: &&str| schema.field_with_name(name).expect("sort columns are columns").data_type().clone();
    RowConverter::new(table.sort_columns().iter().map(|name| SortField::new(kind(name))).collect())
}

/// The columns of a batch by which it is sorted.
pub(super) fn sort_columns(table: Table, batch: &RecordBatch) -> Vec<ArrayRef> {
    let column = |name: &&str| batch.column_by_name(name).expect("sort columns are columns").clone();
    table.sort_columns().iter().map(column).collect()
}
