//! OKX v5.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, Feed, FrameKind, Signal};
use ingest::venues::okx::Okx;
use model::{Channel, Side, TickBody, TradeId, UnixNanos};

use crate::support::{self, Bad, RECV, bad, bodies, capture, decode, lines};

const TRADE: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"}]}"#;
const BEST: &str = r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["36232.2","1.8826134","0","17"]],"bids":[["36232.1","0.00572212","0","2"]],"ts":"1651826598363","seqId":123456}]}"#;

fn decoder_of(quotes_from: QuotesFrom) -> Box<dyn Decoder> {
    Okx.decoder(&support::plan(&Okx, &["BTC-USDT", "ETH-USDT"], quotes_from))
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
    assert_eq!((trade.id, trade.taker_side), (TradeId::Number(130_639_474), Side::Buy));
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("42219.9".into(), "0.12060306".into()));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::from_millis(1_630_048_897_897).ok());
    let (_, out) = decode(&mut *decoder, TRADE.as_bytes());
    assert_eq!((out.ticks.len(), out.duplicates), (0, 1), "the same trade again is a repeat");

    let (_, out) = decode(&mut *decoder, BEST.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!(
        (quote.bid.to_string(), quote.ask.to_string(), quote.sequence),
        ("36232.1".into(), "36232.2".into(), 123_456)
    );
    let empty = BEST.replace(r#"[["36232.2","1.8826134","0","17"]]"#, "[]").replace("123456", "123457");
    let (_, out) = decode(&mut *decoder, empty.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert!(!quote.ask.is_positive() && quote.bid.is_positive(), "a side without orders is zero");
}

#[test]
fn control_frames_are_no_data() {
    let mut decoder = decoder();
    assert_eq!(decode(&mut *decoder, b"pong").0, Ok(FrameKind::Heartbeat));
    let ack = br#"{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"32f4414f"}"#;
    let (result, out) = decode(&mut *decoder, ack);
    assert_eq!(result, Ok(FrameKind::Control));
    assert_eq!(out.signals, [Signal::Subscribed(Feed::new(0, Channel::Quotes))]);
    let error = br#"{"event":"error","code":"60012","msg":"Invalid request"}"#;
    let told = decode(&mut *decoder, error).0.expect_err("refused").to_string();
    assert!(told.contains("60012 Invalid request"), "{told}");
    let notice = br#"{"event":"notice","code":"64008","msg":"The connection will soon be closed","connId":"a"}"#;
    assert!(matches!(decode(&mut *decoder, notice).1.signals[..], [Signal::Reconnect(_)]));
}

#[test]
fn the_chain_of_the_capture_is_unbroken() {
    let Some(text) = capture("venues-2026-08-24/okx_books.jsonl") else { return };
    let mut decoder = decoder_of(QuotesFrom::Book);
    let (mut books, mut quotes) = (0, 0);
    for line in lines(&text) {
        let (result, out) = decode(&mut *decoder, line);
        assert!(result.is_ok(), "{result:?}");
        assert!(out.signals.iter().all(|signal| matches!(signal, Signal::Subscribed(_))), "{:?}", out.signals);
        books += u32::from(result == Ok(FrameKind::Data));
        quotes += out.ticks.len();
    }
    assert_eq!(books, 7, "a snapshot and six updates");
    assert!(quotes >= 1);
}

#[test]
fn a_lost_update_is_told_once_and_mended_by_a_snapshot() {
    let Some(text) = capture("venues-2026-08-24/okx_books.jsonl") else { return };
    let books: Vec<_> = lines(&text).filter(|line| line.windows(6).any(|part| part == b"action")).collect();
    let feed = Feed::new(0, Channel::Quotes);
    let mut decoder = decoder_of(QuotesFrom::Book);
    decode(&mut *decoder, books[0]).0.unwrap();
    let out = decode(&mut *decoder, books[2]).1;
    assert_eq!(out.signals, [Signal::Gap { feed, missing: 0 }, Signal::Resubscribe(feed)]);
    let out = decode(&mut *decoder, books[3]).1;
    assert_eq!((out.signals.len(), out.ticks.len()), (0, 0), "silent until the snapshot");
    assert_eq!(decode(&mut *decoder, books[0]).1.signals, [Signal::Recovered(feed)]);
}

#[test]
fn bad_input_is_refused() {
    let with = |from: &str, to: &str| TRADE.replacen(from, to, 1);
    let mut rows: Vec<Bad> = support::bad_inputs(TRADE);
    for (what, frame, says) in [
        ("NaN", with("42219.9", "NaN"), "not a decimal number"),
        ("Infinity", with("42219.9", "Infinity"), "not a decimal number"),
        ("1e999", with("42219.9", "1e999"), "out of range"),
        ("-0", with("42219.9", "-0"), "negative"),
        ("a negative price", with("42219.9", "-42219.9"), "negative"),
        ("a zero price", with("42219.9", "0"), "must be above zero"),
        ("10^30", with("42219.9", "1000000000000000000000000000000"), "out of range"),
        ("too precise", with("42219.9", "42219.900000001"), "more than 8 decimal places"),
        ("full-width digits", with("42219.9", "４２２１９"), "not a decimal number"),
        ("a zero size", with("0.12060306", "0"), "must be above zero"),
        ("a negative size", with("0.12060306", "-1"), "negative"),
        ("no price", with(r#""px":"42219.9","#, ""), "px"),
        ("the price twice", with(r#""px":"42219.9","#, r#""px":"42219.9","px":"42219.9","#), "px"),
        ("an unknown side", with("\"buy\"", "\"both\""), "side"),
        ("an unknown instrument", TRADE.replace("BTC-USDT", "DOGE-EUR"), "DOGE-EUR"),
        (
            "another instrument's trade",
            with(r#"[{"instId":"BTC-USDT""#, r#"[{"instId":"ETH-USDT""#),
            "another instrument",
        ),
        ("an unknown channel", with("\"trades\"", "\"liquidations\""), "liquidations"),
        ("a trade id in letters", with("130639474", "abc"), "tradeId"),
        ("a trade id too large", with("130639474", "99999999999999999999"), "tradeId"),
        ("a time in letters", with("1630048897897", "today"), "ts"),
        ("a time past 2262", with("1630048897897", "99999999999999999"), "not a time"),
        ("data is no list", with(r#""data":["#, r#""data":{"x":["#).replace("}]}", "}]}}"), "expected"),
    ] {
        rows.push(Bad { what, frame: frame.into_bytes(), says });
    }
    rows.push(bad("no arg", r#"{"data":[]}"#, "neither event nor channel"));
    rows.push(bad("no data", r#"{"arg":{"channel":"trades","instId":"BTC-USDT"}}"#, "data"));
    support::refuses(&decoder, &rows, TRADE.as_bytes());
}

#[test]
fn mutations_do_no_harm() {
    let mut frames = vec![TRADE.as_bytes().to_vec(), BEST.as_bytes().to_vec()];
    if let Some(text) = capture("venues-2026-08-24/okx_books.jsonl") {
        frames.extend(lines(&text).filter(|line| line.len() < 4_000).map(<[u8]>::to_vec));
    }
    support::survives_mutations(&decoder, &frames, 20_000, 0x0a);
}

#[test]
fn the_ticker_has_the_volume() {
    let plan = support::plan(&Okx, &["BTC-USDT", "ETH-USDT"], QuotesFrom::BestBidAsk);
    let requests = Okx.ticker_requests(&Okx.endpoints(), &plan, &[0]);
    assert!(requests[0].url.ends_with("/api/v5/market/ticker?instId=BTC-USDT"), "{}", requests[0].url);
    let body = br#"{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"BTC-USDT","last":"78722.3","lastSz":"0.1","vol24h":"5344.27","volCcy24h":"420712345.5","ts":"1787612486407"}]}"#;
    let mut out = ingest::decode::Output::default();
    Okx.decode_ticker(&plan, &requests[0], body, RECV, &mut out).expect("a ticker");
    let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("78722.3".into(), "5344.27".into()));
    let refused = br#"{"code":"51001","msg":"Instrument ID does not exist","data":[]}"#;
    assert!(Okx.decode_ticker(&plan, &requests[0], refused, RECV, &mut out).is_err());
}
