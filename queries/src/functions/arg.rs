//! `arg_max(value, by)` and `arg_min(value, by)`: the value where `by` is largest or smallest. Rows in which either
//! is null do not count.
//!
//! They are other names for `first_value(value ORDER BY by DESC)`, which DataFusion computes group by group without
//! sorting, and become that before they run.

use arrow::datatypes::DataType;
use datafusion::common::{internal_err, plan_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Expr, Signature, SortExpr, Volatility};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Arg {
    signature: Signature,
    max: bool,
}

impl Arg {
    pub(super) fn max() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable), max: true }
    }

    pub(super) fn min() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable), max: false }
    }
}

impl AggregateUDFImpl for Arg {
    fn name(&self) -> &str {
        if self.max { "arg_max" } else { "arg_min" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [value, _] => Ok(value.clone()),
            _ => plan_err!("{} takes a value and what to compare by", self.name()),
        }
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        internal_err!("{} is replaced before it runs", self.name())
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let ascending = !self.max;
        Some(Box::new(move |call: AggregateFunction, _context| {
            let mut args = call.params.args.into_iter();
            let (Some(value), Some(by)) = (args.next(), args.next()) else {
                return internal_err!("two arguments were planned");
            };
            let both = value.clone().is_not_null().and(by.clone().is_not_null());
            let filter = match call.params.filter {
                Some(filter) => filter.and(both),
                None => both,
            };
            let order = vec![SortExpr::new(by, ascending, false)];
            Ok(Expr::AggregateFunction(AggregateFunction::new_udf(
                first_value_udaf(),
                vec![value],
                false,
                Some(Box::new(filter)),
                order,
                None,
            )))
        }))
    }
}
