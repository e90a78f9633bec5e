//! Merges sorted files into larger ones: a batch of each in memory, whatever their size.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use super::compact::conform;
use super::plan::FILE_BYTES_MAX;
use crate::encode::{Encoded, Encoder, Order};
use crate::lake::LakeError;
use crate::tables::Table;

/// Rows of a file in memory at a time.
const BATCH_ROWS: usize = 8_192;

/// The place in one sorted file.
struct Cursor {
    table: Table,
    path: String,
    reader: ParquetRecordBatchReader,
    batch: RecordBatch,
    keys: Rows,
    at: usize,
}

impl Cursor {
    fn open(table: Table, path: String, bytes: Bytes, converter: &RowConverter) -> Result<Option<Self>, LakeError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|error| LakeError::Parquet { path: path.clone(), what: error.to_string() })?;
        let batch = RecordBatch::new_empty(table.file_schema());
        let keys = converter.empty_rows(0, 0);
        let mut cursor = Self { table, path, reader, batch, keys, at: 0 };
        Ok(cursor.next_batch(converter)?.then_some(cursor))
    }

    /// Goes on to the next batch; false at the end.
    fn next_batch(&mut self, converter: &RowConverter) -> Result<bool, LakeError> {
        let refuse = |path: &str, what: String| LakeError::Parquet { path: path.to_owned(), what };
        loop {
            let Some(batch) = self.reader.next() else { return Ok(false) };
            let batch = batch.map_err(|error| refuse(&self.path, error.to_string()))?;
            if batch.num_rows() == 0 {
                continue;
            }
            self.batch = conform(self.table, &self.path, &batch)?;
            let names = self.table.sort_columns().iter();
            let columns: Vec<_> =
                names.map(|name| self.batch.column_by_name(name).expect("sort columns are columns").clone()).collect();
            self.keys = converter.convert_columns(&columns).map_err(|error| refuse(&self.path, error.to_string()))?;
            self.at = 0;
            return Ok(true);
        }
    }

    fn key(&self) -> OwnedRow {
        self.keys.row(self.at).owned()
    }
}

/// Files of at most [`FILE_BYTES_MAX`] with the rows of all the given ones, in order.
pub(super) fn merged(table: Table, files: Vec<(String, Bytes)>) -> Result<Vec<Encoded>, LakeError> {
    let whole =
        |error: &dyn std::fmt::Display| LakeError::Parquet { path: table.name().to_owned(), what: error.to_string() };
    let schema = table.file_schema();
    let field = |name: &&str| {
        let kind = schema.field_with_name(name).expect("sort columns are columns").data_type().clone();
        SortField::new(kind)
    };
    let converter =
        RowConverter::new(table.sort_columns().iter().map(field).collect()).map_err(|error| whole(&error))?;
    let mut cursors = Vec::new();
    for (path, bytes) in files {
        cursors.extend(Cursor::open(table, path, bytes, &converter)?);
    }
    let mut heap: BinaryHeap<Reverse<(OwnedRow, usize)>> =
        cursors.iter().enumerate().map(|(index, cursor)| Reverse((cursor.key(), index))).collect();
    let mut out =
        Out { table, encoder: Encoder::new(table, Order::Sorted).map_err(|error| whole(&error))?, files: Vec::new() };
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(BATCH_ROWS);
    while let Some(Reverse((_, index))) = heap.pop() {
        order.push((index, cursors[index].at));
        cursors[index].at += 1;
        let ended = cursors[index].at == cursors[index].batch.num_rows();
        if ended || order.len() == BATCH_ROWS {
            out.write(&cursors, &order).map_err(|error| whole(&error))?;
            order.clear();
        }
        if !ended || cursors[index].next_batch(&converter)? {
            heap.push(Reverse((cursors[index].key(), index)));
        }
    }
    out.finish().map_err(|error| whole(&error))
}

struct Out {
    table: Table,
    encoder: Encoder,
    files: Vec<Encoded>,
}

impl Out {
    fn write(&mut self, cursors: &[Cursor], order: &[(usize, usize)]) -> Result<(), ParquetError> {
        let batches: Vec<&RecordBatch> = cursors.iter().map(|cursor| &cursor.batch).collect();
        self.encoder.write(&interleave_record_batch(&batches, order)?)?;
        if self.encoder.size() >= FILE_BYTES_MAX {
            let full = std::mem::replace(&mut self.encoder, Encoder::new(self.table, Order::Sorted)?);
            self.files.push(full.finish()?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Encoded>, ParquetError> {
        if self.encoder.rows() > 0 {
            self.files.push(self.encoder.finish()?);
        }
        Ok(self.files)
    }
}
