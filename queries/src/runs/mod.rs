//! Aggregation of rows that are sorted by what they are grouped by: a group is a run of rows, so nothing is hashed, and
//! the first and last row of a group are where it begins and ends. And what stood some rows before, in the same order.
//!
//! Compacted files are sorted by (symbol, time). DataFusion 55 knows the order and ends its groups early, but looks each
//! row's key up in a hash table all the same: a third of the time of a count by symbol. Its `lag` takes row by row, where a
//! batch can be shifted.

mod aggregate;
mod begins;
mod double;
mod ends;
mod lag;
mod last;
mod numbering;
mod stand_in;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use aggregate::Runs;
use lag::Lags;
use stand_in::StandIn;

/// Replaces aggregations and lags of sorted rows. To be applied last: it looks at the order that others have settled.
#[derive(Debug)]
pub(crate) struct UseRuns;

impl PhysicalOptimizerRule for UseRuns {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replace = |node: Arc<dyn ExecutionPlan>| {
            let other = StandIn::<Runs>::of(&node).or_else(|| StandIn::<Lags>::of(&node));
            Ok(other.map_or_else(|| Transformed::no(node), Transformed::yes))
        };
        plan.transform_up(replace).data()
    }

    fn name(&self) -> &str {
        "use_runs"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
