//! Merges sorted files into larger ones: a batch and a page of each column of each in memory, whatever their size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Display;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::{OwnedRow, RowConverter, Rows};
use tokio_util::sync::CancellationToken;

use super::compact::parquet;
use super::input::{Batches, Input};
use super::plan::FILE_BYTES_MAX;
use super::runs::{converter, sort_columns};
use crate::encode::{Encoded, Encoder, Order};
use crate::lake::LakeError;
use crate::tables::Table;

/// Rows of all files together in memory at a time, about.
const ROWS_MAX: usize = 16_384;
/// Rows of one file in memory at a time, at most and at least.
const BATCH_ROWS: (usize, usize) = (256, 4_096);

/// The place in one sorted file.
struct Cursor {
    table: Table,
    batches: Batches,
    batch: RecordBatch,
    keys: Rows,
    at: usize,
}

impl Cursor {
    fn open(table: Table, file: Input, rows: usize, converter: &RowConverter) -> Result<Option<Self>, LakeError> {
        let batches = file.batches(table, table.name(), rows)?;
        let batch = RecordBatch::new_empty(table.file_schema());
        let mut cursor = Self { table, batches, batch, keys: converter.empty_rows(0, 0), at: 0 };
        Ok(cursor.next_batch(converter)?.then_some(cursor))
    }

    /// Goes on to the next batch; false at the end.
    fn next_batch(&mut self, converter: &RowConverter) -> Result<bool, LakeError> {
        loop {
            let Some(batch) = self.batches.next().transpose()? else { return Ok(false) };
            if batch.num_rows() == 0 {
                continue;
            }
            let keys = converter.convert_columns(&sort_columns(self.table, &batch));
            self.keys = keys.map_err(|error| parquet(self.table.name(), &error))?;
            self.batch = batch;
            self.at = 0;
            return Ok(true);
        }
    }

    fn key(&self) -> OwnedRow {
        self.keys.row(self.at).owned()
    }
}

/// Gives files of at most [`FILE_BYTES_MAX`] with the rows of all the given ones, in order, one at a time.
pub(super) fn merged(
    table: Table,
    files: Vec<Input>,
    unwanted: &CancellationToken,
    give: &mut dyn FnMut(Encoded) -> Result<(), LakeError>,
) -> Result<(), LakeError> {
    let whole = |error: &dyn Display| parquet(table.name(), error);
    let converter = converter(table).map_err(|error| whole(&error))?;
    let rows = (ROWS_MAX / files.len().max(1)).clamp(BATCH_ROWS.0, BATCH_ROWS.1);
    let mut cursors = Vec::new();
    for file in files {
        cursors.extend(Cursor::open(table, file, rows, &converter)?);
    }
    let mut heap: BinaryHeap<Reverse<(OwnedRow, usize)>> =
        cursors.iter().enumerate().map(|(index, cursor)| Reverse((cursor.key(), index))).collect();
    let mut out = Out { table, encoder: Encoder::new(table, Order::Sorted).map_err(|error| whole(&error))?, give };
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(BATCH_ROWS.1);
    while let Some(Reverse((_, index))) = heap.pop() {
        order.push((index, cursors[index].at));
        cursors[index].at += 1;
        let ended = cursors[index].at == cursors[index].batch.num_rows();
        if ended || order.len() == BATCH_ROWS.1 {
            out.write(&cursors, &order)?;
            order.clear();
            if unwanted.is_cancelled() {
                return Err(whole(&"no longer wanted"));
            }
        }
        if !ended || cursors[index].next_batch(&converter)? {
            heap.push(Reverse((cursors[index].key(), index)));
        }
    }
    out.finish()
}

/// The file that is being made.
struct Out<'a> {
    table: Table,
    encoder: Encoder,
    give: &'a mut dyn FnMut(Encoded) -> Result<(), LakeError>,
}

impl Out<'_> {
    fn write(&mut self, cursors: &[Cursor], order: &[(usize, usize)]) -> Result<(), LakeError> {
        let error = |error: &dyn Display| parquet(self.table.name(), error);
        let batches: Vec<&RecordBatch> = cursors.iter().map(|cursor| &cursor.batch).collect();
        let rows = interleave_record_batch(&batches, order).map_err(|why| error(&why))?;
        self.encoder.write(&rows).map_err(|why| error(&why))?;
        if self.encoder.size() >= FILE_BYTES_MAX {
            let next = Encoder::new(self.table, Order::Sorted).map_err(|why| error(&why))?;
            let full = std::mem::replace(&mut self.encoder, next);
            (self.give)(full.finish().map_err(|why| error(&why))?)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), LakeError> {
        if self.encoder.rows() == 0 {
            return Ok(());
        }
        (self.give)(self.encoder.finish().map_err(|why| parquet(self.table.name(), &why))?)
    }
}
