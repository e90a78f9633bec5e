//! Functions that make much out of little, `repeat('x', 2000000000)`, held to a size before they begin: what they take
//! is not counted by the pool of memory, and a worker that runs out of memory takes every statement with it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::SqlError;

/// Bytes that one call may make, for all rows of a batch together.
const BYTES_MAX: i128 = 64 << 20;
/// Bytes of a character, at most.
const CHARACTER_BYTES: i128 = 4;
/// Bytes of a value in a list, about.
const VALUE_BYTES: i128 = 16;
/// The shortest that a month of an interval may be, in nanoseconds.
const MONTH_NS: i128 = 28 * DAY_NS;
const DAY_NS: i128 = 86_400_000_000_000;

/// How the size of a result is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Measure {
    /// The text's bytes, as many times as the second argument says.
    Repeated,
    /// As many characters as the second argument says.
    Padded,
    /// As many values as the second argument says.
    Listed,
    /// A value for each step from the first argument to the second.
    Series,
}

/// The functions, by DataFusion's names.
const BOUNDED: [(&str, Measure); 7] = [
    ("repeat", Measure::Repeated),
    ("lpad", Measure::Padded),
    ("rpad", Measure::Padded),
    ("array_repeat", Measure::Listed),
    ("array_resize", Measure::Listed),
    ("range", Measure::Series),
    ("generate_series", Measure::Series),
];

/// Functions that take the places of DataFusion's.
pub(super) fn all(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<Arc<ScalarUDF>> {
    let bounded = |(name, measure): (&str, Measure)| {
        known(name).map(|inner| Arc::new(ScalarUDF::from(Bounded { inner, measure })))
    };
    BOUNDED.into_iter().filter_map(bounded).collect()
}

/// One of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    measure: Measure,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.inner().signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.inner().documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = self.measure.bytes(&args)?;
        if bytes > BYTES_MAX {
            let message = format!("{} of {bytes} bytes is not allowed: at most {BYTES_MAX}", self.name());
            return Err(DataFusionError::External(Box::new(SqlError::limit(message))));
        }
        self.inner.inner().invoke_with_args(args)
    }
}

/// A column's values, once where it is a constant.
struct Values {
    array: ArrayRef,
    times: usize,
}

impl Values {
    fn of(args: &ScalarFunctionArgs, at: usize) -> Result<Option<Self>> {
        Ok(match args.args.get(at) {
            None => None,
            Some(ColumnarValue::Array(array)) => Some(Self { array: Arc::clone(array), times: 1 }),
            Some(ColumnarValue::Scalar(value)) => {
                Some(Self { array: value.to_array()?, times: args.number_rows.max(1) })
            }
        })
    }

    fn numbers(&self) -> Result<Vec<i128>> {
        let column = cast(&self.array, &DataType::Int64)?;
        let values = column.as_primitive::<Int64Type>().iter().map(|value| i128::from(value.unwrap_or(0)));
        Ok(repeated(values.collect(), self.times))
    }

    /// Nanoseconds of times, dates and intervals; numbers as they are.
    fn steps(&self) -> Result<Vec<i128>> {
        if let DataType::Interval(_) = self.array.data_type() {
            let month_day_nano = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
            let column = cast(&self.array, &month_day_nano)?;
            let nanos = column.as_primitive::<IntervalMonthDayNanoType>().iter().map(|value| {
                value.map_or(0, |value| {
                    i128::from(value.months) * MONTH_NS
                        + i128::from(value.days) * DAY_NS
                        + i128::from(value.nanoseconds)
                })
            });
            return Ok(repeated(nanos.collect(), self.times));
        }
        let unit = match self.array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
            DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
            DataType::Date32 => DAY_NS,
            _ => 1,
        };
        Ok(self.numbers()?.into_iter().map(|value| value * unit).collect())
    }
}

fn repeated(values: Vec<i128>, times: usize) -> Vec<i128> {
    match values.as_slice() {
        [one] if times > 1 => vec![*one; times],
        _ => values,
    }
}

impl Measure {
    /// Bytes that a call makes, about; nulls make none.
    fn bytes(self, args: &ScalarFunctionArgs) -> Result<i128> {
        if matches!(self, Self::Series) {
            return series(args);
        }
        let Some(counts) = Values::of(args, 1)? else { return Ok(0) };
        let counts = counts.numbers()?.into_iter().map(|count| count.max(0));
        Ok(match self {
            Self::Repeated => {
                let Some(texts) = Values::of(args, 0)? else { return Ok(0) };
                let column = cast(&texts.array, &DataType::Utf8View)?;
                let lengths = column.as_string_view().iter().map(|text| text.map_or(0, str::len) as i128);
                repeated(lengths.collect(), texts.times)
                    .into_iter()
                    .zip(counts)
                    .map(|(length, count)| length * count)
                    .sum()
            }
            Self::Padded => counts.map(|count| count * CHARACTER_BYTES).sum(),
            Self::Listed | Self::Series => counts.map(|count| count * VALUE_BYTES).sum(),
        })
    }
}

/// Bytes of `range(stop)`, `range(start, stop)` or `range(start, stop, step)`.
fn series(args: &ScalarFunctionArgs) -> Result<i128> {
    let Some(first) = Values::of(args, 0)? else { return Ok(0) };
    let first = first.steps()?;
    let (starts, stops) = match Values::of(args, 1)? {
        Some(stops) => (first, stops.steps()?),
        None => (vec![0; first.len()], first),
    };
    let steps = Values::of(args, 2)?.map(|steps| steps.steps()).transpose()?.unwrap_or_else(|| vec![1; starts.len()]);
    let counts = starts.into_iter().zip(stops).zip(steps).map(|((start, stop), step)| {
        // In the wrong direction there is nothing; a step of zero is the function's own to refuse.
        if step == 0 { 0 } else { ((stop - start) / step).max(0) + 1 }
    });
    Ok(counts.map(|count| count * VALUE_BYTES).sum())
}
