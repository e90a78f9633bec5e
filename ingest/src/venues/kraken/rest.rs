//! 24 h figures by `GET /0/public/Ticker`.

use model::{Price, TickBody, TickFlags, Ticker, Volume};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

/// One pair a request: the answer names pairs in a form of its own (`XXBTZUSD`), so that only the request
/// says which it is.
pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |place: &u16| {
        let pair: Vec<_> = plan.listed(*place).symbol.split('/').map(rest_asset).collect();
        let url = format!("{}/0/public/Ticker?pair={}", endpoints.rest, pair.concat());
        RestRequest { url, instruments: vec![*place] }
    };
    instruments.iter().map(request).collect()
}

/// The REST interface keeps the venue's old names of two assets.
fn rest_asset(asset: &str) -> &str {
    match asset {
        "BTC" => "XBT",
        "DOGE" => "XDG",
        other => other,
    }
}

pub(super) fn decode_ticker(
    plan: &Plan,
    request: &RestRequest,
    body: &[u8],
    out: &mut Output,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body)?;
    let mut error = None;
    let mut result = None;
    reader.object(|reader, key| match key {
        b"error" => {
            let raw = reader.raw()?;
            // An empty list is no error.
            if raw.contains(&b'"') {
                fill(&mut error, "error", raw)?;
            }
            Ok(())
        }
        b"result" => reader.object(|reader, _| fill(&mut result, "result", read_pair(reader)?)),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if let Some(message) = error {
        return Err(Refusal::Venue(Refusal::shown(message)).into());
    }
    let (last, volume) = need(result, "result")?;
    let [place] = request.instruments[..] else {
        return Err(Refusal::UnknownFrame("an answer to no request").into());
    };
    let instrument = plan.listed(place).instrument;
    let ticker = Ticker { venue: plan.venue, instrument, last, volume_24h: volume, quote_volume_24h: None };
    // The answer carries no time.
    out.flagged(None, TickFlags::POLLED, TickBody::Ticker(ticker));
    out.saw(place, model::Channel::Ticker);
    Ok(())
}

/// `c[0]` is the last price, `v[1]` the volume of the last 24 hours.
fn read_pair(reader: &mut Reader<'_>) -> Result<(Price, Volume), DecodeError> {
    let (mut last, mut volume) = (None, None);
    reader.object(|reader, key| match key {
        b"c" | b"v" => {
            let mut at = 0;
            reader.array(|reader| {
                at += 1;
                match (key, at) {
                    (b"c", 1) => fill(&mut last, "c", reader.price("c")?),
                    (b"v", 2) => fill(&mut volume, "v", reader.volume("v")?),
                    _ => reader.skip(),
                }
            })
        }
        _ => reader.skip(),
    })?;
    Ok((need(last, "c")?, need(volume, "v")?))
}
