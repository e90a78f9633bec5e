//! A sorted batch, cut into runs of equal keys.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, partition, take};
use arrow::datatypes::DataType;
use arrow::row::{Row, RowConverter, Rows};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

/// Rows of one key that follow each other.
#[derive(Debug, Clone)]
struct Run {
    rows: Range<usize>,
    /// A key with a null in it equals nothing.
    has_null: bool,
}

/// A batch with what merging needs to know about it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: RecordBatch,
    /// Times as integers. Nulls come last within a key.
    pub(super) times: Int64Array,
    runs: Vec<Run>,
    /// One comparable row per run.
    keys: Option<Rows>,
}

impl Prepared {
    /// Evaluates keys and times of a batch. `converter` is the same for both sides of a join.
    pub(super) fn new(
        batch: RecordBatch,
        keys: &[Arc<dyn PhysicalExpr>],
        time: &Arc<dyn PhysicalExpr>,
        converter: &RowConverter,
    ) -> Result<Self> {
        let rows = batch.num_rows();
        let times = time.evaluate(&batch)?.into_array(rows)?;
        let times = cast(&times, &DataType::Int64)?;
        let times = times.as_any().downcast_ref::<Int64Array>().expect("the cast was to Int64").clone();
        let columns: Vec<ArrayRef> =
            keys.iter().map(|key| key.evaluate(&batch)?.into_array(rows)).collect::<Result<_>>()?;
        if columns.is_empty() {
            let runs = if rows == 0 { Vec::new() } else { vec![Run { rows: 0..rows, has_null: false }] };
            return Ok(Self { batch, times, runs, keys: None });
        }
        let runs: Vec<Run> = partition(&columns)?
            .ranges()
            .into_iter()
            .map(|rows| Run { has_null: columns.iter().any(|column| column.is_null(rows.start)), rows })
            .collect();
        let starts: UInt32Array = runs.iter().map(|run| Some(run.rows.start as u32)).collect();
        let firsts: Vec<ArrayRef> =
            columns.iter().map(|column| take(column, &starts, None)).collect::<std::result::Result<_, _>>()?;
        let keys = Some(converter.convert_columns(&firsts)?);
        Ok(Self { batch, times, runs, keys })
    }

    /// Number of runs.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Rows of a run.
    pub(super) fn rows(&self, run: usize) -> Range<usize> {
        self.runs[run].rows.clone()
    }

    /// Whether a run's key can equal another.
    pub(super) fn can_match(&self, run: usize) -> bool {
        !self.runs[run].has_null
    }

    /// The comparable key of a run; `None` when the join has no keys, so that all are equal.
    pub(super) fn key(&self, run: usize) -> Option<Row<'_>> {
        self.keys.as_ref().map(|keys| keys.row(run))
    }
}
