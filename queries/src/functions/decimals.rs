//! Decimal types and columns as our functions take them.

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, i256};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;

/// Digits of every result.
pub(super) const PRECISION: u8 = 38;
/// Digits after the point of every average and quotient.
pub(super) const SCALE: i8 = 16;

/// The decimal type in which an argument is taken: itself, or what holds its whole numbers.
pub(super) fn decimal_of(function: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Decimal128(precision, scale) if *scale >= 0 => Ok(DataType::Decimal128(*precision, *scale)),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) if *scale >= 0 => {
            Ok(DataType::Decimal128(*precision, *scale))
        }
        DataType::Null => Ok(DataType::Decimal128(18, 8)),
        integer if integer.is_integer() => Ok(DataType::Decimal128(20, 0)),
        other => plan_err!("{function} takes decimals or whole numbers, not {other}: cast it, as in x::decimal(18,8)"),
    }
}

/// Digits after the point of a decimal type.
pub(super) fn scale_of(data_type: &DataType) -> Result<i8> {
    match data_type {
        DataType::Decimal128(_, scale) => Ok(*scale),
        other => plan_err!("a decimal is needed here, not {other}"),
    }
}

/// A column of decimals.
pub(super) fn decimals(array: &ArrayRef) -> Result<&Decimal128Array> {
    match array.as_primitive_opt::<Decimal128Type>() {
        Some(decimals) => Ok(decimals),
        None => exec_err!("a column of decimals is needed here, not of {}", array.data_type()),
    }
}

/// A result as 38 digits.
pub(super) fn fit(what: &str, value: i256, scale: i8) -> Result<i128> {
    let limit = 10_u128.pow(u32::from(PRECISION));
    match value.to_i128() {
        Some(value) if value.unsigned_abs() < limit => Ok(value),
        _ => exec_err!("{what} has more than {PRECISION} digits, {scale} of them after the point"),
    }
}
