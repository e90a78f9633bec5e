//! Operators that stand in the place of DataFusion's: the same children, order and answers, other work.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
};

/// What is done in an operator's place.
pub(super) trait Work: fmt::Debug + Send + Sync + Sized + 'static {
    /// The operator's name.
    const NAME: &str;

    /// What does the work of a node, where it can.
    fn of(node: &Arc<dyn ExecutionPlan>) -> Option<Self>;

    /// Begins it on a partition.
    fn begin(
        &self,
        partition: usize,
        context: &Arc<TaskContext>,
        metrics: BaselineMetrics,
    ) -> Result<SendableRecordBatchStream>;
}

/// An operator in another's place.
#[derive(Debug)]
pub(super) struct StandIn<W> {
    node: Arc<dyn ExecutionPlan>,
    work: W,
    metrics: ExecutionPlanMetricsSet,
}

impl<W: Work> StandIn<W> {
    /// For a node, where there is one.
    pub(super) fn of(node: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
        let work = W::of(node)?;
        Some(Arc::new(Self { node: Arc::clone(node), work, metrics: ExecutionPlanMetricsSet::new() }))
    }
}

impl<W: Work> DisplayAs for StandIn<W> {
    fn fmt_as(&self, kind: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", W::NAME)?;
        self.node.fmt_as(kind, out)
    }
}

impl<W: Work> ExecutionPlan for StandIn<W> {
    fn name(&self) -> &str {
        W::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.node.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.node.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.node.required_input_ordering()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.node.maintains_input_order()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.node.children()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.node.apply_expressions(visit)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    /// The new children may come in another order: then DataFusion's own operator stays.
    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let node = Arc::clone(&self.node).replace_children(children, options)?;
        Ok(Self::of(&node).unwrap_or(node))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.work.begin(partition, &context, BaselineMetrics::new(&self.metrics, partition))
    }
}
