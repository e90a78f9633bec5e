//! Last price and 24 h volume by `GET /products/{id}/ticker`.

use model::{TickBody, TickFlags, Ticker};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |place: &u16| {
        let url = format!("{}/products/{}/ticker", endpoints.rest, plan.listed(*place).symbol);
        RestRequest { url, instruments: vec![*place] }
    };
    instruments.iter().map(request).collect()
}

/// The answer does not name its product: the request does.
pub(super) fn decode_ticker(
    plan: &Plan,
    request: &RestRequest,
    body: &[u8],
    out: &mut Output,
) -> Result<(), DecodeError> {
    let (mut last, mut volume, mut time, mut message) = (None, None, None, None);
    let mut reader = Reader::new(body)?;
    reader.object(|reader, key| match key {
        b"price" => fill(&mut last, "price", reader.price("price")?),
        b"volume" => fill(&mut volume, "volume", reader.volume("volume")?),
        b"time" => fill(&mut time, "time", reader.rfc3339("time")?),
        b"message" => fill(&mut message, "message", reader.raw()?),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if let Some(message) = message {
        return Err(Refusal::Venue(Refusal::shown(message)).into());
    }
    let [place] = request.instruments[..] else {
        return Err(Refusal::UnknownFrame("an answer to no request").into());
    };
    let ticker = Ticker {
        venue: plan.venue,
        instrument: plan.listed(place).instrument,
        last: need(last, "price")?,
        volume_24h: need(volume, "volume")?,
        quote_volume_24h: None,
    };
    // The time is the last trade's and may be old; the figures are of now.
    need(time, "time")?;
    out.flagged(None, TickFlags::POLLED, TickBody::Ticker(ticker));
    out.saw(place, model::Channel::Ticker);
    Ok(())
}
