//! Batches as they leave the engine: without what is not theirs, and not too large.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch};
use arrow::compute::take_record_batch;
use arrow::datatypes::{ByteViewType, DataType};

use crate::error::SqlError;

/// Bytes of a batch on its way, about; a larger one goes in parts.
const PIECE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a row, at most.
const ROW_BYTES_MAX: usize = 16 << 20;

/// The same rows without the bytes of rows that were filtered away: texts as views keep the whole buffers that they were
/// read into, and writing a batch writes all of them.
pub fn without_strangers(batch: RecordBatch) -> Result<RecordBatch, SqlError> {
    let is_view = |column: &ArrayRef| matches!(column.data_type(), DataType::Utf8View | DataType::BinaryView);
    if !batch.columns().iter().any(is_view) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(own(column.as_string_view())),
            DataType::BinaryView => Arc::new(own(column.as_binary_view())),
            _ => Arc::clone(column),
        }
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn own<T: ByteViewType + ?Sized>(column: &GenericByteViewArray<T>) -> GenericByteViewArray<T> {
    let held: usize = column.data_buffers().iter().map(|buffer| buffer.len()).sum();
    let few = column.data_buffers().len() <= 1;
    if few && held <= column.total_buffer_bytes_used() { column.clone() } else { column.gc() }
}

/// Bytes of a batch's own rows: a slice holds the buffers of the whole, which are not counted.
fn bytes(batch: &RecordBatch) -> usize {
    let of_views = |buffers: &[arrow::buffer::Buffer]| buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
    let of = |column: &ArrayRef| {
        let texts = match column.data_type() {
            DataType::Utf8View => of_views(column.as_string_view().data_buffers()),
            DataType::BinaryView => of_views(column.as_binary_view().data_buffers()),
            _ => 0,
        };
        texts + column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(of).sum()
}

/// The rows in parts of bounded size.
///
/// # Errors
/// When one row alone is too large.
pub fn pieces(batch: RecordBatch) -> Result<Vec<RecordBatch>, SqlError> {
    let mut waiting = vec![without_strangers(batch)?];
    let mut done = Vec::new();
    while let Some(batch) = waiting.pop() {
        let (bytes, rows) = (bytes(&batch), batch.num_rows());
        if bytes <= PIECE_BYTES_MAX || rows == 0 {
            done.push(batch);
        } else if rows > 1 {
            // Taken, not sliced: a slice holds the bytes of the whole.
            let half = rows as u32 / 2;
            let part = |rows: std::ops::Range<u32>| -> Result<RecordBatch, SqlError> {
                let rows = arrow::array::UInt32Array::from_iter_values(rows);
                without_strangers(take_record_batch(&batch, &rows)?)
            };
            waiting.push(part(half..rows as u32)?);
            waiting.push(part(0..half)?);
        } else if bytes <= ROW_BYTES_MAX {
            done.push(batch);
        } else {
            let message = format!("a row of {bytes} bytes is not allowed in an answer: at most {ROW_BYTES_MAX}");
            return Err(SqlError::limit(message));
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use arrow::array::StringViewArray;

    use super::*;

    fn texts(count: usize, length: usize) -> RecordBatch {
        let texts = (0..count).map(|at| format!("{at:03}").repeat(length / 3));
        let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("text", column)]).expect("a batch")
    }

    #[test]
    fn rows_that_were_filtered_away_leave_no_bytes() {
        let all = texts(1_000, 1_000);
        let some = without_strangers(all.slice(500, 2)).expect("fine");
        assert_eq!(some.column(0).as_string_view().value(1), "501".repeat(333));
        assert!(bytes(&some) < 10_000 && some.get_array_memory_size() < 10_000, "{}", bytes(&some));
    }

    #[test]
    fn large_batches_go_in_parts_and_keep_their_rows() {
        let parts = pieces(texts(64, 1 << 20)).expect("each row is small enough");
        assert!(parts.len() >= 16 && parts.iter().all(|part| bytes(part) <= PIECE_BYTES_MAX));
        let rows: Vec<String> = parts
            .iter()
            .flat_map(|part| part.column(0).as_string_view().iter().map(|text| text.expect("no nulls").to_owned()))
            .collect();
        assert_eq!(rows.len(), 64);
        assert!(rows.iter().enumerate().all(|(at, text)| *text == format!("{at:03}").repeat((1 << 20) / 3)));
        let error = pieces(texts(1, 20 << 20)).expect_err("too large");
        assert!(error.message.contains("a row of") && error.message.contains("16777216"), "{error}");
    }
}
