//! Aggregation, run by run.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{
    AggregateExec, AggregateInputMode, AggregateOutputMode, aggregate_expressions, evaluate_many,
};
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};
use futures_util::{StreamExt, stream};

use super::double::quick_doubles;
use super::ends::{End, Ends};
use super::numbering::Numbering;
use super::stand_in::Work;

type Expr = Arc<dyn PhysicalExpr>;

/// An aggregation of rows sorted by what they are grouped by; partial or whole, as DataFusion's that it stands for.
#[derive(Debug)]
pub(super) struct Runs {
    aggregate: Arc<AggregateExec>,
}

/// Whether equal keys are the same bits: of floats, 0 and -0 are not.
fn is_plain(kind: &DataType) -> bool {
    use DataType::*;
    matches!(kind, Boolean | Utf8 | Utf8View | Date32 | Date64 | Timestamp(..) | Decimal128(..)) || kind.is_integer()
}

/// Whether an aggregation can be replaced.
fn fits(aggregate: &AggregateExec) -> bool {
    let groups = aggregate.group_expr();
    let schema = aggregate.input().schema();
    let mut keys = groups.expr().iter();
    *aggregate.input_order_mode() == InputOrderMode::Sorted
        && aggregate.mode().input_mode() == AggregateInputMode::Raw
        && aggregate.limit_options().is_none()
        && groups.is_single()
        && !groups.is_empty()
        && keys.all(|(key, _)| key.data_type(&schema).is_ok_and(|kind| is_plain(&kind)))
        && aggregate.aggr_expr().iter().all(|one| one.groups_accumulator_supported())
}

impl Work for Runs {
    const NAME: &str = "RunsExec";

    fn of(node: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let aggregate = node.downcast_ref::<AggregateExec>().filter(|aggregate| fits(aggregate))?;
        Some(Self { aggregate: Arc::new(aggregate.clone()) })
    }

    fn begin(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
        metrics: BaselineMetrics,
    ) -> Result<SendableRecordBatchStream> {
        let running = Running::new(&self.aggregate, partition, context, metrics)?;
        let batches = stream::try_unfold(running, |mut running| async move {
            Ok(running.next().await?.map(|batch| (batch, running)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.aggregate.schema(), batches)))
    }
}

/// One partition at work.
struct Running {
    input: SendableRecordBatchStream,
    aggregate: Arc<AggregateExec>,
    keys: Vec<Vec<Expr>>,
    arguments: Vec<Vec<Expr>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    numbering: Numbering,
    /// The group of each row of a batch.
    groups: Vec<usize>,
    /// With more groups open, those that have ended are handed out.
    open_max: usize,
    memory: MemoryReservation,
    metrics: BaselineMetrics,
    ended: bool,
}

impl Running {
    fn new(
        aggregate: &Arc<AggregateExec>,
        partition: usize,
        context: &Arc<TaskContext>,
        metrics: BaselineMetrics,
    ) -> Result<Self> {
        let input = aggregate.input();
        let schema = input.schema();
        let quick = |exprs: Vec<Expr>| exprs.into_iter().map(|expr| quick_doubles(expr, &schema)).collect();
        let arguments = aggregate_expressions(aggregate.aggr_expr(), aggregate.mode(), 0)?;
        let arguments: Vec<Vec<Expr>> = arguments.into_iter().map(quick).collect::<Result<_>>()?;
        let keys = aggregate.group_expr().input_exprs();
        let mut accumulators: Vec<Box<dyn GroupsAccumulator>> = Vec::new();
        for (one, arguments) in aggregate.aggr_expr().iter().zip(&arguments) {
            accumulators.push(match End::of(one, &keys, input.equivalence_properties())? {
                Some(end) => {
                    let types = arguments.iter().map(|argument| argument.data_type(&schema)).collect::<Result<_>>()?;
                    Box::new(Ends::new(end, types))
                }
                None => one.create_groups_accumulator()?,
            });
        }
        Ok(Self {
            input: input.execute(partition, Arc::clone(context))?,
            keys: vec![keys],
            arguments,
            accumulators,
            numbering: Numbering::default(),
            groups: Vec::new(),
            open_max: context.session_config().batch_size(),
            memory: MemoryConsumer::new(format!("RunsExec[{partition}]")).register(context.memory_pool()),
            metrics,
            aggregate: Arc::clone(aggregate),
            ended: false,
        })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while !self.ended {
            let Some(batch) = self.input.next().await.transpose()? else {
                self.ended = true;
                return if self.numbering.open() > 0 { self.emit(EmitTo::All).map(Some) } else { Ok(None) };
            };
            self.take(&batch)?;
            if self.numbering.open() > self.open_max {
                return self.emit(EmitTo::First(self.numbering.open() - 1)).map(Some);
            }
        }
        Ok(None)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let keys = evaluate_many(&self.keys, batch)?;
        self.numbering.assign(&keys[0], &mut self.groups)?;
        let arguments = evaluate_many(&self.arguments, batch)?;
        let filters = self.aggregate.filter_expr().iter();
        for ((accumulator, arguments), filter) in self.accumulators.iter_mut().zip(&arguments).zip(filters) {
            let filter = match filter {
                Some(filter) => Some(filter.evaluate(batch)?.into_array(batch.num_rows())?),
                None => None,
            };
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            accumulator.update_batch(arguments, &self.groups, filter, self.numbering.open())?;
        }
        let accumulators = self.accumulators.iter().map(|one| one.size()).sum::<usize>();
        self.memory.try_resize(accumulators + self.numbering.bytes() + self.groups.capacity() * size_of::<usize>())
    }

    fn emit(&mut self, emit: EmitTo) -> Result<RecordBatch> {
        let elapsed = self.metrics.elapsed_compute().clone();
        let _timer = elapsed.timer();
        let mut columns = self.numbering.emit(emit)?;
        for accumulator in &mut self.accumulators {
            match self.aggregate.mode().output_mode() {
                AggregateOutputMode::Partial => columns.extend(accumulator.state(emit)?),
                AggregateOutputMode::Final => columns.push(accumulator.evaluate(emit)?),
            }
        }
        let batch = RecordBatch::try_new(self.aggregate.schema(), columns).map_err(DataFusionError::from)?;
        self.metrics.record_output(batch.num_rows());
        Ok(batch)
    }
}
