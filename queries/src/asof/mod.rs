//! `left ASOF JOIN right MATCH_CONDITION (left.ts >= right.ts) ON left.key = right.key`: each row of the left
//! with the one row of the right that is nearest in time, or nulls.
//!
//! The syntax and the meaning are Snowflake's: every left row comes out once. DataFusion 55 parses it and cannot
//! plan it, so there is a node for the logical plan, a rule that pushes filters below it, and [`AsofExec`], a
//! sort-merge join that streams: it holds a handful of batches of either side, whatever the size of the tables.

mod exec;
mod matching;
mod node;
mod planner;
mod prepared;
mod pushdown;

pub use exec::AsofExec;
pub use node::{AsofNode, Nearest};
pub use planner::{AsofExtensionPlanner, AsofRelationPlanner};
pub use pushdown::PushFilterIntoAsof;
