//! `lag` over sorted rows, a batch at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{StandardWindowExpr, StandardWindowFunctionExpr, WindowExpr};
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
use futures_util::{StreamExt, stream};

use super::begins::begins;
use super::last::LastKey;
use super::numbering::unattached;
use super::stand_in::Work;

/// Rows that it looks back, at most: so many are held.
const BACK_MAX: usize = 1_024;

/// Windows that all are `lag` over rows in their order; as DataFusion's operator that it stands for.
#[derive(Debug)]
pub(super) struct Lags {
    input: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    lags: Arc<Vec<Lag>>,
}

/// One `lag`.
#[derive(Debug, Clone)]
struct Lag {
    expr: Arc<dyn WindowExpr>,
    value_type: DataType,
    back: usize,
}

impl Lag {
    /// What a window expression is, if it is a lag without a default that counts nulls as rows.
    fn of(expr: &Arc<dyn WindowExpr>, input: &Schema) -> Option<Self> {
        let standard = expr.as_any().downcast_ref::<StandardWindowExpr>()?;
        let function = standard.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
        if function.fun().name() != "lag" {
            return None;
        }
        let back = match function.args().get(1) {
            None => 1,
            Some(back) => match back.downcast_ref::<Literal>()?.value() {
                ScalarValue::Int64(Some(back)) => usize::try_from(*back).ok()?,
                _ => return None,
            },
        };
        let [value] = &function.expressions()[..] else { return None };
        let value_type = value.data_type(input).ok()?;
        let plain = (1..=BACK_MAX).contains(&back) && shifts(function, &value_type, back).unwrap_or(false);
        plain.then(|| Self { expr: Arc::clone(expr), value_type, back })
    }
}

/// Whether a function shifts values and nulls alike by so many rows. The plan does not tell that nulls are skipped or the
/// window turned round, so the function itself is tried.
fn shifts(function: &WindowUDFExpr, value_type: &DataType, back: usize) -> Result<bool> {
    let (value, null) = (ScalarValue::new_default(value_type)?, ScalarValue::try_from(value_type)?);
    let rows = |parts: [(&ScalarValue, usize); 3]| -> Result<ArrayRef> {
        let parts = parts.map(|(value, count)| value.to_array_of_size(count));
        let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(concat(&parts.iter().map(|part| &**part).collect::<Vec<_>>())?)
    };
    let before = rows([(&value, back), (&null, back), (&null, 1)])?;
    let after = rows([(&null, back), (&value, back), (&null, 1)])?;
    Ok(function.create_evaluator()?.evaluate_all(&[before], 2 * back + 1)? == after)
}

impl Work for Lags {
    const NAME: &str = "LagExec";

    fn of(node: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let window = node.downcast_ref::<BoundedWindowAggExec>()?;
        if window.input_order_mode != InputOrderMode::Sorted {
            return None;
        }
        let input = window.input().schema();
        let lags = window.window_expr().iter().map(|expr| Lag::of(expr, &input)).collect::<Option<_>>()?;
        Some(Self { input: Arc::clone(window.input()), schema: window.schema(), lags: Arc::new(lags) })
    }

    fn begin(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
        metrics: BaselineMetrics,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(context))?;
        let running = Running {
            held: self.lags.iter().map(|lag| new_empty_array(&lag.value_type)).collect(),
            lags: Arc::clone(&self.lags),
            schema: Arc::clone(&self.schema),
            last: LastKey::default(),
            metrics,
        };
        let batches = stream::try_unfold((input, running), |(mut input, mut running)| async move {
            while let Some(batch) = input.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    return Ok(Some((running.take(&batch)?, (input, running))));
                }
            }
            Ok(None)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }
}

/// One partition at work.
struct Running {
    schema: SchemaRef,
    lags: Arc<Vec<Lag>>,
    /// By lag, the last values of the rows that go on, as many as it looks back or as there were.
    held: Vec<ArrayRef>,
    last: LastKey,
    metrics: BaselineMetrics,
}

impl Running {
    fn take(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let rows = batch.num_rows();
        // All windows of one operator have one PARTITION BY.
        let keys = self.lags[0].expr.partition_by().iter();
        let keys = keys.map(|key| key.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
        // Without keys the first row goes on from nothing, which is as good.
        let goes_on = self.last.goes_on(&keys)?;
        let begins = if keys.is_empty() { vec![0] } else { begins(&keys)? };
        let mut columns = batch.columns().to_vec();
        for (lag, held) in self.lags.iter().zip(&mut self.held) {
            let values = lag.expr.evaluate_args(batch)?.swap_remove(0);
            if !goes_on {
                *held = new_empty_array(&lag.value_type);
            }
            let before = held.len();
            let all = concat(&[held, &values])?;
            columns.push(shifted(&all, before, &begins, lag.back)?);
            // Of the last key's rows, those that the next batch may look back to.
            let own = match begins.last() {
                Some(begin) if *begin > 0 => before + *begin as usize,
                _ => 0,
            };
            let from = own.max(all.len().saturating_sub(lag.back));
            let kept = UInt32Array::from_iter_values(from as u32..all.len() as u32);
            *held = unattached(take(&all, &kept, None)?);
        }
        self.last.set(&keys, rows - 1);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.metrics.record_output(rows);
        Ok(batch)
    }
}

/// For each row after the first `before` of `all`, the value `back` rows before it, where that has the same key. Keys begin
/// at `begins`, counted from the row after `before`; the first is that of the rows before.
fn shifted(all: &ArrayRef, before: usize, begins: &[u32], back: usize) -> Result<ArrayRef> {
    let rows = all.len() - before;
    if begins.len() == 1 && before == back {
        return Ok(all.slice(0, rows));
    }
    let mut places: Vec<Option<u32>> = Vec::with_capacity(rows);
    let starts = begins.iter().map(|begin| *begin as usize);
    for (begin, end) in starts.clone().zip(starts.skip(1).chain([rows])) {
        let first = if begin == 0 { 0 } else { before + begin };
        let place = |row: usize| (before + row).checked_sub(back).filter(|place| *place >= first);
        places.extend((begin..end).map(|row| place(row).map(|place| place as u32)));
    }
    Ok(take(all, &UInt32Array::from(places), None)?)
}
