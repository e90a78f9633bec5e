//! The cases on which independent engines agree, report for report.

use matcher::book::{Book, NewOrder, Report};
use model::Side;
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/matching-cases.json");

fn side_of(text: &str) -> Side {
    if text == "B" { Side::Buy } else { Side::Sell }
}

fn row(seq: usize, report: Report, modify: bool) -> String {
    let number = |side| u8::from(side == Side::Sell);
    match report {
        Report::Accepted { id, side, ticks, lots } => format!("0,{seq},{},{id},{ticks},{lots}", number(side)),
        Report::Trade { maker, taker, ticks, lots } => format!("1,{seq},{ticks},{lots},{maker},{taker}"),
        Report::Cancelled { id, side, ticks, .. } => format!("2,{seq},{},{id},{ticks}", number(side)),
        Report::Modified { id, side, ticks, lots } => format!("3,{seq},{},{id},{ticks},{lots}", number(side)),
        Report::Refused { id, .. } => format!("{},{seq},{id}", if modify { 5 } else { 4 }),
    }
}

fn apply(book: &mut Book, op: &Value, out: &mut Vec<Report>) {
    let id = op["id"].as_u64().unwrap();
    let (ticks, lots) = (op["px"].as_i64().unwrap(), op["qty"].as_u64().unwrap());
    match op["op"].as_str().unwrap() {
        "new" => {
            let side = side_of(op["side"].as_str().unwrap());
            book.place(NewOrder { id, side, ticks, lots, immediate: op["ioc"].as_bool().unwrap() }, out);
        }
        "cancel" => book.cancel(id, out),
        "modify" => book.modify(id, ticks, lots, out),
        other => panic!("unknown op {other}"),
    }
}

#[test]
fn ten_engines_agree_with_this_one() {
    let Ok(text) = std::fs::read_to_string(CASES) else {
        println!("NOT RUN: {CASES} is not there");
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 34);
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let mut book = Book::new();
        let mut out = Vec::new();
        let Some(input) = case["input"].as_array() else {
            assert_eq!(name, "deep_recursive_sweep_5000");
            for id in 0..5000 {
                book.place(NewOrder { id, side: Side::Sell, ticks: 100, lots: 1, immediate: false }, &mut out);
            }
            book.place(NewOrder { id: 5000, side: Side::Buy, ticks: 100, lots: 5000, immediate: true }, &mut out);
            assert_eq!(out.len() as u64, case["reports"].as_u64().unwrap(), "{name}");
            assert!(book.is_empty());
            continue;
        };
        let mut rows = vec![];
        for (seq, op) in input.iter().enumerate() {
            out.clear();
            apply(&mut book, op, &mut out);
            let mut these: Vec<String> = out.iter().map(|report| row(seq, *report, op["op"] == "modify")).collect();
            these.sort_by_key(|row| row.as_bytes()[0]);
            rows.extend(these);
        }
        let expected: Vec<&str> = case["reports"].as_array().unwrap().iter().map(|row| row.as_str().unwrap()).collect();
        assert_eq!(rows, expected, "{name}");
    }
}
