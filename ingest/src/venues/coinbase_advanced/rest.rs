//! Last price and 24 h volume by `GET /api/v3/brokerage/market/products/{id}`.

use model::{Channel, TickBody, TickFlags, Ticker};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |place: &u16| RestRequest {
        url: format!("{}/api/v3/brokerage/market/products/{}", endpoints.rest, plan.listed(*place).symbol),
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
    let (mut product, mut last, mut volume, mut error) = (None, None, None, None);
    reader.object(|reader, key| match key {
        b"product_id" => fill(&mut product, "product_id", reader.text()?),
        b"price" => fill(&mut last, "price", reader.price("price")?),
        b"volume_24h" => fill(&mut volume, "volume_24h", reader.volume("volume_24h")?),
        b"error" => fill(&mut error, "error", reader.raw()?),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if let Some(error) = error {
        return Err(Refusal::Venue(Refusal::shown(error)).into());
    }
    let product = need(product, "product_id")?;
    let place = request.instruments.iter().find(|place| plan.listed(**place).symbol.as_bytes() == product);
    let place = *place.ok_or_else(|| Refusal::unknown_symbol(product))?;
    let ticker = Ticker {
        venue: plan.venue,
        instrument: plan.listed(place).instrument,
        last: need(last, "price")?,
        volume_24h: need(volume, "volume_24h")?,
        quote_volume_24h: None,
    };
    out.flagged(None, TickFlags::POLLED, TickBody::Ticker(ticker));
    out.saw(place, Channel::Ticker);
    Ok(())
}
