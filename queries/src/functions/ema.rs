//! `ema(value, periods) OVER (… ORDER BY …)`: the exponential moving average, with the usual weight
//! `2 / (periods + 1)` for the newest value. It starts at the first value; nulls leave it as it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Builder};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDFImpl};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Ema {
    signature: Signature,
}

impl Ema {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for Ema {
    fn name(&self) -> &str {
        "ema"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [value, periods] if value.is_numeric() && periods.is_numeric() => Ok(vec![DataType::Float64; 2]),
            _ => plan_err!("ema takes a number and the number of periods, as in ema(price, 20)"),
        }
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Float64, true)))
    }
}

#[derive(Debug)]
struct Evaluator;

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], _rows: usize) -> Result<ArrayRef> {
        let (column, periods) = (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
        let mut results = Float64Builder::with_capacity(column.len());
        let mut average = None;
        for row in 0..column.len() {
            let count = if periods.is_valid(row) { periods.value(row) } else { 0.0 };
            if !(1.0..=1e9).contains(&count) {
                return exec_err!("ema over {count} periods is not allowed: 1 to 1000000000");
            }
            if column.is_valid(row) {
                let weight = 2.0 / (count + 1.0);
                let value = column.value(row);
                average = Some(average.map_or(value, |average: f64| average + weight * (value - average)));
            }
            results.append_option(average);
        }
        Ok(Arc::new(results.finish()))
    }
}
