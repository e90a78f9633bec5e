//! Coinbase Advanced Trade.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, Feed, FrameKind, Output, Signal};
use ingest::venues::coinbase_advanced::CoinbaseAdvanced;
use model::{Channel, Side, TickBody, TickFlags, TradeId, UnixNanos};

use crate::support::{self, Bad, RECV, bad, bodies, capture, decode, lines};

const TRADE: &str = r#"{"channel":"market_trades","timestamp":"2023-02-09T20:19:35.39625135Z","sequence_num":5,"events":[{"type":"update","trades":[{"trade_id":"995098700","product_id":"BTC-USD","price":"68900.50","size":"0.00150000","side":"BUY","time":"2023-02-09T20:19:35.1Z"}]}]}"#;
const TICKER: &str = r#"{"channel":"ticker","timestamp":"2023-02-09T20:30:37.167359596Z","sequence_num":0,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"21932.98","volume_24_h":"16038.28770938","low_24_h":"21835.29","high_24_h":"23011.18","best_bid":"21931.98","best_bid_quantity":"8000.21","best_ask":"21933.98","best_ask_quantity":"8038.07770938"}]}]}"#;

fn decoder_of(quotes_from: QuotesFrom) -> Box<dyn Decoder> {
    CoinbaseAdvanced.decoder(&support::plan(&CoinbaseAdvanced, &["BTC-USD", "ETH-USD"], quotes_from))
}

fn decoder() -> Box<dyn Decoder> {
    decoder_of(QuotesFrom::BestBidAsk)
}

#[test]
fn a_trade_and_a_ticker() {
    let mut decoder = decoder();
    let (result, out) = decode(&mut *decoder, TICKER.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let [TickBody::Quote(quote), TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid.to_string(), quote.ask.to_string()), ("21931.98".into(), "21933.98".into()));
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("21932.98".into(), "16038.28770938".into()));

    let (_, out) = decode(&mut *decoder, TRADE.as_bytes());
    let [TickBody::Trade(trade)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((trade.id, trade.taker_side), (TradeId::Number(995_098_700), Side::Sell), "the maker bought");
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("68900.5".into(), "0.0015".into()));
    assert_eq!(
        (out.ticks[0].flags, out.ticks[0].ts_event),
        (0, UnixNanos::parse_rfc3339(b"2023-02-09T20:19:35.1Z").ok())
    );
}

#[test]
fn a_snapshot_of_trades_is_history() {
    let frame = TRADE.replace("\"update\"", "\"snapshot\"");
    let (_, out) = decode(&mut *decoder(), frame.as_bytes());
    assert_eq!(out.ticks[0].flags, TickFlags::HISTORIC);
}

#[test]
fn the_numbers_of_the_capture_are_unbroken() {
    let Some(text) = capture("venues-2026-08-24/coinbase_l2.jsonl") else { return };
    let mut decoder = decoder_of(QuotesFrom::Book);
    let mut quotes = 0;
    for line in lines(&text) {
        let (result, out) = decode(&mut *decoder, line);
        assert!(result.is_ok() && out.signals.is_empty(), "{result:?} {:?}", out.signals);
        quotes += out.ticks.len();
    }
    assert!(quotes >= 2, "{quotes}");
}

#[test]
fn a_lost_frame_breaks_every_book_and_is_mended_by_snapshots() {
    let Some(text) = capture("venues-2026-08-24/coinbase_l2.jsonl") else { return };
    let all: Vec<_> = lines(&text).collect();
    let feed = Feed::new(0, Channel::Quotes);
    let mut decoder = decoder_of(QuotesFrom::Book);
    decode(&mut *decoder, all[0]).0.unwrap();
    let out = decode(&mut *decoder, all[3]).1;
    assert_eq!(
        out.signals,
        [Signal::Gap { feed, missing: 2 }, Signal::Resubscribe(feed)],
        "a control frame counts too"
    );
    let out = decode(&mut *decoder, all[4]).1;
    assert!(out.signals.is_empty() && out.ticks.is_empty(), "silent until the snapshot");
    let again = String::from_utf8_lossy(all[0]).replace("\"sequence_num\":0", "\"sequence_num\":5");
    assert_eq!(decode(&mut *decoder, again.as_bytes()).1.signals, [Signal::Recovered(feed)]);
}

#[test]
fn a_heartbeat_is_a_sign_of_life() {
    let beat = br#"{"channel":"heartbeats","timestamp":"2023-06-23T20:31:56.121961769Z","sequence_num":0,"events":[{"current_time":"2023-06-23 20:31:56.121961769 +0000 UTC","heartbeat_counter":3049}]}"#;
    let (result, out) = decode(&mut *decoder(), beat);
    assert_eq!(result, Ok(FrameKind::Heartbeat));
    assert_eq!(out.seen, [Feed::new(0, Channel::Trades), Feed::new(1, Channel::Trades)]);
}

#[test]
fn bad_input_is_refused() {
    let price = |text: &str| TRADE.replacen("68900.50", text, 1);
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
        ("full-width digits", price("６８９"), "not a decimal number"),
        ("a zero size", with("0.00150000", "0"), "must be above zero"),
        ("a negative size", with("0.00150000", "-1"), "negative"),
        ("no price", with(r#""price":"68900.50","#, ""), "price"),
        ("the price twice", with(r#""price":"#, r#""price":"1","price":"#), "price"),
        ("an unknown side", with("\"BUY\"", "\"HOLD\""), "side"),
        ("an unknown product", with("BTC-USD", "DOGE-EUR"), "unknown symbol"),
        ("an unknown channel", with("market_trades", "candles"), "candles"),
        ("an unknown type", with("\"update\"", "\"upgrade\""), "upgrade"),
        ("no number", with(r#""sequence_num":5,"#, ""), "sequence_num"),
        ("a negative number", with(r#""sequence_num":5"#, r#""sequence_num":-5"#), "sequence_num"),
        ("no events", with("\"events\"", "\"event\""), "events"),
        ("events that are no list", with("[{\"type\"", "{\"x\":{\"type\"").replace("}]}]}", "}]}}}"), "expected"),
        ("a trade id in letters", with("995098700", "abc"), "trade_id"),
        ("a time that is none", with("2023-02-09T20:19:35.1Z", "yesterday"), "not a time"),
        ("a ticker without volume", TICKER.replace(r#""volume_24_h":"16038.28770938","#, ""), "volume_24_h"),
    ] {
        rows.push(Bad { what, frame: frame.into_bytes(), says });
    }
    rows.push(bad("a refusal", r#"{"type":"error","message":"authentication failure"}"#, "authentication failure"));
    rows.push(bad("neither channel nor error", r#"{"sequence_num":1}"#, "neither channel nor error"));
    support::refuses(&decoder, &rows, TRADE.as_bytes());
}

#[test]
fn mutations_do_no_harm() {
    let mut frames = vec![TRADE.as_bytes().to_vec(), TICKER.as_bytes().to_vec()];
    if let Some(text) = capture("venues-2026-08-24/coinbase_l2.jsonl") {
        frames.extend(lines(&text).filter(|line| line.len() < 4_000).map(<[u8]>::to_vec));
    }
    support::survives_mutations(&|| decoder_of(QuotesFrom::Both), &frames, 20_000, 0x0d);
}

#[test]
fn the_product_has_the_volume() {
    let plan = support::plan(&CoinbaseAdvanced, &["BTC-USD"], QuotesFrom::BestBidAsk);
    let requests = CoinbaseAdvanced.ticker_requests(&CoinbaseAdvanced.endpoints(), &plan, &[0]);
    let body = br#"{"product_id":"BTC-USD","price":"140.21","price_percentage_change_24h":"9.43%","volume_24h":"1908432.1","status":"online"}"#;
    let mut out = Output::default();
    CoinbaseAdvanced.decode_ticker(&plan, &requests[0], body, RECV, &mut out).expect("a ticker");
    let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("140.21".into(), "1908432.1".into()));
}
