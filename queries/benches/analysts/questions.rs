//! The questions, in our SQL and in DuckDB's.

/// A question.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
}

/// All of them. DuckDB's decimals are cast to doubles where its own would overflow.
pub(crate) const ALL: [Question; 12] = [
    Question {
        name: "count and volume by symbol",
        ours: "SELECT symbol, count(*), sum(quantity) FROM trades GROUP BY symbol",
        theirs: "SELECT symbol, count(*), sum(quantity) FROM trades GROUP BY symbol",
    },
    Question {
        name: "vwap by symbol",
        ours: "SELECT symbol, vwap(price, quantity) FROM trades GROUP BY symbol",
        theirs: "SELECT symbol, sum(price::double * quantity::double) / sum(quantity::double) FROM trades GROUP BY symbol",
    },
    Question {
        name: "one-minute bars, all symbols",
        ours: "SELECT * FROM bars(trades, '1m')",
        theirs: "SELECT symbol, time_bucket(INTERVAL '1 minute', ts_event), arg_min(price, ts_event), max(price), min(price), arg_max(price, ts_event), sum(quantity), sum(price::double * quantity::double) / sum(quantity::double), count(*) FROM trades GROUP BY 1, 2",
    },
    Question {
        name: "one-minute bars, one symbol",
        ours: "SELECT * FROM bars((SELECT * FROM trades WHERE symbol = 'S0007-USDT'), '1m')",
        theirs: "SELECT symbol, time_bucket(INTERVAL '1 minute', ts_event), arg_min(price, ts_event), max(price), min(price), arg_max(price, ts_event), sum(quantity), sum(price::double * quantity::double) / sum(quantity::double), count(*) FROM trades WHERE symbol = 'S0007-USDT' GROUP BY 1, 2",
    },
    Question {
        name: "latest trade of each symbol",
        ours: "SELECT symbol, price, ts_event FROM latest(trades, symbol)",
        theirs: "SELECT symbol, arg_max(price, ts_event), max(ts_event) FROM trades GROUP BY symbol",
    },
    Question {
        name: "one symbol, one hour",
        ours: "SELECT ts_event, price, quantity FROM trades WHERE symbol = 'S0003-USDT' AND ts_event >= TIMESTAMP '2026-01-01T05:00:00Z' AND ts_event < TIMESTAMP '2026-01-01T06:00:00Z'",
        theirs: "SELECT ts_event, price, quantity FROM trades WHERE symbol = 'S0003-USDT' AND ts_event >= TIMESTAMPTZ '2026-01-01T05:00:00Z' AND ts_event < TIMESTAMPTZ '2026-01-01T06:00:00Z'",
    },
    Question {
        name: "average spread by symbol",
        ours: "SELECT symbol, avg((ask - bid)::double / bid::double) FROM quotes GROUP BY symbol",
        theirs: "SELECT symbol, avg((ask - bid)::double / bid::double) FROM quotes GROUP BY symbol",
    },
    Question {
        name: "ASOF: trades with quotes, counted",
        ours: "SELECT count(q.bid) FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts_event >= q.ts_event) ON t.symbol = q.symbol",
        theirs: "SELECT count(q.bid) FROM trades t ASOF LEFT JOIN quotes q ON t.symbol = q.symbol AND t.ts_event >= q.ts_event",
    },
    Question {
        name: "ASOF: slippage by symbol",
        ours: "SELECT t.symbol, avg((t.price - q.ask)::double) FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts_event >= q.ts_event) ON t.symbol = q.symbol GROUP BY t.symbol",
        theirs: "SELECT t.symbol, avg((t.price - q.ask)::double) FROM trades t ASOF LEFT JOIN quotes q ON t.symbol = q.symbol AND t.ts_event >= q.ts_event GROUP BY t.symbol",
    },
    Question {
        name: "ASOF: one symbol",
        ours: "SELECT avg((t.price - q.ask)::double) FROM trades t ASOF JOIN quotes q MATCH_CONDITION (t.ts_event >= q.ts_event) ON t.symbol = q.symbol WHERE t.symbol = 'S0002-USDT'",
        theirs: "SELECT avg((t.price - q.ask)::double) FROM trades t ASOF LEFT JOIN quotes q ON t.symbol = q.symbol AND t.ts_event >= q.ts_event WHERE t.symbol = 'S0002-USDT'",
    },
    Question {
        name: "returns by lag, one symbol",
        ours: "SELECT stddev(r) FROM (SELECT ln(price::double / lag(price::double) OVER (ORDER BY ts_event)) AS r FROM trades WHERE symbol = 'S0001-USDT')",
        theirs: "SELECT stddev(r) FROM (SELECT ln(price::double / lag(price::double) OVER (ORDER BY ts_event)) AS r FROM trades WHERE symbol = 'S0001-USDT')",
    },
    Question {
        name: "largest trades",
        ours: "SELECT symbol, ts_event, price, quantity FROM trades ORDER BY quantity DESC, \"offset\" LIMIT 20",
        theirs: "SELECT symbol, ts_event, price, quantity FROM trades ORDER BY quantity DESC, \"offset\" LIMIT 20",
    },
];
