//! Kraken's public REST calls, which keep the old names of assets and pairs.

use serde_json::{Value, json};

use crate::engine::{Hub, RestReply, RestRequest};
use crate::market::book::Level;
use crate::market::{Feed, Market};
use crate::text::{put, put_fixed, put_u64};

/// Answers a call.
pub(super) fn serve(request: &RestRequest, hub: &Hub, market: &Market) -> RestReply {
    match request.path.as_str() {
        "/0/public/Ticker" => {
            let Some(pairs) = pairs(request, market) else {
                return RestReply::value(200, &json!({ "error": ["EQuery:Unknown asset pair"] }));
            };
            let minutes_today = (hub.clock().div_euclid(60_000_000_000).rem_euclid(1_440) + 1) as usize;
            let mut out = Vec::new();
            put(&mut out, "{\"error\":[],\"result\":{");
            for (index, at) in pairs.into_iter().enumerate() {
                put(&mut out, if index > 0 { ",\"" } else { "\"" });
                put(&mut out, &rest_key(&market.feeds[at]));
                put(&mut out, "\":");
                put_rest_ticker(&mut out, &market.feeds[at], minutes_today);
            }
            put(&mut out, "}}");
            RestReply::text(200, out)
        }
        "/0/public/AssetPairs" => {
            let pairs: serde_json::Map<String, Value> = market.feeds.iter().map(asset_pair).collect();
            RestReply::value(200, &json!({ "error": [], "result": pairs }))
        }
        "/0/public/Time" => {
            let second = hub.clock().div_euclid(1_000_000_000);
            RestReply::value(200, &json!({ "error": [], "result": { "unixtime": second } }))
        }
        _ => RestReply::value(404, &json!({ "error": ["EGeneral:Unknown method"] })),
    }
}

/// `pair=XBTUSD,ETHUSD` in any of the names that the venue knows; all without it.
fn pairs(request: &RestRequest, market: &Market) -> Option<Vec<usize>> {
    let Some(list) = request.parameter("pair") else { return Some((0..market.feeds.len()).collect()) };
    list.split(',')
        .map(|wanted| {
            market.feeds.iter().position(|feed| {
                let (base, quote) = rest_assets(feed);
                wanted == format!("{base}{quote}")
                    || wanted == format!("{base}/{quote}")
                    || wanted == rest_key(feed)
                    || wanted == format!("{}{}", feed.config.instrument.base(), quote)
            })
        })
        .collect()
}

/// Asset names of the REST interface: bitcoin is XBT, dogecoin XDG.
fn rest_assets(feed: &Feed) -> (&str, &str) {
    let instrument = &feed.config.instrument;
    let base = match instrument.base() {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        base => base,
    };
    (base, instrument.quote())
}

/// The key of a pair in REST results: old assets have an X before them and state currencies a Z, where both
/// or a stablecoin meet.
fn rest_key(feed: &Feed) -> String {
    const OLD: [&str; 8] = ["XBT", "ETH", "XRP", "LTC", "ETC", "XLM", "XMR", "ZEC"];
    const STATE: [&str; 5] = ["USD", "EUR", "GBP", "JPY", "CAD"];
    let (base, quote) = rest_assets(feed);
    match (OLD.contains(&base), STATE.contains(&quote)) {
        (true, true) => format!("X{base}Z{quote}"),
        (false, true) if base == "USDT" => format!("{base}Z{quote}"),
        _ => format!("{base}{quote}"),
    }
}

/// One pair of `/0/public/Ticker`.
fn put_rest_ticker(out: &mut Vec<u8>, feed: &Feed, minutes_today: usize) {
    let day = &feed.day;
    let places = feed.price_places().max(5);
    let price = |out: &mut Vec<u8>, ticks: i64| {
        out.push(b'"');
        put_fixed(out, feed.price_raw(ticks), places);
        out.push(b'"');
    };
    let volume = |out: &mut Vec<u8>, raw: i64| {
        out.push(b'"');
        put_fixed(out, raw, 8);
        out.push(b'"');
    };
    let none = Level { price: 0, quantity: 0 };
    let (bid, ask) = feed.book.best();
    for (name, level) in [("{\"a\":[", ask.unwrap_or(none)), (",\"b\":[", bid.unwrap_or(none))] {
        put(out, name);
        price(out, level.price);
        put(out, ",\"1\",");
        volume(out, feed.quantity_raw(level.quantity));
        out.push(b']');
    }
    put(out, ",\"c\":[");
    price(out, day.last());
    out.push(b',');
    volume(out, feed.quantity_raw(feed.recent.back().map_or(0, |(_, fill)| fill.quantity)));
    put(out, "],\"v\":[");
    volume(out, feed.quantity_raw(day.lots_of_last(minutes_today)));
    out.push(b',');
    volume(out, feed.volume_raw());
    put(out, "],\"p\":[");
    price(out, day.vwap());
    out.push(b',');
    price(out, day.vwap());
    put(out, "],\"t\":[");
    put_u64(out, day.trades());
    out.push(b',');
    put_u64(out, day.trades());
    for (name, ticks) in [("],\"l\":[", day.low()), ("],\"h\":[", day.high())] {
        put(out, name);
        price(out, ticks);
        out.push(b',');
        price(out, ticks);
    }
    put(out, "],\"o\":");
    price(out, day.open());
    out.push(b'}');
}

fn asset_pair(feed: &Feed) -> (String, Value) {
    let (base, quote) = rest_assets(feed);
    let pair = json!({
        "altname": format!("{base}{quote}"), "wsname": format!("{base}/{quote}"), "base": base, "quote": quote,
        "pair_decimals": feed.price_places(), "lot_decimals": 8, "status": "online",
    });
    (rest_key(feed), pair)
}
