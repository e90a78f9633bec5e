//! Bitstamp, WebSocket v2.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, Feed, FrameKind, Output, Signal};
use ingest::venues::bitstamp::Bitstamp;
use model::{Channel, Side, TickBody, TradeId, UnixNanos};

use crate::support::{self, Bad, RECV, bad, bodies, capture, decode, lines};

const TRADE: &str = r#"{"data":{"id":216000477,"timestamp":"1641343699","amount":0.0792,"amount_str":"0.07920000","price":3805.44,"price_str":"3805.44","type":0,"microtimestamp":"1641343699596000","buy_order_id":1443875737346049,"sell_order_id":1443875731320832},"channel":"live_trades_btcusd","event":"trade"}"#;
const BOOK: &str = r#"{"data":{"timestamp":"1787612486","microtimestamp":"1787612486338338","bids":[["78703.59","0.11568628"],["78703.58","0.2"]],"asks":[["78703.69","0.36000000"]]},"channel":"order_book_btcusd","event":"data"}"#;

fn decoder_of(quotes_from: QuotesFrom) -> Box<dyn Decoder> {
    Bitstamp.decoder(&support::plan(&Bitstamp, &["BTC-USD", "ETH-USD"], quotes_from))
}

fn decoder() -> Box<dyn Decoder> {
    decoder_of(QuotesFrom::BestBidAsk)
}

#[test]
fn a_trade_and_a_whole_book() {
    let mut decoder = decoder();
    let (result, out) = decode(&mut *decoder, TRADE.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let [TickBody::Trade(trade)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((trade.id, trade.taker_side), (TradeId::Number(216_000_477), Side::Buy));
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("3805.44".into(), "0.0792".into()));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::from_micros(1_641_343_699_596_000).ok());

    let (_, out) = decode(&mut *decoder, BOOK.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid.to_string(), quote.ask.to_string()), ("78703.59".into(), "78703.69".into()));
    let older = BOOK.replace("1787612486338338", "1787612486338337").replace("78703.59", "78703.60");
    assert!(decode(&mut *decoder, older.as_bytes()).1.ticks.is_empty(), "an older book replaces nothing");
}

#[test]
fn the_chain_of_the_captured_orders_is_unbroken_and_splices_onto_the_rest_book() {
    let Some(text) = capture("venues-2026-08-24/bitstamp_live_orders.jsonl") else { return };
    let Some(snapshot) = capture("venues-2026-08-24/bitstamp_snapshot_l3.json") else { return };
    let mut decoder = decoder_of(QuotesFrom::Book);
    let (mut events, mut asked, mut ticks, mut loaded) = (0, 0, Vec::new(), false);
    for line in lines(&text) {
        let (result, out) = decode(&mut *decoder, line);
        assert!(result.is_ok(), "{result:?}");
        events += u32::from(result == Ok(FrameKind::Data));
        for signal in &out.signals {
            match signal {
                Signal::NeedSnapshot(0) => asked += 1,
                Signal::Subscribed(_) => {}
                other => panic!("the chain broke: {other:?}"),
            }
        }
        ticks.extend(bodies(&out));
        // The REST book was taken about three seconds into the capture.
        if events == 450 && !loaded {
            let mut out = Output::default();
            decoder.snapshot(0, &snapshot, RECV, &mut out).expect("a snapshot");
            assert!(out.signals.is_empty(), "{:?}", out.signals);
            loaded = true;
        }
    }
    assert_eq!((events, asked), (500, 1));
    for body in ticks {
        let TickBody::Quote(quote) = body else { panic!("{body:?}") };
        assert!(quote.bid < quote.ask, "{quote:?}");
        assert!(quote.bid.to_string().starts_with("79") && quote.ask.to_string().starts_with("79"), "{quote:?}");
    }
}

#[test]
fn a_lost_event_is_told_and_mended_by_a_snapshot() {
    let Some(text) = capture("venues-2026-08-24/bitstamp_live_orders.jsonl") else { return };
    let Some(snapshot) = capture("venues-2026-08-24/bitstamp_snapshot_l3.json") else { return };
    let events: Vec<_> = lines(&text).filter(|line| line.windows(12).any(|part| part == b"pre_event_id")).collect();
    let feed = Feed::new(0, Channel::Quotes);
    let mut decoder = decoder_of(QuotesFrom::Book);
    assert_eq!(decode(&mut *decoder, events[0]).1.signals, [Signal::NeedSnapshot(0)]);
    assert!(decode(&mut *decoder, events[1]).1.signals.is_empty());
    let out = decode(&mut *decoder, events[3]).1;
    assert_eq!(out.signals, [Signal::Gap { feed, missing: 0 }, Signal::NeedSnapshot(0)]);
    assert_eq!(decode(&mut *decoder, events[3]).1.duplicates, 1, "the same event again");
    assert!(decode(&mut *decoder, events[4]).1.signals.is_empty());
    let mut out = Output::default();
    let old = String::from_utf8_lossy(&snapshot).replace("1787620347152764", "1787620344000000");
    decoder.snapshot(0, old.as_bytes(), RECV, &mut out).expect("well formed");
    assert_eq!(out.signals, [Signal::NeedSnapshot(0)], "older than what waits: a newer one is needed");
    out.clear();
    decoder.snapshot(0, &snapshot, RECV, &mut out).expect("a snapshot");
    assert_eq!(out.signals, [Signal::Recovered(feed)]);
}

#[test]
fn control_frames_are_no_data() {
    let mut decoder = decoder();
    let ack = br#"{"event":"bts:subscription_succeeded","channel":"live_trades_btcusd","data":{}}"#;
    let (result, out) = decode(&mut *decoder, ack);
    assert_eq!(result, Ok(FrameKind::Control));
    assert_eq!(out.signals, [Signal::Subscribed(Feed::new(0, Channel::Trades))]);
    let away = br#"{"event":"bts:request_reconnect","channel":"","data":""}"#;
    assert!(matches!(decode(&mut *decoder, away).1.signals[..], [Signal::Reconnect(_)]));
    let error = br#"{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}"#;
    assert!(decode(&mut *decoder, error).0.expect_err("refused").to_string().contains("Bad subscription"));
    let beat = br#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#;
    assert_eq!(decode(&mut *decoder, beat).0, Ok(FrameKind::Heartbeat));
}

#[test]
fn bad_input_is_refused() {
    let price = |text: &str| TRADE.replacen("\"3805.44\"", &format!("\"{text}\""), 1);
    let with = |from: &str, to: &str| TRADE.replacen(from, to, 1);
    let mut rows: Vec<Bad> = support::bad_inputs(TRADE);
    for (what, frame, says) in [
        ("NaN", price("NaN"), "not a decimal number"),
        ("Infinity", price("Infinity"), "not a decimal number"),
        ("1e999", price("1e999"), "out of range"),
        ("-0", price("-0"), "negative"),
        ("a negative price", price("-1"), "negative"),
        ("a zero price", price("0"), "must be above zero"),
        ("10^30", price("1000000000000000000000000000000"), "out of range"),
        ("too precise", price("1.000000001"), "more than 8 decimal places"),
        ("full-width digits", price("３８０５"), "not a decimal number"),
        ("a zero amount", with("\"0.07920000\"", "\"0\""), "must be above zero"),
        ("no price", with(r#""price_str":"3805.44","#, ""), "price_str"),
        ("the price twice", with(r#""price_str":"#, r#""price_str":"1","price_str":"#), "price_str"),
        ("an unknown type", with(r#""type":0"#, r#""type":2"#), "type"),
        ("no id", with(r#""id":216000477,"#, ""), "id"),
        ("an id too large", with("216000477", "18446744073709551616"), "not a whole number"),
        ("an unknown pair", with("btcusd", "dogeeur"), "unknown symbol"),
        ("an unknown channel", with("live_trades", "live_dreams"), "live_dreams"),
        ("a channel without a pair", with("live_trades_btcusd", "live"), "channel"),
        ("no time", with(r#","microtimestamp":"1641343699596000""#, ""), "microtimestamp"),
        ("a time past 2262", with("1641343699596000", "99999999999999999999"), "microtimestamp"),
        ("a crossed book", BOOK.replace("78703.69", "78703.00"), "above ask"),
        ("a book without asks", BOOK.replace(r#","asks":[["78703.69","0.36000000"]]"#, ""), "asks"),
        ("a level at zero", BOOK.replace("78703.58", "0"), "must be above zero"),
        ("a level without an amount", BOOK.replace(r#"["78703.58","0.2"]"#, r#"["78703.58"]"#), "bids"),
    ] {
        rows.push(Bad { what, frame: frame.into_bytes(), says });
    }
    rows.push(bad("no event", r#"{"channel":"live_trades_btcusd"}"#, "event"));
    rows.push(bad("differences", &BOOK.replace("order_book", "diff_order_book"), "channel"));
    rows.push(bad(
        "an order without an id of its event",
        r#"{"data":{},"channel":"live_orders_btcusd","event":"order_created"}"#,
        "missing",
    ));
    support::refuses(&decoder, &rows, TRADE.as_bytes());
}

#[test]
fn mutations_do_no_harm() {
    let mut frames = vec![TRADE.as_bytes().to_vec(), BOOK.as_bytes().to_vec()];
    if let Some(text) = capture("venues-2026-08-24/bitstamp_live_orders.jsonl") {
        frames.extend(lines(&text).take(20).map(<[u8]>::to_vec));
    }
    support::survives_mutations(&|| decoder_of(QuotesFrom::Both), &frames, 20_000, 0x0c);
}

#[test]
fn the_ticker_has_the_volume() {
    let plan = support::plan(&Bitstamp, &["BTC-USD"], QuotesFrom::BestBidAsk);
    let requests = Bitstamp.ticker_requests(&Bitstamp.endpoints(), &plan, &[0]);
    assert!(requests[0].url.ends_with("/api/v2/ticker/btcusd/"), "{}", requests[0].url);
    let body = br#"{"timestamp":"1643640186","high":"38505.91","last":"37988.15","bid":"37980.00","vwap":"37582.73","volume":"1345.22","low":"36694.41","ask":"37988.15","open":"37983.93","open_24":"37983.93","percent_change_24":"0.01"}"#;
    let mut out = Output::default();
    Bitstamp.decode_ticker(&plan, &requests[0], body, RECV, &mut out).expect("a ticker");
    let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("37988.15".into(), "1345.22".into()));
}
