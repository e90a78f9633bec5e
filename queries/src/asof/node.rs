//! The ASOF join in a logical plan.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef, JoinType};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore, build_join_schema};

/// Which row of the right is nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nearest {
    /// The last one at or before: `left >= right`.
    AtOrBefore,
    /// The last one before: `left > right`.
    Before,
    /// The first one at or after: `left <= right`.
    AtOrAfter,
    /// The first one after: `left < right`.
    After,
}

impl Nearest {
    /// Whether it looks back in time.
    pub(super) fn is_backward(self) -> bool {
        matches!(self, Self::AtOrBefore | Self::Before)
    }

    /// Whether the search goes past a right row: for one that looks back the row is a candidate, for one that
    /// looks ahead it comes too early.
    pub(super) fn passes(self, right: i64, left: i64) -> bool {
        match self {
            Self::AtOrBefore | Self::After => right <= left,
            Self::Before | Self::AtOrAfter => right < left,
        }
    }

    /// The operator between left and right.
    pub(super) fn operator(self) -> &'static str {
        match self {
            Self::AtOrBefore => ">=",
            Self::Before => ">",
            Self::AtOrAfter => "<=",
            Self::After => "<",
        }
    }
}

/// `left ASOF JOIN right`.
#[derive(Clone, PartialEq, Eq)]
pub struct AsofNode {
    pub(super) left: LogicalPlan,
    pub(super) right: LogicalPlan,
    /// Keys that have to be equal: left, right.
    pub(super) on: Vec<(Expr, Expr)>,
    /// The times: left, right.
    pub(super) times: (Expr, Expr),
    pub(super) nearest: Nearest,
    schema: DFSchemaRef,
}

impl AsofNode {
    /// Joins two plans; every left row comes out once.
    ///
    /// # Errors
    /// When a column of the same qualified name is on both sides.
    pub fn new(
        left: LogicalPlan,
        right: LogicalPlan,
        on: Vec<(Expr, Expr)>,
        times: (Expr, Expr),
        nearest: Nearest,
    ) -> Result<Self> {
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &JoinType::Left)?);
        Ok(Self { left, right, on, times, nearest, schema })
    }
}

impl fmt::Debug for AsofNode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_for_explain(out)
    }
}

impl Hash for AsofNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.right.hash(state);
        self.on.hash(state);
        self.times.hash(state);
        self.nearest.hash(state);
    }
}

impl PartialOrd for AsofNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.left.partial_cmp(&other.left) {
            Some(Ordering::Equal) => self.right.partial_cmp(&other.right),
            order => order,
        }
        .filter(|order| *order != Ordering::Equal || self == other)
    }
}

/// Indices of the columns that expressions use.
fn used(schema: &DFSchema, exprs: &[&Expr]) -> Vec<usize> {
    let mut indices: Vec<usize> = exprs
        .iter()
        .flat_map(|expr| expr.column_refs())
        .filter_map(|column| schema.maybe_index_of_column(column))
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices
}

impl UserDefinedLogicalNodeCore for AsofNode {
    fn name(&self) -> &str {
        "AsofJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.on.iter().flat_map(|(left, right)| [left.clone(), right.clone()]);
        keys.chain([self.times.0.clone(), self.times.1.clone()]).collect()
    }

    fn fmt_for_explain(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<String> = self.on.iter().map(|(left, right)| format!("{left} = {right}")).collect();
        let (left, right) = &self.times;
        write!(out, "AsofJoin: match=[{left} {} {right}], on=[{}]", self.nearest.operator(), on.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        let (Some(left), Some(right), None) = (inputs.next(), inputs.next(), inputs.next()) else {
            return datafusion::common::internal_err!("an ASOF join has two inputs");
        };
        let mut exprs = exprs;
        let (Some(right_time), Some(left_time)) = (exprs.pop(), exprs.pop()) else {
            return datafusion::common::internal_err!("an ASOF join has two times");
        };
        let mut exprs = exprs.into_iter();
        let mut on = Vec::with_capacity(self.on.len());
        while let (Some(left), Some(right)) = (exprs.next(), exprs.next()) {
            on.push((left, right));
        }
        Self::new(left, right, on, (left_time, right_time), self.nearest)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.left.schema().fields().len();
        let (mut left_exprs, mut right_exprs): (Vec<&Expr>, Vec<&Expr>) =
            self.on.iter().map(|(left, right)| (left, right)).unzip();
        left_exprs.push(&self.times.0);
        right_exprs.push(&self.times.1);
        let mut left = used(self.left.schema(), &left_exprs);
        let mut right = used(self.right.schema(), &right_exprs);
        for column in output_columns {
            if *column < width {
                left.push(*column);
            } else {
                right.push(*column - width);
            }
        }
        for indices in [&mut left, &mut right] {
            indices.sort_unstable();
            indices.dedup();
        }
        Some(vec![left, right])
    }
}
