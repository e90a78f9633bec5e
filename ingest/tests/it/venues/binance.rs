//! Binance spot.

use ingest::connector::{Connector, QuotesFrom};
use ingest::decode::{Decoder, FrameKind, Signal};
use ingest::venues::binance::Binance;
use model::{Side, TickBody, TradeId, UnixNanos};

use crate::support::{self, Bad, bad, bodies, capture, decode, lines, timed};

const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const TICKER: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"1.54698000"}}"#;

fn decoder() -> Box<dyn Decoder> {
    Binance.decoder(&support::plan(&Binance, &["BTC-USDT", "ETH-USDT"], QuotesFrom::Both))
}

fn depth(first: u64, last: u64, bids: &str, asks: &str) -> String {
    format!(r#"{{"e":"depthUpdate","E":1787612486435,"s":"BTCUSDT","U":{first},"u":{last},"b":[{bids}],"a":[{asks}]}}"#)
}

#[test]
fn a_trade_and_a_book_ticker() {
    let mut decoder = decoder();
    let (result, out) = decode(&mut *decoder, TRADE.as_bytes());
    assert_eq!(result, Ok(FrameKind::Data));
    let TickBody::Trade(trade) = out.ticks[0].body else { panic!("{:?}", out.ticks) };
    assert_eq!(trade.instrument.as_str(), "BTC-USDT");
    assert_eq!((trade.id, trade.taker_side), (TradeId::Number(3_735_683_259), Side::Sell));
    assert_eq!((trade.price.to_string(), trade.quantity.to_string()), ("61837.63".into(), "0.02".into()));
    assert_eq!(out.ticks[0].ts_event, UnixNanos::from_millis(1_723_161_255_342).ok());
    let (_, out) = decode(&mut *decoder, TRADE.as_bytes());
    assert!(out.ticks.is_empty() && out.duplicates == 1, "a repeat counts once");
    let later = TRADE.replace("3735683259", "3735683262");
    let (_, out) = decode(&mut *decoder, later.as_bytes());
    assert!(matches!(out.signals[..], [Signal::Gap { missing: 2, .. }]), "{:?}", out.signals);

    let (_, out) = decode(&mut *decoder, TICKER.as_bytes());
    let TickBody::Quote(quote) = out.ticks[0].body else { panic!("{:?}", out.ticks) };
    assert_eq!((quote.sequence, out.ticks[0].ts_event), (50_093_239_212, None));
    assert_eq!((quote.bid.to_string(), quote.ask_quantity.to_string()), ("61837.63".into(), "1.54698".into()));
}

#[test]
fn order_of_fields_and_older_forms_do_not_matter() {
    for frame in [
        r#"{"data":{"M":true,"m":true,"T":1723161255342,"q":"0.02","p":61837.63,"t":"3735683259","s":"BTCUSDT","E":1723161255343,"e":"trade"},"stream":"btcusdt@trade"}"#,
        r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","b":11,"a":12,"T":1723161255342,"m":true,"M":true,"new":{"x":[1,"\u00e9"]}}"#,
        " { \"e\" : \"trade\" , \"s\" : \"BTCUSDT\" , \"t\" : 3735683259 , \"p\" : \"6183763e-2\" , \"q\" : \"0.02\" , \"T\" : 1723161255342 , \"m\" : true } \r\n",
    ] {
        let (result, out) = decode(&mut *decoder(), frame.as_bytes());
        assert_eq!(result, Ok(FrameKind::Data), "{frame}");
        let (_, expected) = decode(&mut *decoder(), TRADE.as_bytes());
        assert_eq!(out.ticks, expected.ticks, "{frame}");
    }
}

#[test]
fn the_real_capture_is_whole() {
    let mut seen = (0u64, 0u64, 0u64, 0u64);
    for instrument in ["btcusdt", "ethusdt"] {
        let mut decoder = decoder();
        let (mut trades, mut quotes, mut expected, mut depths) = (0u64, 0u64, 0u64, 0u64);
        for day in ["20240808", "20240809"] {
            let Some(text) = capture(&format!("binance-spot-2024-08-08/{instrument}_{day}.gz")) else { return };
            for line in lines(&text) {
                let (_, frame) = timed(line);
                let text = std::str::from_utf8(frame).unwrap();
                expected += u64::from(text.contains("\"e\":\"trade\""));
                depths += u64::from(text.contains("\"e\":\"depthUpdate\""));
                let (result, out) = decode(&mut *decoder, frame);
                assert_eq!(result, Ok(FrameKind::Data), "{text}");
                assert!(out.duplicates == 0 || text.contains("depthUpdate"), "{text}");
                for signal in &out.signals {
                    assert!(matches!(signal, Signal::NeedSnapshot(_)), "{signal:?} at {text}");
                }
                for body in bodies(&out) {
                    match body {
                        TickBody::Trade(_) => trades += 1,
                        TickBody::Quote(quote) => {
                            assert!(quote.bid < quote.ask, "{quote:?}");
                            quotes += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        assert_eq!(trades, expected, "{instrument}");
        assert!(quotes > 10_000 && depths > 6_000, "{instrument}: {quotes} quotes, {depths} depth events");
        seen = (seen.0 + trades, seen.1 + quotes, seen.2 + expected, seen.3 + depths);
    }
    assert_eq!((seen.0, seen.3), (34_419, 12_965));
}

#[test]
fn the_book_of_the_capture_meets_its_book_tickers() {
    // Where a book ticker names the very update id that a depth event ends with, both must tell the same top.
    let Some(text) = capture("binance-spot-2024-08-08/btcusdt_20240808.gz") else { return };
    let plan = support::plan(&Binance, &["BTC-USDT"], QuotesFrom::Both);
    let mut books = Binance.decoder(&plan);
    let mut tickers = std::collections::BTreeMap::new();
    let mut tops = std::collections::BTreeMap::new();
    for line in lines(&text) {
        let (_, frame) = timed(line);
        let is_ticker = frame.windows(10).any(|window| window == b"bookTicker");
        let (_, out) = if is_ticker { decode(&mut *Binance.decoder(&plan), frame) } else { decode(&mut *books, frame) };
        for body in bodies(&out) {
            if let TickBody::Quote(quote) = body {
                if is_ticker { &mut tickers } else { &mut tops }.insert(quote.sequence, quote);
            }
        }
    }
    let both: Vec<_> = tops.iter().filter_map(|(id, top)| Some((top, tickers.get(id)?))).collect();
    assert!(both.len() > 100, "only {} in common", both.len());
    for (top, ticker) in both {
        assert_eq!(top, ticker);
    }
}

#[test]
fn the_captured_depth_splices_onto_the_captured_snapshot() {
    let folder = "venues-2026-08-24";
    let (Some(events), Some(snapshot)) =
        (capture(&format!("{folder}/binance_us_depth.jsonl")), capture(&format!("{folder}/binance_us_snapshot.json")))
    else {
        return;
    };
    let mut decoder = decoder();
    let mut out = ingest::decode::Output::default();
    let mut asked = 0;
    let events: Vec<_> = lines(&events).collect();
    for event in &events {
        let (result, out) = decode(&mut *decoder, event);
        assert_eq!(result, Ok(FrameKind::Data));
        assert!(out.ticks.is_empty());
        asked += out.signals.len();
    }
    assert_eq!(asked, 1, "the snapshot is asked for once");
    decoder.snapshot(0, &snapshot, support::RECV, &mut out).unwrap();
    assert_eq!(out.signals, [], "the chain is unbroken");
    assert_eq!(out.ticks.len(), 1);
    // And the same when the snapshot comes before the later events.
    let mut live = self::decoder();
    decode(&mut *live, events[0]).0.unwrap();
    let mut first = ingest::decode::Output::default();
    live.snapshot(0, &snapshot, support::RECV, &mut first).unwrap();
    let mut last = first.ticks.last().copied();
    for event in &events[1..] {
        let (result, out) = decode(&mut *live, event);
        assert_eq!((result, out.signals.len()), (Ok(FrameKind::Data), 0));
        last = out.ticks.last().copied().or(last);
    }
    let top = |body: Option<TickBody>| match body {
        Some(TickBody::Quote(quote)) => (quote.bid, quote.bid_quantity, quote.ask, quote.ask_quantity),
        other => panic!("{other:?}"),
    };
    assert_eq!(top(last.map(|tick| tick.body)), top(Some(out.ticks[0].body)));
}

#[test]
fn a_broken_chain_is_told_and_mended() {
    let mut decoder = decoder();
    let send = |decoder: &mut dyn Decoder, frame: &str| decode(decoder, frame.as_bytes()).1;
    let out = send(&mut *decoder, &depth(9, 11, r#"["100.0","1"]"#, r#"["101.0","2"]"#));
    assert_eq!(out.signals, [Signal::NeedSnapshot(0)]);
    let mut out = ingest::decode::Output::default();
    let snapshot = |id: u64| format!(r#"{{"lastUpdateId":{id},"bids":[["99.0","5"]],"asks":[["102","5"]]}}"#);
    decoder.snapshot(0, snapshot(10).as_bytes(), support::RECV, &mut out).unwrap();
    assert_eq!((out.ticks.len(), out.signals.len()), (1, 0));
    let out = send(&mut *decoder, &depth(12, 12, r#"["100.5","1"]"#, ""));
    assert_eq!(out.ticks.len(), 1);
    let out = send(&mut *decoder, &depth(12, 12, r#"["100.5","9"]"#, ""));
    assert_eq!((out.ticks.len(), out.duplicates), (0, 1), "a doubled event changes nothing");
    // 13 is lost, 14 comes, then 16 before 15.
    let out = send(&mut *decoder, &depth(14, 14, r#"["100.6","1"]"#, ""));
    assert!(matches!(out.signals[..], [Signal::Gap { missing: 1, .. }, Signal::NeedSnapshot(0)]), "{:?}", out.signals);
    assert!(out.ticks.is_empty());
    assert!(send(&mut *decoder, &depth(16, 16, r#"["100.8","1"]"#, "")).signals.is_empty());
    assert!(send(&mut *decoder, &depth(15, 15, r#"["100.7","1"]"#, "")).signals.is_empty());
    // A snapshot from before the gap does not meet it, one from within does.
    let mut out = ingest::decode::Output::default();
    decoder.snapshot(0, snapshot(12).as_bytes(), support::RECV, &mut out).unwrap();
    assert_eq!((out.ticks.len(), &out.signals[..]), (0, &[Signal::NeedSnapshot(0)][..]));
    out.clear();
    decoder.snapshot(0, snapshot(14).as_bytes(), support::RECV, &mut out).unwrap();
    assert!(matches!(out.signals[..], [Signal::Recovered(_)]), "{:?}", out.signals);
    let TickBody::Quote(quote) = out.ticks[0].body else { panic!() };
    assert_eq!((quote.bid.to_string(), quote.sequence), ("100.8".into(), 16));
}

#[test]
fn bad_input_is_refused() {
    let with = |from: &str, to: &str| TRADE.replacen(from, to, 1);
    let price = |text: &str| with("\"61837.63000000\"", text);
    let quote = |from: &str, to: &str| TICKER.replacen(from, to, 1);
    let mut rows: Vec<Bad> = support::bad_inputs(TRADE);
    for (what, frame, says) in [
        ("NaN", price("NaN"), "a number expected"),
        ("NaN in quotes", price("\"NaN\""), "not a decimal number"),
        ("Infinity", price("\"Infinity\""), "not a decimal number"),
        ("-Infinity", price("-Infinity"), "a number expected"),
        ("1e999", price("\"1e999\""), "out of range"),
        ("bare 1e999", price("1e999"), "out of range"),
        ("-0", price("\"-0\""), "negative"),
        ("bare -0.0", price("-0.0"), "negative"),
        ("a negative price", price("\"-61837.63\""), "negative"),
        ("a zero price", price("\"0.00000000\""), "must be above zero"),
        ("10^30", price("\"1000000000000000000000000000000\""), "out of range"),
        ("10^10", price("\"10000000000.0\""), "out of range"),
        ("too precise", price("\"61837.630000001\""), "more than 8 decimal places"),
        ("full-width digits", price("\"６１８３７.63\""), "not a decimal number"),
        ("an empty number", price("\"\""), "not a decimal number"),
        ("a number with a space", price("\" 61837.63\""), "not a decimal number"),
        ("a number with a plus", price("\"+61837.63\""), "not a decimal number"),
        ("hexadecimal", price("\"0x10\""), "not a decimal number"),
        ("a leading zero", price("061837.63"), "the number's end expected"),
        ("null for a price", price("null"), "a number expected"),
        ("an object for a price", price("{}"), "a number expected"),
        ("a number of 100 digits", price(&format!("\"{}\"", "1".repeat(100))), "too long"),
        ("an escaped number", price("\"6183\\u0037.63\""), "escape"),
        ("a zero quantity", with("\"0.02000000\"", "\"0.0\""), "q 0 not allowed"),
        ("a negative quantity", with("\"0.02000000\"", "\"-1\""), "negative"),
        ("an unknown symbol", with("BTCUSDT", "DOGEUSDT"), "unknown symbol \"DOGEUSDT\""),
        ("an empty symbol", with("BTCUSDT", ""), "unknown symbol"),
        ("a symbol in small letters", with("BTCUSDT", "btcusdt"), "unknown symbol"),
        ("a symbol of 10,000 letters", with("BTCUSDT", &"B".repeat(10_000)), "unknown symbol"),
        ("a doubled price", with("\"q\"", "\"p\":\"1\",\"q\""), "field p is there twice"),
        ("a doubled symbol", with("\"t\"", "\"s\":\"ETHUSDT\",\"t\""), "field s is there twice"),
        ("doubled data", with("\"data\":", "\"data\":{},\"data\":"), "field data is there twice"),
        ("an escaped key", with("\"p\"", "\"\\u0070\""), "escape"),
        ("no price", with("\"p\":\"61837.63000000\",", ""), "field p is missing"),
        ("no id", with("\"t\":3735683259,", ""), "field t is missing"),
        ("no time", with("\"T\":1723161255342,", ""), "field T is missing"),
        ("no side", with("\"m\":true,", ""), "field m is missing"),
        ("a negative id", with("3735683259", "-1"), "not a whole number"),
        ("a fractional id", with("3735683259", "1.5"), "not a whole number"),
        ("an id of 2^64", with("3735683259", "18446744073709551616"), "not a whole number"),
        ("a time of 2^63 ms", with("1723161255342", "9223372036854775808"), "not a time"),
        ("a time past 2262", with("1723161255342", "9999999999999"), "not a time"),
        ("a negative time", with("1723161255342", "-1"), "not a whole number"),
        ("a side that is no side", with("\"m\":true", "\"m\":1"), "true or false expected"),
        ("an unknown event", with("\"e\":\"trade\"", "\"e\":\"tradf\""), "e \"tradf\" is not known"),
        ("an array", "[1,2]".into(), "an object expected"),
        ("an empty object", "{}".into(), "unknown frame"),
        ("a number", "7".into(), "an object expected"),
        ("a refusal", r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#.into(), "venue error"),
        ("a snapshot nobody asked for", r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#.into(), "no book waits"),
        ("a crossed book ticker", quote("61837.63000000", "61837.65"), "bid 61837.65 above ask"),
        ("a negative bid quantity", quote("3.78826000", "-3.7"), "negative"),
        ("a book ticker without an ask", quote(",\"a\":\"61837.64000000\"", ""), "field a is missing"),
        ("a depth event backwards", depth(9, 8, "", ""), "U \"9\" is not known"),
        ("a level without a quantity", depth(1, 2, r#"["1"]"#, ""), "field b is missing"),
        ("a level at zero", depth(1, 2, r#"["0.0","1"]"#, ""), "b 0 not allowed"),
        ("a level below zero", depth(1, 2, r#"["-1.0","1"]"#, ""), "negative"),
        ("a level that is no list", depth(1, 2, r#"{"1":2}"#, ""), "an array expected"),
        ("a depth event without asks", depth(1, 2, "", "").replace(",\"a\":[]", ""), "field b, a is missing"),
        ("doubled levels", depth(1, 2, "", "").replace("\"b\":[]", "\"b\":[],\"b\":[]"), "field b is there twice"),
        ("too many levels", depth(1, 2, &vec![r#"["1","1"]"#; 50_001].join(","), ""), "at most 50000"),
    ] {
        rows.push(bad(what, &frame, says));
    }
    assert!(rows.len() > 80);
    support::refuses(&decoder, &rows, TRADE.as_bytes());
}

#[test]
fn odd_times_are_left_to_the_stamp() {
    for millis in [0u64, 1, 4_102_444_800_000] {
        let frame = TRADE.replace("1723161255342", &millis.to_string());
        let (result, out) = decode(&mut *decoder(), frame.as_bytes());
        assert_eq!(result, Ok(FrameKind::Data));
        let stamper = ingest::stamp::Stamper::new(std::time::Duration::from_secs(5));
        let origin = model::Origin::Root { role: "ingest/binance".parse().unwrap(), epoch: 0, sequence: 1 };
        let (tick, _) = stamper.stamp(&out.ticks[0], support::RECV, origin);
        assert_eq!(tick.ts_event, support::RECV, "{millis}");
        assert!(tick.flags.any(model::TickFlags::TIME_REPLACED));
    }
}

#[test]
fn mutated_frames_never_panic() {
    let mut frames: Vec<Vec<u8>> = vec![TRADE.into(), TICKER.into()];
    frames.extend((0..20).map(|id| depth(id, id, r#"["100.0","1"],["99","0"]"#, r#"["101.0","2"]"#).into_bytes()));
    frames.push(br#"{"lastUpdateId":10,"bids":[["99.0","5"]],"asks":[["102","5"]]}"#.to_vec());
    for seed in 1..=4 {
        support::survives_mutations(&decoder, &frames, 25_000, seed);
    }
}

#[test]
fn texts_for_the_venue() {
    let plan = support::plan(&Binance, &["BTC-USDT", "ETH-USDT"], QuotesFrom::Both);
    let feeds: Vec<_> = plan.feeds().collect();
    let mut out = Vec::new();
    Binance.subscribe(&plan, &feeds, &mut out);
    assert_eq!(
        out,
        [
            r#"{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker","btcusdt@depth@100ms","ethusdt@trade","ethusdt@bookTicker","ethusdt@depth@100ms"],"id":1}"#
        ]
    );
    let endpoints = Binance.endpoints();
    let requests = Binance.ticker_requests(&endpoints, &plan, &[0, 1]);
    assert_eq!(
        requests[0].url,
        "https://api.binance.com/api/v3/ticker/24hr?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D"
    );
    let mut out = ingest::decode::Output::default();
    let body = r#"[{"symbol":"BTCUSDT","lastPrice":"61837.63000000","volume":"28461.13","quoteVolume":"1720000000.5","closeTime":1723161255342,"count":77},{"symbol":"ETHUSDT","lastPrice":"2683.8","volume":"1.0","quoteVolume":"2683.8","closeTime":1723161255342}]"#;
    Binance.decode_ticker(&plan, &requests[0], body.as_bytes(), support::RECV, &mut out).unwrap();
    let TickBody::Ticker(ticker) = out.ticks[0].body else { panic!() };
    assert_eq!((ticker.last.to_string(), ticker.volume_24h.to_string()), ("61837.63".into(), "28461.13".into()));
    for (body, says) in [
        (body.replace("ETHUSDT", "XRPUSDT"), "unknown symbol"),
        (body.replace("28461.13", "-1"), "negative"),
        (body.replace("61837.63000000", "0"), "must be above zero"),
        (r#"{"code":-1121,"msg":"Invalid symbol."}"#.into(), "venue error: \"Invalid symbol.\""),
        ("<html>".into(), "expected"),
    ] {
        let error = Binance.decode_ticker(&plan, &requests[0], body.as_bytes(), support::RECV, &mut out).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}
