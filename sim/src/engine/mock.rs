//! What every simulated venue serves beside its own interface, under `/mock/`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::core::VenueCore;
use super::rest::{RestReply, RestRequest};
use crate::faults::Fault;
use crate::text::{put, put_fixed, put_i64, put_trimmed};

/// Body of `POST /mock/faults`: `{"fault":{"kind":"silence","channel":"trade"},"for_ms":5000}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultOrder {
    fault: Fault,
    /// For how long; absent is until cleared.
    #[serde(default)]
    for_ms: Option<u64>,
}

/// Answers a call to `/mock/...` except the journal, which the server keeps.
pub(crate) fn serve(core: &mut VenueCore, request: &RestRequest) -> RestReply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", path) if path.starts_with("/mock/ticker/") => ticker(core, &path["/mock/ticker/".len()..]),
        ("GET", "/mock/faults") => {
            let active: Vec<&Fault> = core.hub.faults.active().collect();
            RestReply::value(200, &json!({ "active": active }))
        }
        ("DELETE", "/mock/faults") => {
            core.clear_faults();
            RestReply::value(200, &json!({ "active": [] }))
        }
        ("POST", "/mock/faults") => {
            let order: FaultOrder = match serde_json::from_slice(&request.body) {
                Ok(order) => order,
                Err(error) => return refused(400, format!("body is not a fault: {error}")),
            };
            let lasts = order.for_ms.map(std::time::Duration::from_millis);
            match core.begin_fault(order.fault, lasts) {
                Ok(()) => RestReply::value(200, &json!({ "active": core.hub.faults.active().collect::<Vec<_>>() })),
                Err(error) => refused(400, error.to_string()),
            }
        }
        _ => refused(404, format!("no such path: {}", request.path)),
    }
}

fn refused(status: u16, error: String) -> RestReply {
    RestReply::value(status, &json!({ "error": error }))
}

/// `{"symbol":"BTCUSDT","price":78850.12,"volume":18000.5,"timestamp":1787612486435}`: last price and 24 h
/// base volume as JSON numbers in their exact digits; the timestamp is the venue's clock in unix milliseconds.
fn ticker(core: &VenueCore, name: &str) -> RestReply {
    let wanted: String = name.chars().filter(|letter| *letter != '-').collect();
    let found = core.market.feeds.iter().find(|feed| {
        let instrument = feed.config.instrument;
        let (base, quote) = (instrument.base(), instrument.quote());
        wanted.len() == base.len() + quote.len()
            && wanted.is_char_boundary(base.len())
            && wanted[..base.len()].eq_ignore_ascii_case(base)
            && wanted[base.len()..].eq_ignore_ascii_case(quote)
    });
    let Some(feed) = found else {
        return RestReply::value(404, &Value::from_iter([("error", format!("symbol {name} not listed"))]));
    };
    let mut out = Vec::with_capacity(128);
    put(&mut out, "{\"symbol\":\"");
    put(&mut out, feed.config.instrument.base());
    put(&mut out, feed.config.instrument.quote());
    put(&mut out, "\",\"price\":");
    put_fixed(&mut out, feed.price_raw(feed.day.last()), feed.price_places());
    put(&mut out, ",\"volume\":");
    put_trimmed(&mut out, feed.volume_raw());
    put(&mut out, ",\"timestamp\":");
    put_i64(&mut out, core.hub.clock().div_euclid(1_000_000));
    out.push(b'}');
    RestReply::text(200, out)
}
