//! The key of the last row that was seen.

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::not_distinct;
use datafusion::error::Result;

/// A key, a value of each column; of no row at first.
#[derive(Debug, Default)]
pub(super) struct LastKey(Option<Vec<ArrayRef>>);

impl LastKey {
    /// Whether the first row of a batch has it. `columns` are keys of the batch, of at least one row.
    pub(super) fn goes_on(&self, columns: &[ArrayRef]) -> Result<bool> {
        let Some(last) = &self.0 else { return Ok(false) };
        for (last, column) in last.iter().zip(columns) {
            if !not_distinct(last, &column.slice(0, 1))?.value(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes the key of row `row`.
    pub(super) fn set(&mut self, columns: &[ArrayRef], row: usize) {
        self.0 = Some(columns.iter().map(|column| column.slice(row, 1)).collect());
    }

    /// Forgets it: what comes next begins anew.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
