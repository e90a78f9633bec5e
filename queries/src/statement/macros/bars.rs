//! `bars(table, '1m', fill => 'prev')`: open, high, low, close, volume, VWAP and count per instrument and bar.

use super::args::Args;
use crate::error::SqlError;

/// What stands in bars without a trade.
const FILLS: [&str; 3] = ["none", "null", "prev"];

/// The SQL of `bars`. With `fill`, every bar between an instrument's first and last is there; `prev` puts the
/// last close into it, with volume and count 0.
pub(super) fn expand(args: &mut Args<'_>) -> Result<String, SqlError> {
    let table = args.table("a table of trades")?;
    let width = args.duration("width")?;
    let (ts, by) = (args.time(&table)?, args.by(&table)?);
    let (price, size) = (args.price(&table)?, args.size(&table)?);
    let fill = args.word("fill", &FILLS)?.unwrap_or("none");
    let from = &table.from;
    let bars = format!(
        "SELECT {by} AS symbol, date_bin({width}, {ts}) AS bar, \
         first_value({price} ORDER BY {ts}) AS open, max({price}) AS high, min({price}) AS low, \
         last_value({price} ORDER BY {ts}) AS close, sum({size}) AS volume, vwap({price}, {size}) AS vwap, \
         count({price}) AS trades FROM {from} AS source_ WHERE {price} IS NOT NULL GROUP BY 1, 2"
    );
    if fill == "none" {
        return Ok(bars);
    }
    let carried = |column: &str| match fill {
        "prev" => format!("coalesce(b_.{column}, ffill(b_.close) OVER w_) AS {column}"),
        _ => format!("b_.{column} AS {column}"),
    };
    let zero = |column: &str| match fill {
        "prev" => format!("coalesce(b_.{column}, 0) AS {column}"),
        _ => format!("b_.{column} AS {column}"),
    };
    Ok(format!(
        "WITH bars_ AS ({bars}), \
         span_ AS (SELECT symbol, min(bar) AS first_, max(bar) AS last_ FROM bars_ GROUP BY symbol), \
         grid_ AS (SELECT symbol, unnest(generate_series(first_, last_, {width})) AS bar FROM span_) \
         SELECT g_.symbol AS symbol, g_.bar AS bar, {}, {}, {}, {}, {}, b_.vwap AS vwap, {} \
         FROM grid_ AS g_ LEFT JOIN bars_ AS b_ ON b_.symbol = g_.symbol AND b_.bar = g_.bar \
         WINDOW w_ AS (PARTITION BY g_.symbol ORDER BY g_.bar)",
        carried("open"),
        carried("high"),
        carried("low"),
        carried("close"),
        zero("volume"),
        zero("trades"),
    ))
}
