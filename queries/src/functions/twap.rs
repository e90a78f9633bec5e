//! `twap(price, ts)`: the time-weighted average price. Each price counts for as long as it stood, until the next
//! one; the last has no length. One price alone is its own average.
//!
//! Rows may come in any order: they are kept and sorted at the end, so a group costs 32 bytes a row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::decimals::{PRECISION, SCALE, decimal_of, decimals, fit, scale_of};
use super::wide::{Wide, divide, power};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Twap {
    signature: Signature,
}

impl Twap {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Twap {
    fn name(&self) -> &str {
        "twap"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [price, time @ DataType::Timestamp(..)] => Ok(vec![decimal_of("twap", price)?, time.clone()]),
            _ => plan_err!("twap takes a price and a timestamp, as in twap(price, ts_event)"),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(PRECISION, SCALE))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let scale = scale_of(args.input_fields[0].data_type())?;
        let list = |name: &str, item: DataType| {
            let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
            Arc::new(Field::new(format!("{}[{name}]", args.name), list, true))
        };
        Ok(vec![list("times", DataType::Int64), list("prices", DataType::Decimal128(PRECISION, scale))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let scale = scale_of(&args.exprs[0].data_type(args.schema)?)?;
        Ok(Box::new(Points { points: Vec::new(), scale }))
    }
}

/// Every price of a group with its time.
#[derive(Debug)]
struct Points {
    points: Vec<(i64, i128)>,
    scale: i8,
}

impl Points {
    fn average(&mut self) -> Result<Option<i128>> {
        // Of several prices at one time any order gives the same: all but the last stood for no time. The price
        // breaks ties, so that the result does not depend on the order of arrival.
        self.points.sort_unstable();
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return Ok(None) };
        let mut weighted = Wide::default();
        let length = i128::from(last.0) - i128::from(first.0);
        for pair in self.points.windows(2) {
            let Some(area) = pair[0].1.checked_mul(i128::from(pair[1].0) - i128::from(pair[0].0)) else {
                return exec_err!("twap overflows: a price has too many digits");
            };
            weighted.add(area);
        }
        let (dividend, length) = if length == 0 { (Wide::default(), 0) } else { (weighted, length) };
        let shift = power(u32::from((SCALE - self.scale).max(0).unsigned_abs()));
        let down = power(u32::from((self.scale - SCALE).max(0).unsigned_abs()));
        let (dividend, length) = match length {
            0 => (arrow::datatypes::i256::from_i128(last.1), arrow::datatypes::i256::ONE),
            length => (dividend.get(), arrow::datatypes::i256::from_i128(length)),
        };
        let Some(dividend) = dividend.checked_mul(shift) else { return exec_err!("twap overflows") };
        divide(dividend, length.wrapping_mul(down)).map(|value| fit("twap", value, SCALE)).transpose()
    }
}

impl Accumulator for Points {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (prices, times) = (decimals(&values[0])?, cast(&values[1], &DataType::Int64)?);
        let times = times.as_primitive::<Int64Type>();
        let both = times.iter().zip(prices.iter());
        self.points.extend(both.filter_map(|(time, price)| Some((time?, price?))));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Decimal128(self.average()?, PRECISION, SCALE))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.points.capacity() * size_of::<(i64, i128)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let times: ArrayRef =
            Arc::new(self.points.iter().map(|(time, _)| Some(*time)).collect::<arrow::array::Int64Array>());
        let prices = self.points.iter().map(|(_, price)| Some(*price)).collect::<arrow::array::Decimal128Array>();
        let prices: ArrayRef = Arc::new(prices.with_precision_and_scale(PRECISION, self.scale)?);
        Ok([times, prices].map(|values| SingleRowListArrayBuilder::new(values).build_list_scalar()).into())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (times, prices): (&ListArray, &ListArray) = (states[0].as_list(), states[1].as_list());
        for (times, prices) in times.iter().zip(prices.iter()) {
            let (Some(times), Some(prices)) = (times, prices) else { continue };
            let times = times.as_primitive::<Int64Type>().values();
            let prices = prices.as_primitive::<Decimal128Type>().values();
            self.points.extend(times.iter().copied().zip(prices.iter().copied()));
        }
        Ok(())
    }
}
