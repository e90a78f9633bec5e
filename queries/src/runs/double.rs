//! A decimal as a double, as arrow's cast gives it, without 128-bit conversion where 64 bits hold the number.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, Float64Array};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::CastExpr;

/// A cast of a decimal to a double.
#[derive(Debug, Eq)]
struct ToDouble {
    of: Arc<dyn PhysicalExpr>,
}

// Derived, it would move out of the reference: `==` of `dyn` takes its sides.
impl PartialEq for ToDouble {
    fn eq(&self, other: &Self) -> bool {
        self.of.eq(&other.of)
    }
}

impl Hash for ToDouble {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.hash(state);
    }
}

/// The expression with its casts of decimals to doubles replaced.
pub(super) fn quick_doubles(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let replace = |expr: Arc<dyn PhysicalExpr>| match expr.downcast_ref::<CastExpr>() {
        Some(cast)
            if *cast.cast_type() == DataType::Float64
                && matches!(cast.expr().data_type(schema)?, DataType::Decimal128(..)) =>
        {
            Ok(Transformed::yes(Arc::new(ToDouble { of: Arc::clone(cast.expr()) }) as Arc<dyn PhysicalExpr>))
        }
        _ => Ok(Transformed::no(expr)),
    };
    expr.transform_up(replace).data()
}

/// Zero where 64 bits hold the value: the upper half repeats the sign of the lower.
const fn excess(value: i128) -> i64 {
    (value >> 64) as i64 ^ (value as i64 >> 63)
}

impl fmt::Display for ToDouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CAST({} AS Float64)", self.of)
    }
}

impl PhysicalExpr for ToDouble {
    fn data_type(&self, _schema: &Schema) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.of.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        match self.of.evaluate(batch)? {
            ColumnarValue::Array(array) => {
                let decimals = array.as_primitive::<Decimal128Type>();
                let unit = 10_f64.powi(i32::from(decimals.scale()));
                // Asked of all values at once: told of one at a time, the compiler knows that both ways are the same
                // conversion, and takes the slow one.
                let small = decimals.values().iter().fold(0, |beyond, value| beyond | excess(*value)) == 0;
                let doubles: Float64Array = match small {
                    true => decimals.unary::<_, Float64Type>(|value| value as i64 as f64 / unit),
                    false => decimals.unary::<_, Float64Type>(|value| value as f64 / unit),
                };
                Ok(ColumnarValue::Array(Arc::new(doubles)))
            }
            ColumnarValue::Scalar(scalar) => Ok(ColumnarValue::Scalar(scalar.cast_to(&DataType::Float64)?)),
        }
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.of]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { of: children.swap_remove(0) }))
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Decimal128Array};
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{Column, cast};

    use super::*;

    #[test]
    fn doubles_are_those_of_the_cast() {
        let mut random = fastrand::Rng::with_seed(5);
        let bound = i128::from(i64::MAX);
        let small = [0, 1, -1, bound, -bound - 1];
        let large = [bound + 1, -bound - 2, 1 << 64, 10_i128.pow(37), -10_i128.pow(37)];
        let any = (0..10_000).map(|_| random.i128(..) >> random.u32(1..126)).filter(|n| n.abs() < 10_i128.pow(38));
        let any: Vec<i128> = any.collect();
        same_as_the_cast(small.into_iter().chain((0..1_000).map(|n| any[n] as i64 as i128)));
        same_as_the_cast(small.into_iter().chain(large).chain(any));
        large.into_iter().for_each(|one| same_as_the_cast([1, one].into_iter()));
    }

    fn same_as_the_cast(values: impl Iterator<Item = i128>) {
        let values: Vec<Option<i128>> = values.map(Some).chain([None]).collect();
        let decimals = Decimal128Array::from(values).with_precision_and_scale(38, 8).expect("they fit");
        let schema = Arc::new(Schema::new(vec![Field::new("d", decimals.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(decimals)]).expect("a column");
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("d", 0));
        let theirs = cast(column, &schema, DataType::Float64).expect("a cast");
        let ours = quick_doubles(Arc::clone(&theirs), &schema).expect("replaced");
        assert!(ours.downcast_ref::<ToDouble>().is_some());
        let of = |expr: &Arc<dyn PhysicalExpr>| {
            expr.evaluate(&batch).and_then(|value| value.into_array(batch.num_rows())).expect("values")
        };
        assert_eq!(&of(&ours), &of(&theirs));
    }
}
