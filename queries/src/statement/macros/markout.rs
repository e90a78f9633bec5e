//! `markout(trades, quotes, '1s')`: where the market stood a while after each trade.

use super::args::{Args, Table};
use crate::error::SqlError;

/// The SQL of `markout`: every column of the trades, `markout_price` as it stood `horizon` later, and
/// `markout_bps`, its distance from the trade's price in basis points, positive when the buyer gained.
pub(super) fn expand(args: &mut Args<'_>) -> Result<String, SqlError> {
    let trades = args.table("a table of trades")?;
    let quotes = args.table("a table of quotes or prices")?;
    let horizon = args.duration("horizon")?;
    let mark = args.expression("mark").unwrap_or_else(|| usual_mark(&quotes).to_owned());
    let side = args.expression("side").or_else(|| trades.has("side").then(|| "side".to_owned()));
    let quote_ts = args.expression("quote_ts");
    let (ts, by, price) = (args.time(&trades)?, args.by(&trades)?, args.price(&trades)?);
    let quote_by = args.by(&quotes)?;
    let quote_ts = match quote_ts {
        Some(column) => column,
        None => args.time(&quotes)?,
    };
    let sign = side.map_or_else(
        || "1".to_owned(),
        |side| format!("CASE WHEN lower(CAST(t_.{side} AS VARCHAR)) IN ('sell', 'ask', 's') THEN -1 ELSE 1 END"),
    );
    let distance = format!("(CAST(q_.mark_ AS DOUBLE) - CAST(t_.{price} AS DOUBLE))");
    Ok(format!(
        "SELECT t_.* EXCEPT (markout_ts_), q_.mark_ AS markout_price, \
         {sign} * {distance} * 10000 / CAST(t_.{price} AS DOUBLE) AS markout_bps \
         FROM (SELECT *, {ts} + {horizon} AS markout_ts_ FROM {}) AS t_ \
         ASOF JOIN (SELECT {quote_by} AS by_, {quote_ts} AS ts_, {mark} AS mark_ FROM {} \
         WHERE {mark} IS NOT NULL) AS q_ \
         MATCH_CONDITION (t_.markout_ts_ >= q_.ts_) ON t_.{by} = q_.by_",
        trades.from, quotes.from
    ))
}

/// What a table of quotes says the market's price is.
fn usual_mark(quotes: &Table) -> &'static str {
    if quotes.has("mid") {
        "mid"
    } else if quotes.has("bid") && quotes.has("ask") {
        "(bid + ask) / 2"
    } else if quotes.has("bid_price") && quotes.has("ask_price") {
        "(bid_price + ask_price) / 2"
    } else {
        "price"
    }
}
