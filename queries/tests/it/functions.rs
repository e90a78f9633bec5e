//! The functions, to the last digit.

use crate::support::{Fixed, engine, rows, trades};

fn market() -> Fixed {
    Fixed::default().with(
        "trades",
        vec![trades(&[
            ("BTC-USDT", 1_000_000, "100.5", "2", "buy"),
            ("BTC-USDT", 2_000_000, "101", "1", "sell"),
            ("BTC-USDT", 4_000_000, "99.00000001", "0.5", "buy"),
            ("ETH-USDT", 1_500_000, "10", "3", "buy"),
            ("ETH-USDT", 9_500_000, "11", "1", "sell"),
        ])],
    )
}

#[tokio::test]
async fn averages_are_exact() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT symbol, vwap(price, quantity) FROM trades GROUP BY symbol ORDER BY symbol";
    // (201 + 101 + 49.500000005) / 3.5 and 41 / 4.
    assert_eq!(rows(&engine, &market, sql).await, ["BTC-USDT,100.4285714300000000", "ETH-USDT,10.2500000000000000"]);
    let sql = "SELECT sum(price * quantity) / sum(quantity) FROM trades WHERE symbol = 'BTC-USDT'";
    assert_eq!(rows(&engine, &market, sql).await, ["100.4285714300000000"]);
    let sql = "SELECT vwap(price, quantity) IS NULL FROM trades WHERE symbol = 'NONE'";
    assert_eq!(rows(&engine, &market, sql).await, ["true"]);
    // 100.5 for one second, 101 for two.
    let sql = "SELECT twap(price, ts_event) FROM trades WHERE symbol = 'BTC-USDT'";
    assert_eq!(rows(&engine, &market, sql).await, ["100.8333333333333333"]);
}

#[tokio::test]
async fn sums_of_products_do_not_overflow_on_the_way() {
    let large = "9999999999.99999999";
    let batch = trades(&vec![("X-Y", 1, large, large, "buy"); 500]);
    let tables = Fixed::default().with("trades", vec![batch]);
    let engine = engine();
    let sql = "SELECT vwap(price, quantity) FROM trades";
    assert_eq!(rows(&engine, &tables, sql).await, ["9999999999.9999999900000000"]);
    // A sum that does not fit is an error, not another number.
    let sql = "SELECT sum(price * quantity) FROM trades";
    let error = crate::support::rows_for(&engine, &tables, sql, &queries::Caller::Operator).await.unwrap_err();
    assert!(error.message.contains("more than 38 digits"), "{error}");
    let sql = "SELECT sum(price * quantity) / sum(quantity) FROM (SELECT * FROM trades LIMIT 100)";
    assert_eq!(rows(&engine, &tables, sql).await, ["9999999999.9999999900000000"]);
    let error = crate::support::rows_for(&engine, &tables, "SELECT price / 0 FROM trades", &queries::Caller::Operator)
        .await
        .unwrap_err();
    assert!(error.message.contains("division by zero"), "{error}");
}

#[tokio::test]
async fn one_of_several_is_picked_by_another_column() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT symbol, arg_max(price, ts_event), arg_min(quantity, price) AS least FROM trades \
               GROUP BY symbol ORDER BY symbol";
    assert_eq!(
        rows(&engine, &market, sql).await,
        ["BTC-USDT,99.00000001,0.50000000", "ETH-USDT,11.00000000,3.00000000"]
    );
    let sql = "SELECT bar['open'], bar['close'], bar['trades'], bar['volume'] FROM \
               (SELECT ohlcv(price, quantity, ts_event) AS bar FROM trades WHERE symbol = 'BTC-USDT')";
    assert_eq!(rows(&engine, &market, sql).await, ["100.50000000,99.00000001,3,3.50000000"]);
}

#[tokio::test]
async fn windows_carry_on() {
    let (engine, market) = (engine(), market());
    let sql = "SELECT ffill(CASE WHEN side = 'buy' THEN price END) OVER (PARTITION BY symbol ORDER BY ts_event) \
               FROM trades ORDER BY symbol, ts_event";
    assert_eq!(
        rows(&engine, &market, sql).await,
        ["100.50000000", "100.50000000", "99.00000001", "10.00000000", "10.00000000"]
    );
    let sql = "SELECT ema(price, 3) OVER (PARTITION BY symbol ORDER BY ts_event) FROM trades \
               WHERE symbol = 'ETH-USDT' ORDER BY ts_event";
    assert_eq!(rows(&engine, &market, sql).await, ["10.0", "10.5"]);
    let sql = "SELECT sum(quantity) OVER (ORDER BY ts_event ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM trades \
               WHERE symbol = 'BTC-USDT' ORDER BY ts_event";
    assert_eq!(rows(&engine, &market, sql).await, ["2.00000000", "3.00000000", "1.50000000"]);
}
