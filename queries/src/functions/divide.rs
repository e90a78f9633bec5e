//! Decimal division in 256 bits: DataFusion 55 scales the dividend up in 128 bits and overflows beyond 1.7e10.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Decimal128Array, Decimal128Builder};
use arrow::datatypes::{DataType, i256};
use datafusion::common::{DFSchema, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::decimals::{PRECISION, SCALE, decimal_of, decimals, fit, scale_of};
use super::wide::{divide, power};

/// Plans `a / b` where one side is a decimal and the other a decimal or a whole number.
#[derive(Debug)]
pub(super) struct DividePlanner;

impl ExprPlanner for DividePlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        if expr.op != BinaryOperator::Divide {
            return Ok(PlannerResult::Original(expr));
        }
        let types = [expr.left.get_type(schema), expr.right.get_type(schema)];
        let [Ok(left), Ok(right)] = types else { return Ok(PlannerResult::Original(expr)) };
        let takes = |data_type: &DataType| data_type.is_decimal() || data_type.is_integer();
        if !(left.is_decimal() || right.is_decimal()) || !takes(&left) || !takes(&right) {
            return Ok(PlannerResult::Original(expr));
        }
        let function = ScalarUDF::from(WideDivide::new());
        Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
    }
}

/// The function behind the operator.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WideDivide {
    signature: Signature,
}

impl WideDivide {
    fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WideDivide {
    fn name(&self) -> &str {
        "divide"
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(ToString::to_string).collect::<Vec<_>>().join(" / "))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect::<Vec<_>>().join(" / "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        types.iter().map(|data_type| decimal_of("/", data_type)).collect()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [_, _] = types else { return plan_err!("/ takes two arguments") };
        Ok(DataType::Decimal128(PRECISION, SCALE))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let result: ArrayRef = Arc::new(quotients(&arrays[0], &arrays[1])?);
        match scalar {
            true => Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&result, 0)?)),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn quotients(left: &ArrayRef, right: &ArrayRef) -> Result<Decimal128Array> {
    let shift = i32::from(SCALE) - i32::from(scale_of(left.data_type())?) + i32::from(scale_of(right.data_type())?);
    let factor = power(shift.unsigned_abs());
    let (left, right) = (decimals(left)?, decimals(right)?);
    let mut results = Decimal128Builder::with_capacity(left.len());
    for row in 0..left.len() {
        if left.is_null(row) || right.is_null(row) {
            results.append_null();
            continue;
        }
        let (mut dividend, mut divisor) = (i256::from_i128(left.value(row)), i256::from_i128(right.value(row)));
        let target = if shift >= 0 { &mut dividend } else { &mut divisor };
        let Some(scaled) = target.checked_mul(factor) else {
            return exec_err!("a quotient overflows: {} / {}", left.value_as_string(row), right.value_as_string(row));
        };
        *target = scaled;
        let Some(quotient) = divide(dividend, divisor) else {
            return exec_err!("division by zero: {} / 0", left.value_as_string(row));
        };
        results.append_value(fit("a quotient", quotient, SCALE)?);
    }
    Ok(results.finish().with_precision_and_scale(PRECISION, SCALE)?)
}
