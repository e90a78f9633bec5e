//! Bybit v5 spot.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, Feed, FrameKind, Output, Signal};
use ingest::venues::bybit::Bybit;
use model::{Channel, Side, TickBody, TickFlags, UnixNanos};

use crate::support::{self, Bad, RECV, bad, bodies, capture, decode, lines};

const TRADE: &str = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"seq":1783284617}]}"#;
const BEST: &str = r#"{"topic":"orderbook.1.BTCUSDT","ts":1672304484978,"type":"snapshot","data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":1672304484976}"#;

fn decoder_of(quotes_from: QuotesFrom) -> Box<dyn Decoder> {
    Bybit.decoder(&support::plan(&Bybit, &["BTC-USDT", "ETH-USDT"], quotes_from))
}

fn decoder() -> Box<dyn Decoder> {
    decoder_of(QuotesFrom::Both)
}

#[test]
fn a_trade_and_a_best_bid_and_ask() {
    let mut decoder = decoder();
    let (result, out) = decode(&mut *decoder, TRADE.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let [TickBody::Trade(trade)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!(trade.id.to_string(), "20f43950-d8dd-5b31-9112-a178eb6023af");
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("16578.5".into(), "0.001".into()));
    assert_eq!((trade.taker_side, out.ticks[0].flags), (Side::Buy, 0));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::from_millis(1_672_304_486_865).ok());

    let (_, out) = decode(&mut *decoder, BEST.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid.to_string(), quote.ask.to_string()), ("16493.5".into(), "16611".into()));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::from_millis(1_672_304_484_976).ok(), "when the book changed");
    let (_, out) = decode(&mut *decoder, BEST.as_bytes());
    assert!(out.ticks.is_empty() && out.seen == [Feed::new(0, Channel::Quotes)], "repeated in quiet: a sign of life");
}

#[test]
fn block_trades_are_kept_apart() {
    for mark in [r#""BT":true"#, r#""BT":false,"RPI":true"#] {
        let frame = TRADE.replace(r#""BT":false"#, mark);
        let (_, out) = decode(&mut *decoder(), frame.as_bytes());
        assert_eq!(out.ticks[0].flags, TickFlags::OFF_BOOK, "{mark}");
    }
}

#[test]
fn the_chain_of_the_capture_is_unbroken() {
    let Some(text) = capture("venues-2026-08-24/bybit_orderbook.jsonl") else { return };
    let mut decoder = decoder_of(QuotesFrom::Book);
    let (mut books, mut quotes) = (0, 0);
    for line in lines(&text) {
        let (result, out) = decode(&mut *decoder, line);
        assert!(result.is_ok() && out.signals.is_empty(), "{result:?} {:?}", out.signals);
        books += u32::from(result == Ok(FrameKind::Data));
        quotes += out.ticks.len();
    }
    assert_eq!(books, 9, "a snapshot and eight deltas");
    assert!(quotes >= 1);
}

#[test]
fn a_lost_update_is_told_with_its_size_and_mended_by_a_snapshot() {
    let Some(text) = capture("venues-2026-08-24/bybit_orderbook.jsonl") else { return };
    let books: Vec<_> = lines(&text).filter(|line| line.starts_with(br#"{"topic""#)).collect();
    let feed = Feed::new(0, Channel::Quotes);
    let mut decoder = decoder_of(QuotesFrom::Book);
    decode(&mut *decoder, books[0]).0.unwrap();
    let out = decode(&mut *decoder, books[3]).1;
    assert_eq!(out.signals, [Signal::Gap { feed, missing: 2 }, Signal::Resubscribe(feed)]);
    let out = decode(&mut *decoder, books[4]).1;
    assert_eq!((out.signals.len(), out.ticks.len()), (0, 0), "silent until the snapshot");
    assert_eq!(decode(&mut *decoder, books[0]).1.signals, [Signal::Recovered(feed)]);
    let out = decode(&mut *decoder, books[0]).1;
    assert!(out.signals.is_empty(), "another snapshot is no news");
}

#[test]
fn control_frames_are_no_data() {
    let mut decoder = decoder();
    for (frame, kind) in [
        (r#"{"success":true,"ret_msg":"subscribe","conn_id":"a","op":"subscribe"}"#, FrameKind::Control),
        (r#"{"success":true,"ret_msg":"pong","conn_id":"a","req_id":"1","op":"ping"}"#, FrameKind::Heartbeat),
    ] {
        assert_eq!(decode(&mut *decoder, frame.as_bytes()).0, Ok(kind), "{frame}");
    }
    let refused = r#"{"success":false,"ret_msg":"error:handler not found","conn_id":"a","op":"subscribe"}"#;
    assert!(
        decode(&mut *decoder, refused.as_bytes()).0.expect_err("refused").to_string().contains("handler not found")
    );
}

#[test]
fn bad_input_is_refused() {
    let with = |from: &str, to: &str| TRADE.replacen(from, to, 1);
    let mut rows: Vec<Bad> = support::bad_inputs(TRADE);
    for (what, frame, says) in [
        ("NaN", with("16578.50", "NaN"), "not a decimal number"),
        ("-Infinity", with("16578.50", "-Infinity"), "not a decimal number"),
        ("1e999", with("16578.50", "1e999"), "out of range"),
        ("-0", with("16578.50", "-0"), "negative"),
        ("a negative price", with("16578.50", "-16578.50"), "negative"),
        ("a zero price", with("16578.50", "0.00"), "must be above zero"),
        ("10^30", with("16578.50", "1000000000000000000000000000000"), "out of range"),
        ("too precise", with("16578.50", "16578.500000001"), "more than 8 decimal places"),
        ("full-width digits", with("16578.50", "１６５７８"), "not a decimal number"),
        ("a zero size", with("0.001", "0"), "must be above zero"),
        ("a negative size", with("0.001", "-0.001"), "negative"),
        ("no price", with(r#""p":"16578.50","#, ""), "p"),
        ("the price twice", with(r#""p":"16578.50","#, r#""p":"16578.50","p":"16578.50","#), "p"),
        ("an unknown side", with("\"Buy\"", "\"buy\""), "S"),
        ("an unknown symbol", TRADE.replace("BTCUSDT", "DOGEEUR"), "DOGEEUR"),
        ("another instrument's trade", with(r#""s":"BTCUSDT""#, r#""s":"ETHUSDT""#), "another instrument"),
        ("an unknown topic", with("publicTrade", "liquidation"), "liquidation"),
        ("a topic without a symbol", with("publicTrade.BTCUSDT", "publicTrade"), "topic"),
        ("an id that is none", with("20f43950-d8dd-5b31-9112-a178eb6023af", "x"), "i"),
        ("a time past 2262", with("1672304486865", "99999999999999999"), "not a time"),
        ("a time in words", with("1672304486865", "\"soon\""), "T"),
        ("data is no list", with(r#""data":[{"#, r#""data":{"#).replace("}]}", "}}"), "expected"),
    ] {
        rows.push(Bad { what, frame: frame.into_bytes(), says });
    }
    rows.push(bad("neither topic nor op", r#"{"data":[]}"#, "neither topic nor op"));
    rows.push(bad("no data", r#"{"topic":"publicTrade.BTCUSDT","ts":1}"#, "data"));
    support::refuses(&decoder, &rows, TRADE.as_bytes());
}

#[test]
fn mutations_do_no_harm() {
    let mut frames = vec![TRADE.as_bytes().to_vec(), BEST.as_bytes().to_vec()];
    if let Some(text) = capture("venues-2026-08-24/bybit_orderbook.jsonl") {
        frames.extend(lines(&text).map(<[u8]>::to_vec));
    }
    support::survives_mutations(&decoder, &frames, 20_000, 0x0b);
}

#[test]
fn the_ticker_has_the_volume() {
    let plan = support::plan(&Bybit, &["BTC-USDT"], QuotesFrom::BestBidAsk);
    let requests = Bybit.ticker_requests(&Bybit.endpoints(), &plan, &[0]);
    let body = br#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbol":"BTCUSDT","bid1Price":"20517.96","lastPrice":"20533.13","turnover24h":"240765350.06849723","volume24h":"11801.27771"}]},"retExtInfo":{},"time":1673859087947}"#;
    let mut out = Output::default();
    Bybit.decode_ticker(&plan, &requests[0], body, RECV, &mut out).expect("a ticker");
    let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("20533.13".into(), "11801.27771".into()));
    let refused = br#"{"retCode":10001,"retMsg":"params error","result":{}}"#;
    assert!(Bybit.decode_ticker(&plan, &requests[0], refused, RECV, &mut out).is_err());
}
