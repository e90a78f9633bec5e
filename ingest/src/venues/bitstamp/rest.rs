//! 24 h figures by `GET /api/v2/ticker/{pair}/`, orders by `GET /api/v2/order_book/{pair}/?group=2`.

use model::{Channel, TickBody, TickFlags, Ticker, UnixNanos};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

pub(super) fn orders_request(endpoints: &Endpoints, plan: &Plan, instrument: u16) -> RestRequest {
    RestRequest {
        url: format!("{}/api/v2/order_book/{}/?group=2", endpoints.rest, plan.listed(instrument).symbol),
        instruments: vec![instrument],
    }
}

pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |place: &u16| RestRequest {
        url: format!("{}/api/v2/ticker/{}/", endpoints.rest, plan.listed(*place).symbol),
        instruments: vec![*place],
    };
    instruments.iter().map(request).collect()
}

pub(super) fn decode_ticker(
    plan: &Plan,
    request: &RestRequest,
    body: &[u8],
    out: &mut Output,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body)?;
    let (mut last, mut volume, mut time, mut error) = (None, None, None, None);
    reader.object(|reader, key| match key {
        b"last" => fill(&mut last, "last", reader.price("last")?),
        b"volume" => fill(&mut volume, "volume", reader.volume("volume")?),
        b"timestamp" => fill(&mut time, "timestamp", reader.unsigned("timestamp")?),
        b"error" | b"reason" => fill(&mut error, "error", reader.raw()?),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if let Some(error) = error {
        return Err(Refusal::Venue(Refusal::shown(error)).into());
    }
    let [place] = request.instruments[..] else {
        return Err(Refusal::UnknownFrame("an answer to no request").into());
    };
    let ticker = Ticker {
        venue: plan.venue,
        instrument: plan.listed(place).instrument,
        last: need(last, "last")?,
        volume_24h: need(volume, "volume")?,
        quote_volume_24h: None,
    };
    // Whole seconds.
    let millis = time.and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1_000));
    let time = millis.and_then(|millis| UnixNanos::from_millis(millis).ok());
    out.flagged(time, TickFlags::POLLED, TickBody::Ticker(ticker));
    out.saw(place, Channel::Ticker);
    Ok(())
}
