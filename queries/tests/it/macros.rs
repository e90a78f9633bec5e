//! Table functions that stand for longer SQL.

use crate::support::{Fixed, engine, rows, trades};

fn market() -> Fixed {
    let deals = trades(&[
        ("BTC-USDT", 10_000_000, "100", "2", "buy"),
        ("BTC-USDT", 50_000_000, "103", "1", "sell"),
        ("BTC-USDT", 190_000_000, "104", "1", "buy"),
        ("ETH-USDT", 70_000_000, "10", "3", "buy"),
    ]);
    let quotes = trades(&[
        ("BTC-USDT", 9_000_000, "99", "1", "buy"),
        ("BTC-USDT", 10_500_000, "101", "1", "buy"),
        ("BTC-USDT", 52_000_000, "102", "5", "buy"),
        ("ETH-USDT", 71_000_000, "9", "1", "buy"),
    ]);
    Fixed::default().with("trades", vec![deals]).with("ticks", vec![quotes])
}

#[tokio::test]
async fn bars_are_filled() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT symbol, open, high, low, close, volume, vwap, trades FROM bars(trades, '1m') ORDER BY 1, bar";
    assert_eq!(
        rows(&engine, &market, sql).await,
        [
            "BTC-USDT,100.00000000,103.00000000,100.00000000,103.00000000,3.00000000,101.0000000000000000,2",
            "BTC-USDT,104.00000000,104.00000000,104.00000000,104.00000000,1.00000000,104.0000000000000000,1",
            "ETH-USDT,10.00000000,10.00000000,10.00000000,10.00000000,3.00000000,10.0000000000000000,1",
        ]
    );
    let sql = "SELECT bar, open, close, volume, trades FROM bars(trades, '1m', fill => 'prev') \
               WHERE symbol = 'BTC-USDT' ORDER BY bar";
    assert_eq!(
        rows(&engine, &market, sql).await,
        [
            "1970-01-01T00:00:00Z,100.00000000,103.00000000,3.00000000,2",
            "1970-01-01T00:01:00Z,103.00000000,103.00000000,0.00000000,0",
            "1970-01-01T00:02:00Z,103.00000000,103.00000000,0.00000000,0",
            "1970-01-01T00:03:00Z,104.00000000,104.00000000,1.00000000,1",
        ]
    );
    let sql = "SELECT bar, open, close, volume, trades FROM bars(trades, '1m', fill => 'null') \
               WHERE symbol = 'BTC-USDT' AND bar < TIMESTAMP '1970-01-01T00:02:00Z' ORDER BY bar";
    assert_eq!(
        rows(&engine, &market, sql).await,
        ["1970-01-01T00:00:00Z,100.00000000,103.00000000,3.00000000,2", "1970-01-01T00:01:00Z,,,,"]
    );
    // Grouped by something coarser each group is there once: DataFusion took a symbol for unique here.
    for fill in ["none", "null", "prev"] {
        let sql = format!(
            "SELECT symbol, date_trunc('day', bar) AS day, sum(trades) FROM bars(trades, '1m', fill => '{fill}') \
             GROUP BY 1, 2 ORDER BY 1, 2"
        );
        let expected = ["BTC-USDT,1970-01-01T00:00:00Z,3", "ETH-USDT,1970-01-01T00:00:00Z,1"];
        assert_eq!(rows(&engine, &market, &sql).await, expected, "{fill}");
    }
    let sql = "SELECT count(*) FROM bars((SELECT * FROM trades WHERE side = 'buy'), '1h') AS b";
    assert_eq!(rows(&engine, &market, sql).await, ["2"]);
}

#[tokio::test]
async fn the_latest_row_of_each_is_found() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT symbol, price FROM latest(trades, symbol) ORDER BY 1";
    assert_eq!(rows(&engine, &market, sql).await, ["BTC-USDT,104.00000000", "ETH-USDT,10.00000000"]);
}

#[tokio::test]
async fn markouts_are_signed() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT symbol, price, markout_price, round(markout_bps, 2) FROM markout(trades, ticks, '1s') ORDER BY ts_event";
    assert_eq!(
        rows(&engine, &market, sql).await,
        [
            "BTC-USDT,100.00000000,101.00000000,100.0",
            "BTC-USDT,103.00000000,101.00000000,194.17",
            "ETH-USDT,10.00000000,9.00000000,-1000.0",
            "BTC-USDT,104.00000000,102.00000000,-192.31",
        ]
    );
}

#[tokio::test]
async fn windows_around_rows_are_summed() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT symbol, window_rows, window_volume, window_vwap \
               FROM window_join(trades, ticks, before => '1s', after => '2s') ORDER BY ts_event";
    assert_eq!(
        rows(&engine, &market, sql).await,
        [
            "BTC-USDT,2,2.00000000,100.0000000000000000",
            "BTC-USDT,1,5.00000000,102.0000000000000000",
            "ETH-USDT,1,1.00000000,9.0000000000000000",
            "BTC-USDT,0,0.00000000,",
        ]
    );
}
