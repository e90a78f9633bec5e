//! Coinbase Exchange.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, Feed, FrameKind, Output, Signal};
use ingest::venues::coinbase::Coinbase;
use model::{Channel, Side, TickBody, TickFlags, TradeId, UnixNanos};

use crate::support::{self, Bad, bad, bodies, decode};

const MATCH: &str = r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0d","taker_order_id":"3c82","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#;
const TICKER: &str = r#"{"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775","open_24h":"14.6647","volume_24h":"94381.28000000","low_24h":"14.3691","high_24h":"16.55","volume_30d":"2295579.57","best_bid":"14.7550","best_ask":"14.8060","side":"buy","time":"2021-04-17T16:43:30.244075Z","trade_id":881613,"last_size":"0.04"}"#;
const SNAPSHOT: &str = r#"{"type":"snapshot","product_id":"SKL-BTC","bids":[["0.00001304","100"],["0.00001303","50"]],"asks":[["0.00001306","10"],["0.00001307","20"]]}"#;
const UPDATE: &str = r#"{"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"]],"time":"2021-04-17T16:43:37.1Z"}"#;

fn decoder_of(quotes_from: QuotesFrom) -> Box<dyn Decoder> {
    Coinbase.decoder(&support::plan(&Coinbase, &["SKL-BTC", "BAND-GBP", "BTC-USD"], quotes_from))
}

fn decoder() -> Box<dyn Decoder> {
    decoder_of(QuotesFrom::BestBidAsk)
}

fn heartbeat(last: u64) -> String {
    format!(
        r#"{{"type":"heartbeat","sequence":90,"last_trade_id":{last},"product_id":"SKL-BTC","time":"2021-04-17T16:43:38Z"}}"#
    )
}

#[test]
fn a_match_is_the_takers_and_the_last_match_is_history() {
    let mut decoder = decoder();
    let (result, out) = decode(&mut *decoder, MATCH.replace("\"match\"", "\"last_match\"").as_bytes());
    assert_eq!((result, out.ticks[0].flags), (Ok(FrameKind::Data), TickFlags::HISTORIC));
    let (_, out) = decode(&mut *decoder, MATCH.replace("280232", "280233").as_bytes());
    let [TickBody::Trade(trade)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((trade.id, trade.taker_side), (TradeId::Number(280_233), Side::Buy), "the side given is the maker's");
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("0.00001305".into(), "985".into()));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::parse_rfc3339(b"2021-04-17T16:43:37.089723Z").ok());
    let (_, out) = decode(&mut *decoder, MATCH.replace("280232", "280236").as_bytes());
    assert_eq!(out.signals, [Signal::Gap { feed: Feed::new(0, Channel::Trades), missing: 2 }]);
}

#[test]
fn a_ticker_gives_a_quote_and_the_volume() {
    let mut decoder = decoder();
    let (result, out) = decode(&mut *decoder, TICKER.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let [TickBody::Quote(quote), TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid.to_string(), quote.ask.to_string()), ("14.755".into(), "14.806".into()));
    assert_eq!((quote.sequence, quote.bid_quantity.raw()), (333_938_798, 0));
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("14.7775".into(), "94381.28".into()));
    let sized = TICKER.replace("\"best_ask\"", "\"best_bid_size\":\"1.5\",\"best_ask_size\":\"2\",\"best_ask\"");
    let (_, out) = decode(&mut *decoder, sized.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid_quantity.to_string(), quote.ask_quantity.to_string()), ("1.5".into(), "2".into()));
    let older = sized.replace("333938798", "333938797").replace("14.7550", "14.7");
    assert!(decode(&mut *decoder, older.as_bytes()).1.ticks.is_empty(), "an older sequence changes nothing");
}

#[test]
fn heartbeats_show_lost_trades_and_quiet_life() {
    let mut decoder = decoder();
    assert_eq!(decode(&mut *decoder, heartbeat(280_231).as_bytes()).1.signals, []);
    assert_eq!(decode(&mut *decoder, MATCH.as_bytes()).1.signals, []);
    let (result, out) = decode(&mut *decoder, heartbeat(280_232).as_bytes());
    assert_eq!((result, &out.seen[..]), (Ok(FrameKind::Heartbeat), &[Feed::new(0, Channel::Trades)][..]));
    let (_, out) = decode(&mut *decoder, heartbeat(280_235).as_bytes());
    assert_eq!(out.signals, [Signal::Gap { feed: Feed::new(0, Channel::Trades), missing: 3 }]);
    assert_eq!(decode(&mut *decoder, heartbeat(280_235).as_bytes()).1.signals, [], "told once");
    // One of them was only late.
    assert_eq!(decode(&mut *decoder, MATCH.replace("280232", "280234").as_bytes()).1.ticks.len(), 1);
    // A ticker that knows the last trade is alive, an older one is not.
    let ticker = TICKER.replace("BAND-GBP", "SKL-BTC");
    decode(&mut *decoder, ticker.replace("881613", "280235").as_bytes()).0.unwrap();
    let seen = decode(&mut *decoder, heartbeat(280_235).as_bytes()).1.seen;
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(decode(&mut *decoder, heartbeat(280_236).as_bytes()).1.seen.len(), 1);
}

#[test]
fn the_book_gives_quotes_and_starts_over_when_an_update_may_be_lost() {
    let mut decoder = decoder_of(QuotesFrom::Book);
    assert!(decode(&mut *decoder, UPDATE.as_bytes()).1.ticks.is_empty(), "no book yet");
    let (_, out) = decode(&mut *decoder, SNAPSHOT.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.bid.to_string(), quote.ask_quantity.to_string()), ("0.00001304".into(), "10".into()));
    let (_, out) = decode(&mut *decoder, UPDATE.as_bytes());
    let [TickBody::Quote(quote)] = bodies(&out)[..] else { panic!("{:?}", out.ticks) };
    assert_eq!(quote.ask_quantity.to_string(), "660.5");
    let feed = Feed::new(0, Channel::Quotes);
    let lost = [Signal::Gap { feed, missing: 0 }, Signal::Resubscribe(feed)];
    for spoilt in [
        UPDATE.replace("660.5", "NaN"),
        UPDATE[..UPDATE.len() - 20].into(),
        UPDATE.replace("\"sell\",\"0.00001306\"", "\"buy\",\"0.00001307\""),
    ] {
        let (_, out) = decode(&mut *decoder, spoilt.as_bytes());
        assert_eq!((&out.signals[..], out.ticks.len()), (&lost[..], 0), "{spoilt}");
        assert!(decode(&mut *decoder, UPDATE.as_bytes()).1.ticks.is_empty());
        let (_, out) = decode(&mut *decoder, SNAPSHOT.as_bytes());
        assert_eq!(out.signals, [Signal::Recovered(feed)]);
        decode(&mut *decoder, UPDATE.as_bytes()).0.unwrap();
    }
    // A refused frame of another kind, or of another product, costs nothing.
    for other in [MATCH.replace("985", "0"), UPDATE.replace("SKL-BTC", "XRP-USD")] {
        let (result, out) = decode(&mut *decoder, other.as_bytes());
        assert!(result.is_err() && out.signals.is_empty(), "{:?}", out.signals);
    }
}

#[test]
fn bad_input_is_refused() {
    let with = |from: &str, to: &str| MATCH.replacen(from, to, 1);
    let price = |text: &str| with("\"0.00001305\"", text);
    let mut rows: Vec<Bad> = support::bad_inputs(MATCH);
    for (what, frame, says) in [
        ("NaN", price("NaN"), "a number expected"),
        ("NaN in quotes", price("\"NaN\""), "not a decimal number"),
        ("Infinity", price("\"Infinity\""), "not a decimal number"),
        ("1e999", price("\"1e999\""), "out of range"),
        ("1e-999", price("\"1e-999\""), "more than 8 decimal places"),
        ("-0", price("\"-0\""), "negative"),
        ("a negative price", price("\"-0.1\""), "negative"),
        ("a zero price", price("\"0\""), "must be above zero"),
        ("10^30", price("\"1e30\""), "out of range"),
        ("too precise", price("\"0.000013051\""), "more than 8 decimal places"),
        ("full-width digits", price("\"０.０1\""), "not a decimal number"),
        ("a price that is true", price("true"), "a number expected"),
        ("a price that is a list", price("[1]"), "a number expected"),
        ("a zero size", with("\"985\"", "\"0.0\""), "size 0 not allowed"),
        ("a huge size", with("\"985\"", "\"10000000000\""), "out of range"),
        ("an unknown product", with("SKL-BTC", "SKL-EUR"), "unknown symbol"),
        ("a product in another form", with("SKL-BTC", "SKL/BTC"), "unknown symbol"),
        ("an unknown side", with("\"sell\"", "\"SELL\""), "side \"SELL\" is not known"),
        ("an unknown type", with("\"match\"", "\"change\""), "type \"change\" is not known"),
        ("no type", with("\"type\":\"match\",", ""), "field type is missing"),
        ("no id", with("\"trade_id\":280232,", ""), "field trade_id is missing"),
        ("a negative id", with("280232", "-1"), "not a whole number"),
        ("a long id", with("280232", &"9".repeat(40)), "not a whole number"),
        ("a doubled side", with("\"size\"", "\"side\":\"buy\",\"size\""), "field side is there twice"),
        ("an escaped key", with("\"side\"", "\"s\\u0069de\""), "escape"),
        ("no time", with(",\"time\":\"2021-04-17T16:43:37.089723Z\"", ""), "field time is missing"),
        ("a time without a zone", with("089723Z", "089723"), "not a time"),
        ("the year 1600", with("2021-", "1600-"), "not a time"),
        ("a number for a time", with("\"2021-04-17T16:43:37.089723Z\"", "1618677817"), "a string expected"),
        (
            "an error of the venue",
            r#"{"type":"error","message":"Failed to subscribe","reason":"x"}"#.into(),
            "venue error",
        ),
        ("a ticker without a bid", TICKER.replace("\"best_bid\":\"14.7550\",", ""), "field best_bid is missing"),
        ("a crossed ticker", TICKER.replace("14.7550", "15"), "bid 15 above ask"),
        ("a ticker with a negative volume", TICKER.replace("94381.28000000", "-1"), "negative"),
        (
            "a heartbeat without a trade",
            r#"{"type":"heartbeat","product_id":"SKL-BTC"}"#.into(),
            "last_trade_id is missing",
        ),
        ("a change of two", UPDATE.replace(",\"660.5\"", ""), "field changes is missing"),
        ("a change of no side", UPDATE.replace("\"sell\"", "\"hold\""), "side \"hold\" is not known"),
        ("a change at zero", UPDATE.replace("0.00001306", "0"), "changes 0 not allowed"),
        ("changes that are none", UPDATE.replace("[[\"sell\",\"0.00001306\",\"660.5\"]]", "7"), "an array expected"),
        (
            "a snapshot without asks",
            SNAPSHOT.replace(",\"asks\":[[\"0.00001306\",\"10\"],[\"0.00001307\",\"20\"]]", ""),
            "field bids, asks is missing",
        ),
    ] {
        rows.push(bad(what, &frame, says));
    }
    support::refuses(&decoder, &rows, MATCH.as_bytes());
    support::refuses(&|| decoder_of(QuotesFrom::Book), &rows, MATCH.as_bytes());
}

#[test]
fn mutated_frames_never_panic() {
    let frames: Vec<Vec<u8>> =
        vec![MATCH.into(), TICKER.into(), heartbeat(280_233).into(), SNAPSHOT.into(), UPDATE.into()];
    for seed in 1..=4 {
        support::survives_mutations(&|| decoder_of(QuotesFrom::Both), &frames, 20_000, seed);
    }
}

#[test]
fn texts_for_the_venue() {
    let plan = support::plan(&Coinbase, &["BTC-USD", "ETH-USD"], QuotesFrom::BestBidAsk);
    let feeds: Vec<_> = plan.feeds().collect();
    let mut out = Vec::new();
    Coinbase.subscribe(&plan, &feeds, &mut out);
    assert_eq!(
        out,
        [
            r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["heartbeat"]}"#,
            r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches"]}"#,
            r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["ticker"]}"#,
        ]
    );
    let requests = Coinbase.ticker_requests(&Coinbase.endpoints(), &plan, &[1]);
    assert_eq!(requests[0].url, "https://api.exchange.coinbase.com/products/ETH-USD/ticker");
    let body = r#"{"trade_id":86326522,"price":"6268.48","size":"0.00698254","time":"2020-03-20T00:22:57.833897Z","bid":"6265.15","ask":"6267.71","volume":"53602.03940154"}"#;
    let mut out = Output::default();
    Coinbase.decode_ticker(&plan, &requests[0], body.as_bytes(), support::RECV, &mut out).unwrap();
    let [TickBody::Ticker(ticker)] = bodies(&out)[..] else { panic!() };
    assert_eq!((ticker.instrument.as_str(), ticker.volume_24h.to_string()), ("ETH-USD", "53602.03940154".into()));
    for (body, says) in [
        (r#"{"message":"NotFound"}"#.to_owned(), "venue error"),
        (body.replace("6268.48", "0"), "must be above zero"),
        (body.replace(",\"volume\":\"53602.03940154\"", ""), "field volume is missing"),
        (format!("{body}x"), "the end expected"),
    ] {
        let error = Coinbase.decode_ticker(&plan, &requests[0], body.as_bytes(), support::RECV, &mut out).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}
