//! `sum` of decimals that does not overflow on its way: DataFusion 55 wraps around silently in 128 bits.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Builder, Decimal256Builder};
use arrow::datatypes::{DataType, Decimal256Type, Field, FieldRef};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

use super::decimals::{decimals, fit};
use super::vwap::STATE;
use super::wide::Wide;
use super::{counts, runs};

/// The function: DataFusion's own but for plain sums of decimals.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct WideSum {
    inner: Arc<AggregateUDF>,
}

impl WideSum {
    pub(super) fn new() -> Self {
        Self { inner: sum_udaf() }
    }
}

/// Precision and scale of a sum that is ours.
fn ours(args: &AccumulatorArgs<'_>) -> Option<(u8, i8)> {
    match args.return_field.data_type() {
        DataType::Decimal128(precision, scale) if !args.is_distinct => Some((*precision, *scale)),
        _ => None,
    }
}

impl AggregateUDFImpl for WideSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match args.return_field.data_type() {
            DataType::Decimal128(..) if !args.is_distinct => {
                Ok(vec![Arc::new(Field::new(format!("{}[sum]", args.name), STATE, true))])
            }
            _ => self.inner.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match ours(&args) {
            Some(result) => Ok(Box::new(One { sum: Wide::default(), rows: 0, result })),
            None => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match ours(&args) {
            Some(_) => self.accumulator(args),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        ours(&args).is_some() || self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match ours(&args) {
            Some(result) => Ok(Box::new(Groups { sums: Vec::new(), result })),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(data_type)
    }
}

/// Sums of all groups; `None` while a group has no value.
#[derive(Debug)]
struct Groups {
    sums: Vec<Option<Wide>>,
    result: (u8, i8),
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.sums.resize(total, None);
        let column = decimals(&values[0])?;
        let values = column.values();
        if filter.is_none() && column.null_count() == 0 {
            for (run, group) in runs(groups) {
                self.sums[group].get_or_insert_default().add_all(&values[run]);
            }
            return Ok(());
        }
        for (row, group) in groups.iter().enumerate() {
            if counts(filter, row) && column.is_valid(row) {
                self.sums[*group].get_or_insert_default().add(values[row]);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = emit.take_needed(&mut self.sums);
        let mut results = Decimal128Builder::with_capacity(sums.len());
        for sum in sums {
            results.append_option(sum.map(|sum| fit("sum", sum.get(), self.result.1)).transpose()?);
        }
        Ok(Arc::new(results.finish().with_precision_and_scale(self.result.0, self.result.1)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit.take_needed(&mut self.sums);
        let mut states = Decimal256Builder::with_capacity(sums.len());
        sums.into_iter().for_each(|sum| states.append_option(sum.map(Wide::get)));
        Ok(vec![Arc::new(states.finish().with_precision_and_scale(76, 0)?)])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.sums.resize(total, None);
        let states = values[0].as_primitive::<Decimal256Type>();
        for (row, group) in groups.iter().enumerate() {
            if states.is_valid(row) && !self.sums[*group].get_or_insert_default().merge(states.value(row)) {
                return exec_err!("sum overflows: it has more than 57 digits");
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let groups: Vec<usize> = (0..rows).collect();
        let mut each = Self { sums: Vec::new(), result: self.result };
        each.update_batch(values, &groups, filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<Wide>>()
    }
}

/// One sum, also as a window frame moves.
#[derive(Debug)]
struct One {
    sum: Wide,
    rows: u64,
    result: (u8, i8),
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in decimals(&values[0])?.iter().flatten() {
            self.sum.add(value);
            self.rows += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.rows == 0 { None } else { Some(fit("sum", self.sum.get(), self.result.1)?) };
        Ok(ScalarValue::Decimal128(value, self.result.0, self.result.1))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal256((self.rows > 0).then(|| self.sum.get()), 76, 0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_primitive::<Decimal256Type>().iter().flatten() {
            if !self.sum.merge(state) {
                return exec_err!("sum overflows: it has more than 57 digits");
            }
            self.rows += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in decimals(&values[0])?.iter().flatten() {
            self.sum.subtract(value);
            self.rows -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }
}
