//! Kraken, WebSocket v2.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, Feed, FrameKind, Output, Signal};
use ingest::venues::kraken::Kraken;
use model::{Channel, Side, TickBody, TickFlags, TradeId, UnixNanos};

use crate::support::{self, Bad, bad, bodies, capture, decode, lines};

const TRADE: &str = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":77120.0,"qty":0.00048389,"ord_type":"limit","trade_id":105702534,"timestamp":"2026-08-22T17:30:53.355059Z"}]}"#;
const TICKER: &str = r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":108359.8,"bid_qty":0.01362603,"ask":108359.9,"ask_qty":17.17988863,"last":108359.8,"volume":2158.32346723,"vwap":108894.5,"low":106824,"high":111300,"change":-2679.9,"change_pct":-2.41}]}"#;

fn decoder_of(quotes_from: QuotesFrom) -> Box<dyn Decoder> {
    Kraken.decoder(&support::plan(&Kraken, &["BTC-USD", "ETH-USD"], quotes_from))
}

fn decoder() -> Box<dyn Decoder> {
    decoder_of(QuotesFrom::Book)
}

#[test]
fn a_trade_and_a_ticker() {
    let mut decoder = decoder_of(QuotesFrom::BestBidAsk);
    let (result, out) = decode(&mut *decoder, TRADE.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let TickBody::Trade(trade) = out.ticks[0].body else { panic!("{:?}", out.ticks) };
    assert_eq!((trade.id, trade.taker_side), (TradeId::Number(105_702_534), Side::Buy));
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("77120".into(), "0.00048389".into()));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::parse_rfc3339(b"2026-08-22T17:30:53.355059Z").ok());

    let (result, out) = decode(&mut *decoder, TICKER.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let [TickBody::Quote(quote), TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid.to_string(), quote.ask_quantity.to_string()), ("108359.8".into(), "17.17988863".into()));
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("108359.8".into(), "2158.32346723".into()));
    let (_, out) = decode(&mut *decoder, TICKER.as_bytes());
    assert!(out.ticks.is_empty(), "neither the top nor the second changed: {:?}", out.ticks);
}

#[test]
fn a_snapshot_of_trades_is_history_and_fills_what_was_missed() {
    let one = |id: u64| {
        format!(
            r#"{{"symbol":"BTC/USD","side":"sell","price":77120.0,"qty":0.1,"ord_type":"limit","trade_id":{id},"timestamp":"2026-08-22T17:30:53.355059Z"}}"#
        )
    };
    let frame = |kind: &str, ids: &[u64]| {
        let trades: Vec<_> = ids.iter().map(|id| one(*id)).collect();
        format!(r#"{{"channel":"trade","type":"{kind}","data":[{}]}}"#, trades.join(","))
    };
    let ids = |out: &Output| -> Vec<u64> {
        let id = |body| match body {
            TickBody::Trade(trade) => match trade.id {
                TradeId::Number(id) => id,
                TradeId::Uuid(_) => panic!(),
            },
            other => panic!("{other:?}"),
        };
        bodies(out).into_iter().map(id).collect()
    };
    let mut decoder = decoder();
    let (_, out) = decode(&mut *decoder, frame("snapshot", &[12, 11, 10]).as_bytes());
    assert_eq!((ids(&out), out.signals.len()), (vec![10, 11, 12], 0));
    assert!(out.ticks.iter().all(|tick| tick.flags == TickFlags::HISTORIC));
    let (_, out) = decode(&mut *decoder, frame("update", &[13, 14]).as_bytes());
    assert!(ids(&out) == [13, 14] && out.ticks.iter().all(|tick| tick.flags == 0));
    // Away; the next connection's snapshot overlaps.
    decoder.reset();
    let (_, out) = decode(&mut *decoder, frame("snapshot", &[17, 16, 15, 14, 13]).as_bytes());
    assert_eq!((ids(&out), out.duplicates, out.signals.len()), (vec![15, 16, 17], 2, 0));
    let (_, out) = decode(&mut *decoder, frame("update", &[20]).as_bytes());
    let feed = Feed::new(0, Channel::Trades);
    assert_eq!(out.signals, [Signal::Gap { feed, missing: 2 }]);
}

#[test]
fn the_checksums_of_the_capture_hold() {
    let Some(text) = capture("venues-2026-08-24/kraken_book.jsonl") else { return };
    let mut decoder = decoder();
    let (mut books, mut quotes) = (0, Vec::new());
    for line in lines(&text) {
        let (result, out) = decode(&mut *decoder, line);
        let expected = match () {
            () if line.starts_with(br#"{"channel":"book""#) => FrameKind::Data,
            () if line.starts_with(br#"{"channel":"heartbeat""#) => FrameKind::Heartbeat,
            () => FrameKind::Control,
        };
        assert_eq!(result, Ok(expected));
        assert_eq!(out.signals, [], "{}", String::from_utf8_lossy(line));
        books += u32::from(expected == FrameKind::Data);
        quotes.extend(bodies(&out));
    }
    assert_eq!(books, 4, "every checksum of the capture was recomputed");
    let [TickBody::Quote(quote)] = quotes[..] else { panic!("the top never changes: {quotes:?}") };
    assert_eq!((quote.bid.to_string(), quote.ask.to_string()), ("78871.5".into(), "78871.6".into()));
    assert_eq!(
        (quote.bid_quantity.to_string(), quote.ask_quantity.to_string()),
        ("0.01266503".into(), "4.21103066".into())
    );
}

#[test]
fn a_wrong_checksum_or_a_lost_update_is_told_and_mended() {
    let Some(text) = capture("venues-2026-08-24/kraken_book.jsonl") else { return };
    let books: Vec<_> = lines(&text).filter(|line| line.starts_with(br#"{"channel":"book""#)).collect();
    let feed = Feed::new(0, Channel::Quotes);
    let gap = [Signal::Gap { feed, missing: 0 }, Signal::Resubscribe(feed)];
    for spoil in 0..2 {
        let mut decoder = decoder();
        assert_eq!(decode(&mut *decoder, books[0]).1.signals, []);
        let out = if spoil == 0 {
            // The second update goes without the first.
            decode(&mut *decoder, books[2]).1
        } else {
            let spoilt = String::from_utf8_lossy(books[1]).replace("2416540570", "2416540571");
            decode(&mut *decoder, spoilt.as_bytes()).1
        };
        assert_eq!((&out.signals[..], out.ticks.len()), (&gap[..], 0));
        let out = decode(&mut *decoder, books[3]).1;
        assert_eq!((out.signals.len(), out.ticks.len()), (0, 0), "told once, and silent until the snapshot");
        let out = decode(&mut *decoder, books[0]).1;
        assert_eq!(out.signals, [Signal::Recovered(feed)]);
    }
}

#[test]
fn bad_input_is_refused() {
    let with = |from: &str, to: &str| TRADE.replacen(from, to, 1);
    let price = |text: &str| with("77120.0", text);
    let book = |bids: &str, asks: &str| {
        format!(
            r#"{{"channel":"book","type":"snapshot","data":[{{"symbol":"BTC/USD","bids":[{bids}],"asks":[{asks}],"checksum":1,"timestamp":"2026-08-24T22:21:57Z"}}]}}"#
        )
    };
    let mut rows: Vec<Bad> = support::bad_inputs(TRADE);
    for (what, frame, says) in [
        ("NaN", price("NaN"), "a number expected"),
        ("NaN in quotes", price("\"NaN\""), "not a decimal number"),
        ("Infinity", price("Infinity"), "a number expected"),
        ("1e999", price("1e999"), "out of range"),
        ("-0", price("-0"), "negative"),
        ("a negative price", price("-77120.0"), "negative"),
        ("a zero price", price("0.0"), "must be above zero"),
        ("10^30", price("1000000000000000000000000000000"), "out of range"),
        ("too precise", price("77120.000000001"), "more than 8 decimal places"),
        ("full-width digits", price("\"７７１２０\""), "not a decimal number"),
        ("a leading zero", price("077120.0"), "the number's end expected"),
        ("a bare point", price("77120."), "a digit expected"),
        ("a zero quantity", with("0.00048389", "0"), "qty 0 not allowed"),
        ("a negative quantity", with("0.00048389", "-1"), "negative"),
        ("an unknown symbol", with("BTC/USD", "DOGE/USD"), "unknown symbol"),
        ("an escaped symbol", with("BTC/USD", "BTC\\/USD"), "escape"),
        ("an unknown side", with("\"buy\"", "\"hold\""), "side \"hold\" is not known"),
        ("an unknown type", with("\"update\"", "\"upgrade\""), "type \"upgrade\" is not known"),
        ("an unknown channel", with("\"trade\"", "\"trader\""), "channel \"trader\" is not known"),
        ("no data", r#"{"channel":"trade","type":"update"}"#.into(), "field data is missing"),
        ("data that is no list", with("[{", "{\"x\":{").replace("}]}", "}}}"), "an array expected"),
        ("a doubled price", with("\"qty\"", "\"price\":1,\"qty\""), "field price is there twice"),
        ("doubled data", with("\"data\"", "\"data\":[],\"data\""), "field data is there twice"),
        ("no trade id", with("\"trade_id\":105702534,", ""), "field trade_id is missing"),
        ("a fractional trade id", with("105702534", "1.5"), "not a whole number"),
        ("a trade id of 2^64", with("105702534", "18446744073709551616"), "not a whole number"),
        ("no time", with(",\"timestamp\":\"2026-08-22T17:30:53.355059Z\"", ""), "field timestamp is missing"),
        ("a time that is none", with("2026-08-22T17:30:53.355059Z", "yesterday"), "not a time"),
        ("the year 9999", with("2026-08-22", "9999-01-01"), "not a time"),
        ("a good trade and a bad one", with("}]}", "},{\"symbol\":\"BTC/USD\"}]}"), "is missing"),
        (
            "a refusal",
            r#"{"error":"Currency pair not supported","method":"subscribe","success":false}"#.into(),
            "venue error",
        ),
        ("neither channel nor method", "{}".into(), "unknown frame"),
        ("an array", "[]".into(), "an object expected"),
        ("a level without a quantity", book(r#"{"price":1.0}"#, ""), "field qty is missing"),
        ("a level at zero", book(r#"{"price":0.0,"qty":1.0}"#, ""), "price 0 not allowed"),
        ("a level with an exponent", book(r#"{"price":1e2,"qty":1.0}"#, ""), "not a decimal number"),
        ("a negative level", book(r#"{"price":-1.0,"qty":1.0}"#, ""), "negative"),
        ("no checksum", book("", "").replace(",\"checksum\":1", ""), "field checksum is missing"),
        ("no asks", book("", "").replace(",\"asks\":[]", ""), "field bids, asks is missing"),
        ("too many levels", book(&vec![r#"{"price":1.0,"qty":1.0}"#; 10_001].join(","), ""), "at most 10000"),
        ("a crossed ticker", TICKER.replace("\"bid\":108359.8", "\"bid\":108360.8"), "bid 108360.8 above ask"),
        ("a ticker without volume", TICKER.replace("\"volume\":2158.32346723,", ""), "field volume is missing"),
        ("a ticker with a negative volume", TICKER.replace("2158.32346723", "-1"), "negative"),
    ] {
        rows.push(bad(what, &frame, says));
    }
    support::refuses(&decoder, &rows, TRADE.as_bytes());
}

#[test]
fn mutated_frames_never_panic() {
    let mut frames: Vec<Vec<u8>> = vec![TRADE.into(), TICKER.into()];
    if let Some(text) = capture("venues-2026-08-24/kraken_book.jsonl") {
        frames.extend(lines(&text).map(<[u8]>::to_vec));
    }
    for seed in 1..=4 {
        support::survives_mutations(&|| decoder_of(QuotesFrom::Both), &frames, 15_000, seed);
    }
}

#[test]
fn texts_for_the_venue() {
    let mut plan = support::plan(&Kraken, &["BTC-USD", "DOGE-USD"], Kraken.quotes_from());
    let feeds: Vec<_> = plan.feeds().collect();
    let mut out = Vec::new();
    Kraken.subscribe(&plan, &feeds, &mut out);
    assert_eq!(
        out,
        [
            r#"{"method":"subscribe","params":{"channel":"trade","snapshot":true,"symbol":["BTC/USD","DOGE/USD"]}}"#,
            r#"{"method":"subscribe","params":{"channel":"book","depth":10,"symbol":["BTC/USD","DOGE/USD"]}}"#,
            r#"{"method":"subscribe","params":{"channel":"ticker","event_trigger":"trades","symbol":["BTC/USD","DOGE/USD"]}}"#,
        ]
    );
    plan.quotes_from = QuotesFrom::BestBidAsk;
    out.clear();
    Kraken.unsubscribe(&plan, &[Feed::new(1, Channel::Quotes)], &mut out);
    assert_eq!(
        out,
        [r#"{"method":"unsubscribe","params":{"channel":"ticker","event_trigger":"bbo","symbol":["DOGE/USD"]}}"#]
    );
    let requests = Kraken.ticker_requests(&Kraken.endpoints(), &plan, &[0, 1]);
    assert_eq!(requests[1].url, "https://api.kraken.com/0/public/Ticker?pair=XDGUSD");
    let body = r#"{"error":[],"result":{"XXBTZUSD":{"a":["108359.90000","17","17.000"],"b":["108359.80000","1","1.000"],"c":["108359.80000","0.00010000"],"v":["1002.5","2158.32346723"],"p":["1","2"],"t":[1,2],"l":["1","1"],"h":["1","1"],"o":"1"}}}"#;
    let mut out = Output::default();
    Kraken.decode_ticker(&plan, &requests[0], body.as_bytes(), support::RECV, &mut out).unwrap();
    let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!() };
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("108359.8".into(), "2158.32346723".into()));
    assert_eq!(out.ticks[0].flags, TickFlags::POLLED);
    for (body, says) in [
        (r#"{"error":["EQuery:Unknown asset pair"]}"#.to_owned(), "venue error"),
        (r#"{"error":[],"result":{}}"#.into(), "field result is missing"),
        (body.replace("\"v\":[\"1002.5\",\"2158.32346723\"]", "\"v\":[\"1002.5\"]"), "field v is missing"),
        (body.replace("108359.80000\",\"0.0001", "0\",\"0.0001"), "must be above zero"),
        ("".into(), "truncated"),
    ] {
        let error = Kraken.decode_ticker(&plan, &requests[0], body.as_bytes(), support::RECV, &mut out).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}
