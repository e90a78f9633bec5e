//! Files of a snapshot, and which of them a query can leave out.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::error::Result;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

/// Smallest and largest value of a column in a file, and its nulls.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// No value is below.
    pub min: ScalarValue,
    /// No value is above.
    pub max: ScalarValue,
    /// Nulls, when they were counted.
    pub nulls: Option<u64>,
}

impl Range {
    /// Whether all rows have one value. Of times and decimals that is not known: other writers of a table cut times to
    /// milliseconds and write decimals as floats, so that ends of different values may look alike.
    fn is_constant(&self) -> bool {
        use ScalarValue::{Int32, Int64, Utf8, Utf8View};
        matches!(self.min, Int32(_) | Int64(_) | Utf8(_) | Utf8View(_)) && self.nulls == Some(0) && self.min == self.max
    }
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// Its path in the store.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// The UTC day of all its rows, in days since 1970.
    pub date: i32,
    /// By column of the table; `None` where nothing is known.
    pub ranges: Vec<Option<Range>>,
    /// Whether its rows are sorted by the table's sort columns.
    pub sorted: bool,
}

impl File {
    /// What DataFusion may know of the columns in the file itself, without the date.
    pub(super) fn own_statistics(&self, schema: &SchemaRef) -> Statistics {
        let mut statistics = self.statistics(schema, Precision::Inexact);
        statistics.column_statistics.pop();
        statistics
    }

    /// What DataFusion may know of it. The date is the last column of the table. Ends of ranges are given as `bound` says:
    /// they are values of the file or beyond, so `min(…)` may not be answered with them. Where both ends are one value and
    /// nothing is null, every row has it, and the column need not be read.
    fn statistics(&self, schema: &SchemaRef, bound: fn(ScalarValue) -> Precision<ScalarValue>) -> Statistics {
        let last = schema.fields().len() - 1;
        let columns = (0..=last).map(|column| {
            if column == last {
                let date = Precision::Exact(ScalarValue::Date32(Some(self.date)));
                return ColumnStatistics {
                    null_count: Precision::Exact(0),
                    min_value: date.clone(),
                    max_value: date,
                    ..ColumnStatistics::new_unknown()
                };
            }
            match self.ranges.get(column).and_then(Option::as_ref) {
                None => ColumnStatistics::new_unknown(),
                Some(range) => {
                    let bound = if range.is_constant() { Precision::Exact } else { bound };
                    ColumnStatistics {
                        null_count: range.nulls.map_or(Precision::Absent, |nulls| Precision::Exact(nulls as usize)),
                        min_value: bound(range.min.clone()),
                        max_value: bound(range.max.clone()),
                        ..ColumnStatistics::new_unknown()
                    }
                }
            }
        });
        Statistics {
            num_rows: Precision::Exact(self.rows as usize),
            total_byte_size: Precision::Inexact(self.bytes as usize),
            column_statistics: columns.collect(),
        }
    }
}

/// The files in which `filters` may be true, each with its statistics.
pub(super) fn prune(files: &[Arc<File>], schema: &SchemaRef, filters: &[Expr]) -> Result<Vec<Arc<File>>> {
    let Some(predicate) = conjunction(filters.iter().cloned()) else { return Ok(files.to_vec()) };
    let described = DFSchema::try_from(Arc::clone(schema))?;
    let predicate =
        create_physical_expr(&predicate, &described, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let pruning = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(predicate)?;
    if pruning.always_true() {
        return Ok(files.to_vec());
    }
    // Pruning looks at exact ends only; for it, being beyond is as good.
    let statistics = files.iter().map(|file| Arc::new(file.statistics(schema, Precision::Exact))).collect();
    let keep = pruning.prune(&PrunableStatistics::new(statistics, Arc::clone(schema)))?;
    let keep = BooleanArray::from(keep);
    Ok(files.iter().zip(keep.values().iter()).filter(|(_, keep)| *keep).map(|(file, _)| Arc::clone(file)).collect())
}
