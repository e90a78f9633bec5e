//! Filters above an ASOF join that can stand below it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::AsofNode;

/// Every left row comes out of an ASOF join once, so what is asked of the left alone may be asked before. What is
/// asked of a key holds for the right's key too: rows of another key match nothing that is left.
#[derive(Debug, Default)]
pub struct PushFilterIntoAsof;

impl OptimizerRule for PushFilterIntoAsof {
    fn name(&self) -> &str {
        "push_filter_into_asof"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Extension(Extension { node }) = &*filter.input else { return Ok(Transformed::no(plan)) };
        let Some(asof) = node.as_any().downcast_ref::<AsofNode>() else { return Ok(Transformed::no(plan)) };
        let schema = asof.left.schema();
        let is_left = |expr: &Expr| {
            let columns = expr.column_refs();
            !expr.is_volatile() && !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
        };
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            split_conjunction_owned(filter.predicate.clone()).into_iter().partition(is_left);
        if below.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let on_right = below.iter().filter_map(|expr| mirrored(expr, asof).transpose()).collect::<Result<Vec<_>>>()?;
        let left = filtered(asof.left.clone(), below)?;
        let right = filtered(asof.right.clone(), on_right)?;
        let joined = AsofNode::new(left, right, asof.on.clone(), asof.times.clone(), asof.nearest)?;
        let joined = LogicalPlan::Extension(Extension { node: Arc::new(joined) });
        Ok(Transformed::yes(filtered(joined, above)?))
    }
}

fn filtered(plan: LogicalPlan, predicates: Vec<Expr>) -> Result<LogicalPlan> {
    match conjunction(predicates) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?)),
        None => Ok(plan),
    }
}

/// A predicate on left keys, said of the right's; `None` when it uses other columns too.
fn mirrored(predicate: &Expr, asof: &AsofNode) -> Result<Option<Expr>> {
    let keys: HashMap<&Column, &Expr> = asof
        .on
        .iter()
        .filter_map(|(left, right)| match left {
            Expr::Column(column) => Some((column, right)),
            _ => None,
        })
        .collect();
    if !predicate.column_refs().iter().all(|column| keys.contains_key(*column)) {
        return Ok(None);
    }
    let replaced = predicate.clone().transform(|expr| {
        Ok(match &expr {
            Expr::Column(column) => Transformed::yes(keys[column].clone()),
            _ => Transformed::no(expr),
        })
    });
    replaced.data().map(Some)
}
