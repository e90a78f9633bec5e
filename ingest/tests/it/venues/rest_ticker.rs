//! The generic polled ticker.

use ingest::connector::{Connector, Endpoints, QuotesFrom};
use ingest::decode::{Decoder, FrameKind, Output};
use ingest::venues::rest_ticker::RestTicker;
use model::{TickBody, TickFlags, UnixNanos};

use crate::support::{self, Bad, bad, bodies, decode};

const BODY: &str = r#"{"symbol":"BTCUSDT","price":78850.12,"volume":18000.5,"timestamp":1787612486435}"#;

fn decoder() -> Box<dyn Decoder> {
    RestTicker.decoder(&support::plan(&RestTicker, &["BTC-USDT", "ETH-USDT"], QuotesFrom::BestBidAsk))
}

#[test]
fn numbers_or_texts_and_any_unit_of_time() {
    for body in [
        BODY,
        r#"{"timestamp":"2026-08-24T23:01:26.435Z","volume":"18000.50000000","price":"78850.12","symbol":"BTC-USDT","x":{}}"#,
        r#"{"symbol":"BTCUSDT","price":"78850.12","volume":"18000.5","timestamp":"1787612486435000"}"#,
    ] {
        let (result, out) = decode(&mut *decoder(), body.as_bytes());
        assert_eq!(result, Ok(FrameKind::Data), "{body}");
        let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
        assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("78850.12".into(), "18000.5".into()));
        assert_eq!(out.ticks[0].ts_event, UnixNanos::from_millis(1_787_612_486_435).ok());
        assert_eq!(out.ticks[0].flags, TickFlags::POLLED);
    }
}

#[test]
fn the_template_makes_the_address_and_the_answer_must_name_the_symbol() {
    let plan = support::plan(&RestTicker, &["BTC-USDT", "ETH-USDT"], QuotesFrom::BestBidAsk);
    let rest = "http://127.0.0.1:8081/mock/ticker/{symbol}".into();
    let requests = RestTicker.ticker_requests(&Endpoints { websocket: String::new(), rest }, &plan, &[1]);
    assert_eq!(requests[0].url, "http://127.0.0.1:8081/mock/ticker/ETHUSDT");
    let mut out = Output::default();
    let error = RestTicker.decode_ticker(&plan, &requests[0], BODY.as_bytes(), support::RECV, &mut out).unwrap_err();
    assert!(error.to_string().contains("unknown symbol \"BTCUSDT\""), "{error}: ETHUSDT was asked for");
}

#[test]
fn bad_input_is_refused() {
    let with = |from: &str, to: &str| BODY.replacen(from, to, 1);
    let mut rows: Vec<Bad> = support::bad_inputs(BODY);
    for (what, frame, says) in [
        ("NaN", with("78850.12", "NaN"), "a number expected"),
        ("NaN in quotes", with("78850.12", "\"NaN\""), "not a decimal number"),
        ("Infinity", with("78850.12", "\"-Infinity\""), "not a decimal number"),
        ("1e999", with("78850.12", "1e999"), "out of range"),
        ("-0", with("78850.12", "-0"), "negative"),
        ("a negative price", with("78850.12", "-1"), "negative"),
        ("a zero price", with("78850.12", "0.0"), "must be above zero"),
        ("10^30", with("78850.12", "1000000000000000000000000000000"), "out of range"),
        ("too precise", with("78850.12", "78850.123456789"), "more than 8 decimal places"),
        ("full-width digits", with("78850.12", "\"７\""), "not a decimal number"),
        ("a negative volume", with("18000.5", "-18000.5"), "volume is negative"),
        ("a volume past 38 digits", with("18000.5", &"9".repeat(50)), "out of range"),
        ("a volume too precise", with("18000.5", "1.123456789"), "more than 8 decimal places"),
        ("a volume that is none", with("18000.5", "\"much\""), "not a decimal number"),
        ("an unknown symbol", with("BTCUSDT", "XRPUSDT"), "unknown symbol"),
        ("a numeric symbol", with("\"BTCUSDT\"", "7"), "a string expected"),
        ("a negative time", with("1787612486435", "-1"), "not a whole number"),
        ("a fractional time", with("1787612486435", "1787612486.435"), "not a whole number"),
        ("a time past 2262", with("1787612486435", "18446744073709551615"), "not a time"),
        ("a time that is none", with("1787612486435", "\"now\""), "not a time"),
        ("no price", with("\"price\":78850.12,", ""), "field price is missing"),
        ("no volume", with("\"volume\":18000.5,", ""), "field volume is missing"),
        ("no time", with(",\"timestamp\":1787612486435", ""), "field timestamp is missing"),
        ("no symbol", with("\"symbol\":\"BTCUSDT\",", ""), "field symbol is missing"),
        ("a doubled price", with("\"volume\"", "\"price\":1,\"volume\""), "field price is there twice"),
        ("an error", r#"{"error":"symbol X not listed"}"#.into(), "venue error"),
        ("a web page", "<!doctype html>".into(), "an object expected"),
        ("null", "null".into(), "an object expected"),
    ] {
        rows.push(bad(what, &frame, says));
    }
    support::refuses(&decoder, &rows, BODY.as_bytes());
}

#[test]
fn mutated_answers_never_panic() {
    for seed in 1..=4 {
        support::survives_mutations(&decoder, &[BODY.into()], 15_000, seed);
    }
}
