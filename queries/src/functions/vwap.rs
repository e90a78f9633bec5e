//! `vwap(price, size)`: the exact volume-weighted average, `sum(price * size) / sum(size)`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Builder, Decimal256Builder};
use arrow::datatypes::{DataType, Decimal256Type, Field, FieldRef, i256};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility};

use super::decimals::{PRECISION, SCALE, decimal_of, decimals, fit, scale_of};
use super::wide::{Wide, divide, power};
use super::{counts, runs};

/// Type of a sum on its way.
pub(super) const STATE: DataType = DataType::Decimal256(76, 0);

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Vwap {
    signature: Signature,
}

impl Vwap {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Vwap {
    fn name(&self) -> &str {
        "vwap"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [price, size] = types else {
            return datafusion::common::plan_err!("vwap takes a price and a size, not {} arguments", types.len());
        };
        Ok(vec![decimal_of("vwap", price)?, decimal_of("vwap", size)?])
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(PRECISION, SCALE))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |name: &str| Arc::new(Field::new(format!("{}[{name}]", args.name), STATE, true));
        Ok(vec![field("notional"), field("volume")])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One { groups: Groups::new(&args)? }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(&args)?))
    }
}

/// Notional and volume of every group.
#[derive(Debug)]
struct Groups {
    sums: Vec<(Wide, Wide)>,
    /// Digits by which a quotient of the raw sums is short of the result's.
    shift: i8,
}

impl Groups {
    fn new(args: &AccumulatorArgs<'_>) -> Result<Self> {
        let price = args.exprs[0].data_type(args.schema)?;
        let shift = SCALE - scale_of(&price)?;
        Ok(Self { sums: Vec::new(), shift })
    }

    fn finish(&self, (notional, volume): (Wide, Wide)) -> Result<Option<i128>> {
        let (mut dividend, mut divisor) = (notional.get(), volume.get());
        let scaled = power(u32::from(self.shift.unsigned_abs()));
        let target = if self.shift >= 0 { &mut dividend } else { &mut divisor };
        let Some(shifted) = target.checked_mul(scaled) else {
            return exec_err!("vwap overflows: its notional has more than 60 digits");
        };
        *target = shifted;
        divide(dividend, divisor).map(|quotient| fit("vwap", quotient, SCALE)).transpose()
    }

    fn take(&mut self, emit: EmitTo) -> Vec<(Wide, Wide)> {
        emit.take_needed(&mut self.sums)
    }
}

/// Adds a product; of two numbers of 64 bits, which prices and sizes are, it is one multiplication.
#[inline]
fn add_product(sum: &mut Wide, price: i128, size: i128) -> Result<()> {
    if let (Ok(price), Ok(size)) = (i64::try_from(price), i64::try_from(size)) {
        sum.add(i128::from(price) * i128::from(size));
        return Ok(());
    }
    match i256::from_i128(price).checked_mul(i256::from_i128(size)) {
        Some(product) if sum.merge(product) => Ok(()),
        _ => exec_err!("vwap overflows: a product has more than 57 digits"),
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, Default::default());
        let (prices, sizes) = (decimals(&values[0])?, decimals(&values[1])?);
        let (price, size) = (prices.values(), sizes.values());
        let plain = filter.is_none() && prices.null_count() == 0 && sizes.null_count() == 0;
        for (run, group) in runs(groups) {
            let mut sums = self.sums[group];
            for row in run {
                if !plain && (!counts(filter, row) || prices.is_null(row) || sizes.is_null(row)) {
                    continue;
                }
                add_product(&mut sums.0, price[row], size[row])?;
                sums.1.add(size[row]);
            }
            self.sums[group] = sums;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = self.take(emit);
        let mut results = Decimal128Builder::with_capacity(sums.len());
        for sums in sums {
            results.append_option(self.finish(sums)?);
        }
        Ok(Arc::new(results.finish().with_precision_and_scale(PRECISION, SCALE)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = self.take(emit);
        let column = |pick: fn(&(Wide, Wide)) -> Wide| -> Result<ArrayRef> {
            let mut builder = Decimal256Builder::with_capacity(sums.len());
            sums.iter().for_each(|sum| builder.append_value(pick(sum).get()));
            Ok(Arc::new(builder.finish().with_precision_and_scale(76, 0)?))
        };
        Ok(vec![column(|sum| sum.0)?, column(|sum| sum.1)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.resize(total, Default::default());
        let (notional, volume) =
            (values[0].as_primitive::<Decimal256Type>(), values[1].as_primitive::<Decimal256Type>());
        for (row, group) in groups.iter().enumerate() {
            if notional.is_null(row) {
                continue;
            }
            let sums = &mut self.sums[*group];
            if !sums.0.merge(notional.value(row)) || !sums.1.merge(volume.value(row)) {
                return exec_err!("vwap overflows: a sum has more than 57 digits");
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let groups: Vec<usize> = (0..rows).collect();
        let mut each = Self { sums: Vec::new(), shift: self.shift };
        each.update_batch(values, &groups, filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<(Wide, Wide)>()
    }
}

/// One group alone, and as a window frame moves.
#[derive(Debug)]
struct One {
    groups: Groups,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.groups.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sums = self.groups.sums.first().copied().unwrap_or_default();
        Ok(ScalarValue::Decimal128(self.groups.finish(sums)?, PRECISION, SCALE))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.groups.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (notional, volume) = self.groups.sums.first().copied().unwrap_or_default();
        let scalar = |sum: Wide| ScalarValue::Decimal256(Some(sum.get()), 76, 0);
        Ok(vec![scalar(notional), scalar(volume)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.groups.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (prices, sizes) = (decimals(&values[0])?, decimals(&values[1])?);
        let Some(sums) = self.groups.sums.first_mut() else { return Ok(()) };
        for row in 0..prices.len() {
            if prices.is_null(row) || sizes.is_null(row) {
                continue;
            }
            let Some(product) = prices.value(row).checked_mul(sizes.value(row)) else {
                return exec_err!("vwap over a moving window overflows: a product has more than 38 digits");
            };
            sums.0.subtract(product);
            sums.1.subtract(sizes.value(row));
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}
