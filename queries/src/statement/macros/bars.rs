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
    // What stands in a bar that had no trade.
    let missing = |column: &str| match (fill, column) {
        ("prev", "open" | "high" | "low" | "close") => "s_.close",
        ("prev", "volume" | "trades") => "0",
        _ => "NULL",
    };
    let columns = ["open", "high", "low", "close", "volume", "vwap", "trades"]
        .map(|column| format!("CASE WHEN s_.at_ = s_.bar THEN s_.{column} ELSE {} END AS {column}", missing(column)));
    // Each bar is followed by the empty ones up to the next. The start of the bar that a row comes from is left out at the
    // end, and with it what DataFusion 55 goes on believing after the unnesting: that it is unique.
    Ok(format!(
        "SELECT s_.symbol AS symbol, s_.at_ AS bar, {} FROM (SELECT *, \
         unnest(generate_series(n_.bar, coalesce(n_.next_ - {width}, n_.bar), {width})) AS at_ \
         FROM (SELECT *, lead(bar) OVER (PARTITION BY symbol ORDER BY bar) AS next_ FROM ({bars}) AS bars_) AS n_) AS s_",
        columns.join(", ")
    ))
}
