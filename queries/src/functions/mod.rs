//! Functions that DataFusion has not, or has not wide enough.
//!
//! Aggregates: `vwap(price, size)`, `ohlcv(price, size, ts)`, `twap(price, ts)`, `arg_max(value, by)`,
//! `arg_min(value, by)`, and a `sum` whose decimals do not overflow on the way. Window functions: `ffill(value)`
//! and `ema(value, periods)`. Decimal division is ours too.

mod arg;
mod bounded;
mod decimals;
mod divide;
mod ema;
mod ffill;
mod ohlcv;
mod sum;
mod twap;
mod vwap;
mod wide;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

/// Whether a row passes the `FILTER` of an aggregate.
#[inline]
pub(crate) fn counts(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// Runs of rows of one group, and the group.
pub(crate) fn runs(groups: &[usize]) -> impl Iterator<Item = (Range<usize>, usize)> {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let group = *groups.get(begin)?;
        let end = groups[begin..].iter().position(|next| *next != group).map_or(groups.len(), |rows| begin + rows);
        let run = begin..end;
        begin = end;
        Some((run, group))
    })
}

/// The aggregates. `sum` takes the place of DataFusion's.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    vec![
        Arc::new(AggregateUDF::from(vwap::Vwap::new())),
        Arc::new(AggregateUDF::from(sum::WideSum::new())),
        Arc::new(AggregateUDF::from(ohlcv::Ohlcv::new())),
        Arc::new(AggregateUDF::from(twap::Twap::new())),
        Arc::new(AggregateUDF::from(arg::Arg::max())),
        Arc::new(AggregateUDF::from(arg::Arg::min())),
    ]
}

/// The window functions.
pub fn windows() -> Vec<Arc<WindowUDF>> {
    vec![Arc::new(WindowUDF::from(ffill::Ffill::new())), Arc::new(WindowUDF::from(ema::Ema::new()))]
}

/// Functions that take the places of those that are known by these names, held to a size.
pub fn bounded(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<Arc<ScalarUDF>> {
    bounded::all(known)
}

/// What plans `a / b` of decimals.
pub fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![Arc::new(divide::DividePlanner)]
}
