//! Numbers the groups of sorted rows, run by run.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{concat, take};
use datafusion::error::Result;
use datafusion::logical_expr::EmitTo;
use std::sync::Arc;

use super::begins::begins;
use super::last::LastKey;

/// The groups that are open, numbered from zero in the order of their rows.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// Their keys, column by column, in the pieces in which they came.
    keys: Vec<Vec<ArrayRef>>,
    last: LastKey,
    open: usize,
    bytes: usize,
}

impl Numbering {
    /// How many groups are open.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// Bytes of memory.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts the group of each row into `groups`; `columns` are the rows' keys, at least one row.
    pub(super) fn assign(&mut self, columns: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        groups.clear();
        let mut begins = begins(columns)?;
        let ends = begins.iter().skip(1).map(|begin| *begin as usize).chain([columns[0].len()]);
        let goes_on = self.last.goes_on(columns)?;
        let before = if goes_on { self.open - 1 } else { self.open };
        for (at, end) in ends.enumerate() {
            groups.resize(end, before + at);
        }
        self.open = before + begins.len();
        if goes_on {
            begins.remove(0);
        }
        self.last.set(columns, groups.len() - 1);
        if begins.is_empty() {
            return Ok(());
        }
        let begins = UInt32Array::from(begins);
        self.keys.resize(columns.len(), Vec::new());
        for (keys, column) in self.keys.iter_mut().zip(columns) {
            let piece = unattached(take(column, &begins, None)?);
            self.bytes += piece.get_buffer_memory_size();
            keys.push(piece);
        }
        Ok(())
    }

    /// Keys of the first groups or of all, which are open no longer.
    pub(super) fn emit(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let count = match emit {
            EmitTo::All => self.open,
            EmitTo::First(count) => count,
        };
        self.open -= count;
        if self.open == 0 {
            self.last.clear();
        }
        self.bytes = 0;
        let mut emitted = Vec::with_capacity(self.keys.len());
        for pieces in &mut self.keys {
            let all = concat(&pieces.iter().map(|piece| &**piece).collect::<Vec<_>>())?;
            pieces.clear();
            if self.open > 0 {
                let rest = UInt32Array::from_iter_values(count as u32..(count + self.open) as u32);
                let rest = unattached(take(&all, &rest, None)?);
                self.bytes += rest.get_buffer_memory_size();
                pieces.push(rest);
            }
            emitted.push(all.slice(0, count));
        }
        Ok(emitted)
    }
}

/// Texts without the pages that they came in.
pub(super) fn unattached(column: ArrayRef) -> ArrayRef {
    match column.as_string_view_opt() {
        Some(texts) => Arc::new(texts.gc()),
        None => column,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn columns(rows: &[(Option<&str>, i64)]) -> Vec<ArrayRef> {
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
        ]
    }

    #[test]
    fn runs_go_on_from_batch_to_batch() {
        let (mut numbering, mut groups) = (Numbering::default(), Vec::new());
        let long = "a text of more than twelve bytes";
        numbering.assign(&columns(&[(Some("A"), 1), (Some("A"), 1), (Some("A"), 2)]), &mut groups).expect("assigned");
        assert_eq!((&groups[..], numbering.open()), (&[0, 0, 1][..], 2));
        numbering.assign(&columns(&[(Some("A"), 2), (Some(long), 2), (None, 2)]), &mut groups).expect("assigned");
        assert_eq!((&groups[..], numbering.open()), (&[1, 2, 3][..], 4));
        let first = numbering.emit(EmitTo::First(3)).expect("emitted");
        assert_eq!(&first, &columns(&[(Some("A"), 1), (Some("A"), 2), (Some(long), 2)]));
        numbering.assign(&columns(&[(None, 2), (None, 3)]), &mut groups).expect("assigned");
        assert_eq!((&groups[..], numbering.open()), (&[0, 1][..], 2));
        assert_eq!(&numbering.emit(EmitTo::All).expect("emitted"), &columns(&[(None, 2), (None, 3)]));
        assert_eq!((numbering.open(), numbering.bytes()), (0, 0));
        numbering.assign(&columns(&[(None, 3)]), &mut groups).expect("assigned");
        assert_eq!((&groups[..], numbering.open()), (&[0][..], 1), "what was emitted does not go on");
    }
}
