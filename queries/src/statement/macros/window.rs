//! `window_join(left, trades, before => '1s', after => '1s')`: what was traded around each row.

use super::args::Args;
use super::duration::Micros;
use crate::error::SqlError;

/// The SQL of `window_join`: every column of the left table, then `window_rows`, `window_volume` and
/// `window_vwap` of the right table's rows of the same instrument, from `before` up to `after` the row's time,
/// both ends included.
///
/// Running sums and two ASOF joins take time linear in the rows; a join on a range of times would compare every
/// pair.
pub(super) fn expand(args: &mut Args<'_>) -> Result<String, SqlError> {
    let left = args.table("a table")?;
    let right = args.table("a table of trades")?;
    let before = args.duration("before")?;
    let after = args.duration_or("after", Micros(0))?;
    let (ts, by) = (args.time(&left)?, args.by(&left)?);
    let (price, size) = (args.price(&right)?, args.size(&right)?);
    let (right_ts, right_by) = (args.time(&right)?, args.by(&right)?);
    let shift = |length: Micros, sign: &str| {
        if length.0 == 0 { ts.clone() } else { format!("{ts} {sign} {length}") }
    };
    let (first, last) = (shift(before, "-"), shift(after, "+"));
    let sums = format!(
        "(SELECT {right_by} AS by_, {right_ts} AS ts_, count(*) OVER w_ AS n_, sum({size}) OVER w_ AS v_, \
         sum({price} * {size}) OVER w_ AS pv_ FROM {} AS source_ \
         WHERE {price} IS NOT NULL AND {size} IS NOT NULL \
         WINDOW w_ AS (PARTITION BY {right_by} ORDER BY {right_ts} RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))",
        right.from
    );
    let less = |column: &str| format!("(coalesce(h_.{column}, 0) - coalesce(l_.{column}, 0))");
    Ok(format!(
        "SELECT t_.* EXCEPT (window_first_, window_last_), {n} AS window_rows, {v} AS window_volume, \
         CASE WHEN {v} > 0 THEN {pv} / {v} END AS window_vwap \
         FROM (SELECT *, {first} AS window_first_, {last} AS window_last_ FROM {from}) AS t_ \
         ASOF JOIN {sums} AS h_ MATCH_CONDITION (t_.window_last_ >= h_.ts_) ON t_.{by} = h_.by_ \
         ASOF JOIN {sums} AS l_ MATCH_CONDITION (t_.window_first_ > l_.ts_) ON t_.{by} = l_.by_",
        n = less("n_"),
        v = less("v_"),
        pv = less("pv_"),
        from = left.from,
    ))
}
