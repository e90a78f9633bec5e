//! Answers equal the same computation on the log's own records, to the last digit, before, while and after they land.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use super::{LAKE, MARKETS, Market};
use crate::program::PATIENCE;

/// `1.5` as 150000000.
fn raw(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<8}").parse().unwrap()
}

/// An exact number with `scale` digits after the point.
fn shown(value: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{part}", if value < 0 { "-" } else { "" })
}

/// A quotient with 16 digits after the point, half away from zero, of sums of 16 and 8 digits.
fn quotient(dividend: i128, divisor: i128) -> String {
    // Digit by digit, since the dividend scaled up would not fit.
    let (mut value, mut rest) = (dividend / divisor, dividend % divisor);
    let mut digits = value.to_string();
    for _ in 0..8 {
        rest *= 10;
        digits.push_str(&(rest / divisor).to_string());
        rest %= divisor;
    }
    value = digits.parse().unwrap();
    if rest * 2 >= divisor {
        value += 1;
    }
    shown(value, 16)
}

/// What is known of a symbol's trades.
#[derive(Debug, Default)]
struct Sums {
    count: u64,
    notional: i128,
    volume: i128,
    highest: i128,
}

/// Sums over the trades among the log's records up to these offsets, as lines of CSV.
fn computed(
    market: &Market,
    topic: &str,
    ends: &BTreeMap<u64, u64>,
    of: impl Fn(&Value) -> Option<Value>,
) -> Vec<String> {
    let text = market.running.get(&format!("/topics/{topic}/records?from=start&follow=false")).unwrap();
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    // An answer in chunks has lines with lengths in between.
    for record in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object) {
        let (partition, offset) = (record["partition"].as_u64().unwrap(), record["offset"].as_u64().unwrap());
        if offset >= ends[&partition] {
            continue;
        }
        assert_eq!(*seen.entry(partition).or_default(), offset, "the log's records are all there");
        seen.insert(partition, offset + 1);
        let Some(trade) = of(&record["value"]) else { continue };
        let (price, quantity) = (raw(trade["price"].as_str().unwrap()), raw(trade["quantity"].as_str().unwrap()));
        let sums = sums.entry(trade["instrument"].as_str().unwrap().to_owned()).or_default();
        sums.count += 1;
        sums.notional += price * quantity;
        sums.volume += quantity;
        sums.highest = sums.highest.max(price);
    }
    assert_eq!(&seen, ends, "{topic}");
    let line = |(symbol, sums): (String, Sums)| {
        let vwap = quotient(sums.notional, sums.volume);
        let (notional, volume) = (shown(sums.notional, 16), shown(sums.volume, 8));
        format!("{symbol},{},{notional},{volume},{},{vwap},{vwap}", sums.count, shown(sums.highest, 8))
    };
    sums.into_iter().map(line).collect()
}

fn ends(market: &Market, table: &str) -> BTreeMap<u64, u64> {
    let lines = market.lines(&format!("SELECT partition, complete FROM watermark WHERE table_name = '{table}'"));
    let number = |text: &str| text.parse().unwrap();
    lines.iter().map(|line| line.split_once(',').unwrap()).map(|(at, end)| (number(at), number(end))).collect()
}

#[test]
fn answers_are_the_logs_own_to_the_last_digit_while_rows_land() {
    let market = Market::open("timeout: 20s", &format!("{LAKE}{MARKETS}"));
    market.wait_for("SELECT count(*) FROM ticks WHERE kind = 'trade'", |count| count > 300);
    market.wait_for("SELECT count(*) FROM trades", |count| count > 20);
    let is_trade = |value: &Value| (value["kind"] == "trade").then(|| value.clone());
    let cases = [
        ("ticks", "kind = 'trade'", &is_trade as &dyn Fn(&Value) -> Option<Value>),
        ("trades", "true", &|value: &Value| Some(value.clone())),
    ];
    let begun = Instant::now();
    for (table, filter, of) in cases {
        let ends = ends(&market, table);
        let expected = computed(&market, table, &ends, of);
        assert!(!expected.is_empty());
        let bound: Vec<String> =
            ends.iter().map(|(at, end)| format!("partition = {at} AND \"offset\" < {end}")).collect();
        let sql = format!(
            "SELECT symbol, count(*), sum(price * quantity), sum(quantity), max(price), vwap(price, quantity), \
             sum(price * quantity) / sum(quantity) FROM {table} WHERE {filter} AND ({}) GROUP BY symbol ORDER BY symbol",
            bound.join(" OR ")
        );
        // Until all of it has landed, and once more after.
        let landed = format!(
            "SELECT count(*) FROM watermark WHERE table_name = '{table}' AND ({}) ",
            ends.iter()
                .map(|(at, end)| format!("partition = {at} AND landed < {end}"))
                .collect::<Vec<_>>()
                .join(" OR ")
        );
        let (mut rounds, mut is_landed) = (0, false);
        loop {
            assert_eq!(market.lines(&sql), expected, "{table}, round {rounds}");
            if is_landed {
                break;
            }
            rounds += 1;
            is_landed = market.lines(&landed) == ["0"];
            assert!(begun.elapsed() < PATIENCE, "it does not land");
        }
        let landed = market.lines(&format!("SELECT sum(landed) FROM watermark WHERE table_name = '{table}'"));
        println!("{table}: equal in {rounds} answers while its rows landed, up to offset {}", landed[0]);
    }
}

#[test]
fn quotients_are_what_they_are() {
    // 41 / 4 and 2 / 3, of products with 16 digits and volumes with 8.
    assert_eq!(quotient(41 * 10_i128.pow(16), 4 * 10_i128.pow(8)), "10.2500000000000000");
    assert_eq!(quotient(2 * 10_i128.pow(16), 3 * 10_i128.pow(8)), "0.6666666666666667");
    assert_eq!(shown(-5, 2), "-0.05");
}
