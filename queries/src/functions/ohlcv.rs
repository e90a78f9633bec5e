//! `ohlcv(price, size, ts)`: open, high, low, close, volume, VWAP and count as one struct.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Fields, Int64Type, i256};
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::decimals::{PRECISION, SCALE, decimal_of, decimals, fit, scale_of};
use super::vwap::STATE;
use super::wide::{Wide, divide, power};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Ohlcv {
    signature: Signature,
}

impl Ohlcv {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// The fields of the result, for prices and sizes of these scales.
fn fields(price: i8, size: i8) -> Fields {
    let decimal = |name: &str, scale: i8| Field::new(name, DataType::Decimal128(PRECISION, scale), true);
    Fields::from(vec![
        decimal("open", price),
        decimal("high", price),
        decimal("low", price),
        decimal("close", price),
        decimal("volume", size),
        decimal("vwap", SCALE),
        Field::new("trades", DataType::Int64, true),
    ])
}

impl AggregateUDFImpl for Ohlcv {
    fn name(&self) -> &str {
        "ohlcv"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [price, size, time @ DataType::Timestamp(..)] => {
                Ok(vec![decimal_of("ohlcv", price)?, decimal_of("ohlcv", size)?, time.clone()])
            }
            _ => plan_err!("ohlcv takes a price, a size and a timestamp, as in ohlcv(price, quantity, ts_event)"),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let (Some(price), Some(size)) = (types.first(), types.get(1)) else {
            return plan_err!("ohlcv takes three arguments");
        };
        Ok(DataType::Struct(fields(scale_of(price)?, scale_of(size)?)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let scale = scale_of(args.input_fields[0].data_type())?;
        let price = DataType::Decimal128(PRECISION, scale);
        let field = |name: &str, kind: DataType| Arc::new(Field::new(format!("{}[{name}]", args.name), kind, true));
        Ok(vec![
            field("first", DataType::Int64),
            field("open", price.clone()),
            field("high", price.clone()),
            field("low", price.clone()),
            field("last", DataType::Int64),
            field("close", price),
            field("notional", STATE),
            field("volume", STATE),
            field("trades", DataType::Int64),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let scale = |at: usize| scale_of(&args.exprs[at].data_type(args.schema)?);
        Ok(Box::new(Bar {
            price: scale(0)?,
            size: scale(1)?,
            ends: None,
            notional: Wide::default(),
            volume: Wide::default(),
            trades: 0,
        }))
    }
}

/// What is known of a bar with a trade in it.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// Time and price of the earliest; of several at one time the first to come.
    open: (i64, i128),
    /// Time and price of the latest; of several at one time the last to come.
    close: (i64, i128),
    high: i128,
    low: i128,
}

/// One bar.
#[derive(Debug)]
struct Bar {
    price: i8,
    size: i8,
    ends: Option<Ends>,
    notional: Wide,
    volume: Wide,
    trades: i64,
}

impl Bar {
    fn add(&mut self, other: Ends) {
        let ends = self.ends.get_or_insert(other);
        if other.open.0 < ends.open.0 {
            ends.open = other.open;
        }
        if other.close.0 >= ends.close.0 {
            ends.close = other.close;
        }
        ends.high = ends.high.max(other.high);
        ends.low = ends.low.min(other.low);
    }

    fn vwap(&self) -> Result<Option<i128>> {
        let shift = SCALE - self.price;
        let factor = power(u32::from(shift.unsigned_abs()));
        let (notional, volume) = (self.notional.get(), self.volume.get());
        let scaled = if shift >= 0 { notional.checked_mul(factor) } else { Some(notional) };
        let volume = if shift >= 0 { volume } else { volume.wrapping_mul(factor) };
        let Some(scaled) = scaled else { return exec_err!("the vwap of ohlcv overflows") };
        divide(scaled, volume).map(|value| fit("the vwap of ohlcv", value, SCALE)).transpose()
    }
}

impl Accumulator for Bar {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (prices, sizes, times) =
            (decimals(&values[0])?, decimals(&values[1])?, cast(&values[2], &DataType::Int64)?);
        let times = times.as_primitive::<Int64Type>();
        for ((price, size), time) in prices.iter().zip(sizes.iter()).zip(times.iter()) {
            let (Some(price), Some(size), Some(time)) = (price, size, time) else { continue };
            self.add(Ends { open: (time, price), close: (time, price), high: price, low: price });
            let product = i256::from_i128(price).checked_mul(i256::from_i128(size));
            if !product.is_some_and(|product| self.notional.merge(product)) {
                return exec_err!("ohlcv overflows: a product has more than 57 digits");
            }
            self.volume.add(size);
            self.trades += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let names = fields(self.price, self.size);
        let price = |value: Option<i128>| ScalarValue::Decimal128(value, PRECISION, self.price);
        let volume = match self.ends {
            Some(_) => Some(fit("the volume of ohlcv", self.volume.get(), self.size)?),
            None => None,
        };
        let values = [
            price(self.ends.map(|ends| ends.open.1)),
            price(self.ends.map(|ends| ends.high)),
            price(self.ends.map(|ends| ends.low)),
            price(self.ends.map(|ends| ends.close.1)),
            ScalarValue::Decimal128(volume, PRECISION, self.size),
            ScalarValue::Decimal128(self.vwap()?, PRECISION, SCALE),
            ScalarValue::Int64(Some(self.trades)),
        ];
        let pairs = names.iter().map(Arc::clone).zip(values);
        pairs.fold(ScalarStructBuilder::new(), |built, (field, value)| built.with_scalar(field, value)).build()
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let time = |value: Option<i64>| ScalarValue::Int64(value);
        let price = |value: Option<i128>| ScalarValue::Decimal128(value, PRECISION, self.price);
        let sum = |sum: Wide| ScalarValue::Decimal256(Some(sum.get()), 76, 0);
        let ends = self.ends;
        Ok(vec![
            time(ends.map(|ends| ends.open.0)),
            price(ends.map(|ends| ends.open.1)),
            price(ends.map(|ends| ends.high)),
            price(ends.map(|ends| ends.low)),
            time(ends.map(|ends| ends.close.0)),
            price(ends.map(|ends| ends.close.1)),
            sum(self.notional),
            sum(self.volume),
            ScalarValue::Int64(Some(self.trades)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let long = |at: usize| states[at].as_primitive::<Int64Type>();
        let price = |at: usize| states[at].as_primitive::<Decimal128Type>();
        let sum = |at: usize| states[at].as_primitive::<Decimal256Type>();
        for row in 0..states[0].len() {
            if states[0].is_null(row) {
                continue;
            }
            self.add(Ends {
                open: (long(0).value(row), price(1).value(row)),
                high: price(2).value(row),
                low: price(3).value(row),
                close: (long(4).value(row), price(5).value(row)),
            });
            if !self.notional.merge(sum(6).value(row)) || !self.volume.merge(sum(7).value(row)) {
                return exec_err!("ohlcv overflows: a sum has more than 57 digits");
            }
            self.trades += long(8).value(row);
        }
        Ok(())
    }
}
