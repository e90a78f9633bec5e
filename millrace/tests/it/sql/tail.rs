//! Rows that have not landed, and may never.

use std::time::{Duration, Instant};

use super::{LAKE, MARKETS, Market};
use crate::program::PATIENCE;

#[test]
fn without_a_lake_the_newest_rows_are_there() {
    let market = Market::open("timeout: 20s, tail: 16MiB", MARKETS);
    market.wait_for("SELECT count(*) FROM ticks", |count| count > 1_000);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 0);
    let sql = "SELECT count(*) - count(DISTINCT partition::bigint * 1000000000 + \"offset\") FROM ticks";
    assert_eq!(market.lines(sql), ["0"]);
    // The tail has room for half of 16 MiB of ticks; the oldest go, the newest stay, and both is told.
    market.wait_for("SELECT max(begins) FROM watermark WHERE table_name = 'ticks'", |begins| begins > 0);
    let (status, body) = market.sql(
        "SELECT bool_and(w.begins <= t.first) AND bool_and(t.last >= w.complete - 5000) \
         FROM watermark w JOIN (SELECT partition, min(\"offset\") AS first, max(\"offset\") AS last FROM ticks GROUP BY 1) t \
         ON t.partition = w.partition WHERE w.table_name = 'ticks'",
        "csv",
    );
    assert!(status == 200 && body.ends_with("true\n"), "{status} {body}");
    let mut stream = market.begin("SELECT 1", "csv", &format!("x-api-key: {}\r\n", market.key));
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.contains("x-millrace-note: without a lake only the newest records"), "{answer}");
}

/// Buys at the market; what came of it. Makers that quote anew may leave nothing for sale for a moment.
fn buy(market: &Market, number: u32) -> String {
    let begun = Instant::now();
    for attempt in 0.. {
        let order = format!(
            "{{\"client_order_id\":\"o{number}-{attempt}\",\"instrument\":\"BTC-USDT\",\"side\":\"buy\",\
             \"type\":\"market\",\"quantity\":\"0.001\"}}"
        );
        let (status, body) = market.running.wait_for_call(&market.key, "POST", "/orders", &order);
        if status < 300 {
            return body;
        }
        assert!(body.contains("NO_LIQUIDITY") && begun.elapsed() < PATIENCE, "{status} {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
    unreachable!("the attempts have no end")
}

#[test]
fn a_trade_is_in_the_answer_as_soon_as_it_is_executed() {
    let market = Market::open("timeout: 20s", &format!("{LAKE}{MARKETS}"));
    market.running.wait_for("/book/BTC-USDT", |book| book.contains("\"asks\":[["));
    let deposit = "{\"client_order_id\":\"d\",\"asset\":\"USDT\",\"amount\":\"1000000\"}";
    assert!(market.running.wait_for_call(&market.key, "POST", "/deposits", deposit).0 < 300);
    let mut slowest = Duration::ZERO;
    for at in 0..20 {
        let body = buy(&market, at);
        let begun = Instant::now();
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        let order = answer["order"]["order_id"].as_u64().unwrap();
        let sql = format!("SELECT count(*) FROM executions WHERE order_id = {order} AND kind = 'trade'");
        while market.lines(&sql) == ["0"] {
            assert!(begun.elapsed() < PATIENCE, "never: {body}");
        }
        slowest = slowest.max(begun.elapsed());
    }
    println!("executed and in an answer within {slowest:?}, the question's own time included");
}
