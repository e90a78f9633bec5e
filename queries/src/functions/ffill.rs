//! `ffill(value) OVER (… ORDER BY …)`: the newest value so far that is not null. One pass;
//! `last_value(…) IGNORE NULLS` of DataFusion 55 searches the frame again for every row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::FieldRef;
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDFImpl};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Ffill {
    signature: Signature,
}

impl Ffill {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl WindowUDFImpl for Ffill {
    fn name(&self) -> &str {
        "ffill"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let input = &args.input_fields()[0];
        Ok(Arc::new(arrow::datatypes::Field::new(args.name(), input.data_type().clone(), true)))
    }
}

#[derive(Debug)]
struct Evaluator;

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let column = &values[0];
        if column.null_count() == 0 {
            return Ok(Arc::clone(column));
        }
        let mut newest = None;
        let from: UInt32Array = (0..column.len())
            .map(|row| {
                if column.is_valid(row) {
                    newest = Some(row as u32);
                }
                newest
            })
            .collect();
        Ok(take(column, &from, None)?)
    }
}
