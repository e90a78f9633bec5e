//! Rows of the tail that a later row replaces: only the last ever lands, so only the newest may be seen before.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::row::{RowConverter, SortField};
use datafusion::common::exec_err;
use datafusion::error::Result;

/// How rows replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revisions {
    /// Columns that say of what a row is a revision.
    pub of: &'static [&'static str],
    /// The column that counts revisions.
    pub number: &'static str,
}

impl Revisions {
    /// The rows without those that another one of these replaces.
    pub(super) fn newest(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let Some(first) = batches.first() else { return Ok(Vec::new()) };
        let schema = first.schema();
        let fields = self.of.iter().map(|name| Ok(SortField::new(schema.field_with_name(name)?.data_type().clone())));
        let converter = RowConverter::new(fields.collect::<Result<_>>()?)?;
        let mut newest: HashMap<Box<[u8]>, (i64, usize, usize)> = HashMap::new();
        for (at, batch) in batches.iter().enumerate() {
            let (Some(numbers), Some(columns)) = (
                batch.column_by_name(self.number),
                self.of.iter().map(|name| batch.column_by_name(name).cloned()).collect::<Option<Vec<_>>>(),
            ) else {
                return exec_err!("the tail has not the columns that tell its revisions");
            };
            let numbers = numbers.as_primitive::<Int64Type>();
            for (row, key) in converter.convert_columns(&columns)?.iter().enumerate() {
                let number = if numbers.is_valid(row) { numbers.value(row) } else { i64::MIN };
                let known = newest.entry(key.data().into()).or_insert((number, at, row));
                // A revision that comes again is not another row: the later one counts.
                if number >= known.0 {
                    *known = (number, at, row);
                }
            }
        }
        let mut keep: Vec<Vec<bool>> = batches.iter().map(|batch| vec![false; batch.num_rows()]).collect();
        for (_, at, row) in newest.into_values() {
            keep[at][row] = true;
        }
        batches
            .iter()
            .zip(keep)
            .map(|(batch, keep)| Ok(filter_record_batch(batch, &BooleanArray::from(keep))?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;

    fn batch(rows: &[(&str, i64, i64)]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringViewArray>());
        let long = |pick: fn(&(&str, i64, i64)) -> i64| -> ArrayRef {
            Arc::new(rows.iter().map(pick).collect::<Int64Array>())
        };
        RecordBatch::try_from_iter([("key", keys), ("revision", long(|row| row.1)), ("id", long(|row| row.2))])
            .expect("a batch")
    }

    #[test]
    fn only_the_newest_revision_of_each_is_kept() {
        let revisions = Revisions { of: &["key"], number: "revision" };
        let batches =
            [batch(&[("a", 0, 1), ("b", 0, 2), ("a", 1, 3)]), batch(&[("b", 2, 4), ("c", 0, 5), ("b", 1, 6)])];
        let kept = revisions.newest(&batches).expect("fine");
        let ids: Vec<i64> =
            kept.iter().flat_map(|batch| batch.column(2).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert_eq!(ids, [3, 4, 5]);
        assert!(revisions.newest(&[]).expect("fine").is_empty());
    }
}
