//! The operator: both inputs partitioned by key and sorted by key and time, merged in one pass.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{SortOptions, interleave, take};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::JoinType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{
    ChildrenPropertiesMode, ReplaceChildrenOptions, apply_expression_roots,
};
use datafusion::physical_plan::joins::utils::build_join_schema;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, PlanProperties,
};
use futures_util::{StreamExt, stream};

use super::matching::{Match, Matcher, Need};
use super::node::Nearest;
use super::prepared::Prepared;

type Expr = Arc<dyn PhysicalExpr>;

/// Keys and times are sorted like this: rising, nulls last.
const ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

/// A streaming sort-merge ASOF join.
#[derive(Debug)]
pub struct AsofExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    on: Vec<(Expr, Expr)>,
    times: (Expr, Expr),
    nearest: Nearest,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl AsofExec {
    /// Joins two plans.
    ///
    /// # Errors
    /// When an expression does not fit its input.
    pub fn new(
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        on: Vec<(Expr, Expr)>,
        times: (Expr, Expr),
        nearest: Nearest,
    ) -> Result<Self> {
        let (schema, _) = build_join_schema(&left.schema(), &right.schema(), &JoinType::Left);
        let schema: SchemaRef = Arc::new(Schema::clone(&schema));
        // The left's columns come first and keep their places, so what it says of its order holds for the join.
        let orderings = left.output_ordering().cloned();
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), orderings);
        let partitioning = left.output_partitioning().clone();
        let properties =
            Arc::new(PlanProperties::new(equivalence, partitioning, left.pipeline_behavior(), left.boundedness()));
        Ok(Self { left, right, on, times, nearest, schema, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn ordering(keys: impl Iterator<Item = Expr>, time: &Expr) -> Option<OrderingRequirements> {
        let exprs = keys.chain([Arc::clone(time)]).map(|expr| PhysicalSortExpr::new(expr, ORDER));
        LexOrdering::new(exprs).map(OrderingRequirements::from)
    }
}

impl DisplayAs for AsofExec {
    fn fmt_as(&self, _kind: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<String> = self.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let (left, right) = &self.times;
        write!(out, "AsofExec: match=[{left} {} {right}], on=[{}]", self.nearest.operator(), on.join(", "))
    }
}

impl ExecutionPlan for AsofExec {
    fn name(&self) -> &str {
        "AsofExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.on.is_empty() {
            return InputDistributionRequirements::new(vec![Distribution::SinglePartition; 2]);
        }
        let (left, right) = self.on.iter().map(|(left, right)| (Arc::clone(left), Arc::clone(right))).unzip();
        InputDistributionRequirements::co_partitioned(vec![
            Distribution::KeyPartitioned(left),
            Distribution::KeyPartitioned(right),
        ])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![
            Self::ordering(self.on.iter().map(|(left, _)| Arc::clone(left)), &self.times.0),
            Self::ordering(self.on.iter().map(|(_, right)| Arc::clone(right)), &self.times.1),
        ]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true, false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let keys = self.on.iter().flat_map(|(left, right)| [left, right]);
        apply_expression_roots(keys.chain([&self.times.0, &self.times.1]), visit)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right]: [Arc<dyn ExecutionPlan>; 2] =
            children.try_into().map_err(|_| DataFusionError::Internal("an ASOF join has two children".to_owned()))?;
        Ok(Arc::new(Self::new(left, right, self.on.clone(), self.times.clone(), self.nearest)?))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let fields = self
            .on
            .iter()
            .map(|(left, _)| Ok(SortField::new_with_options(left.data_type(&self.left.schema())?, ORDER)))
            .collect::<Result<Vec<_>>>()?;
        let merge = Merge {
            left: self.left.execute(partition, Arc::clone(&context))?,
            right: self.right.execute(partition, context)?,
            left_keys: self.on.iter().map(|(left, _)| Arc::clone(left)).collect(),
            right_keys: self.on.iter().map(|(_, right)| Arc::clone(right)).collect(),
            times: self.times.clone(),
            converter: RowConverter::new(fields)?,
            matcher: Matcher::new(self.nearest),
            current: None,
            schema: Arc::clone(&self.schema),
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let batches =
            stream::try_unfold(merge, |mut merge| async move { Ok(merge.next().await?.map(|batch| (batch, merge))) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }
}

/// One partition at work.
struct Merge {
    left: SendableRecordBatchStream,
    right: SendableRecordBatchStream,
    left_keys: Vec<Expr>,
    right_keys: Vec<Expr>,
    times: (Expr, Expr),
    converter: RowConverter,
    matcher: Matcher,
    /// The left batch at work and how many of its rows have been handed out.
    current: Option<(Prepared, usize)>,
    schema: SchemaRef,
    metrics: BaselineMetrics,
}

impl Merge {
    /// The next batch of joined rows.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut matches = Vec::new();
        loop {
            if self.current.is_none() {
                let Some(batch) = self.left.next().await.transpose()? else { return Ok(None) };
                let prepared = Prepared::new(batch, &self.left_keys, &self.times.0, &self.converter)?;
                self.matcher.begin();
                self.current = Some((prepared, 0));
            }
            let (left, done) = self.current.as_mut().expect("it was just set");
            let need = {
                let _timer = self.metrics.elapsed_compute().timer();
                self.matcher.advance(left, &mut matches)
            };
            if need == Need::Right {
                let batch = self.right.next().await.transpose()?;
                let prepared = batch
                    .map(|batch| Prepared::new(batch, &self.right_keys, &self.times.1, &self.converter))
                    .transpose()?;
                self.matcher.give(prepared);
                continue;
            }
            let rows = left.batch.slice(*done, matches.len());
            *done += matches.len();
            if need == Need::Left {
                self.current = None;
            }
            let joined = self.join(&rows, &matches)?;
            matches.clear();
            self.matcher.release();
            if joined.num_rows() > 0 {
                self.metrics.record_output(joined.num_rows());
                return Ok(Some(joined));
            }
        }
    }

    /// Puts the matched rows of the right beside those of the left.
    fn join(&self, left: &RecordBatch, matches: &[Match]) -> Result<RecordBatch> {
        let (base, held) = self.matcher.held();
        let width = self.right.schema().fields().len();
        let mut columns: Vec<ArrayRef> = left.columns().to_vec();
        let one = matches.iter().flatten().map(|(batch, _)| *batch).try_fold(None, |seen, batch| match seen {
            None => Ok(Some(batch)),
            Some(known) if known == batch => Ok(seen),
            Some(_) => Err(()),
        });
        match one {
            Ok(None) => {
                let schema = self.right.schema();
                columns.extend(schema.fields().iter().map(|field| new_null_array(field.data_type(), matches.len())));
            }
            Ok(Some(batch)) => {
                let rows: UInt32Array = matches.iter().map(|found| found.map(|(_, row)| row)).collect();
                let batch = &held[(batch - base) as usize].batch;
                for column in batch.columns() {
                    columns.push(take(column, &rows, None)?);
                }
            }
            Err(()) => {
                let rows: Vec<(usize, usize)> = matches
                    .iter()
                    .map(|found| found.map_or((0, 0), |(batch, row)| ((batch - base) as usize + 1, row as usize)))
                    .collect();
                for column in 0..width {
                    let nothing = new_null_array(self.right.schema().field(column).data_type(), 1);
                    let mut sources: Vec<&dyn Array> = vec![&*nothing];
                    sources.extend(held.iter().map(|batch| &**batch.batch.column(column)));
                    columns.push(interleave(&sources, &rows)?);
                }
            }
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}
