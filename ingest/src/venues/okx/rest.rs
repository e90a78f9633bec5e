//! 24 h figures by `GET /api/v5/market/ticker`.

use model::{Channel, TickBody, TickFlags, Ticker};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |place: &u16| RestRequest {
        url: format!("{}/api/v5/market/ticker?instId={}", endpoints.rest, plan.listed(*place).symbol),
        instruments: vec![*place],
    };
    instruments.iter().map(request).collect()
}

/// `vol24h` is in the base asset; for spot, `volCcy24h` is in the quote asset.
pub(super) fn decode_ticker(
    plan: &Plan,
    request: &RestRequest,
    body: &[u8],
    out: &mut Output,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body)?;
    let (mut code, mut message, mut data) = (None, None, None);
    reader.object(|reader, key| match key {
        b"code" => fill(&mut code, "code", reader.text()?),
        b"msg" => fill(&mut message, "msg", reader.text()?),
        b"data" => fill(&mut data, "data", reader.raw()?),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if need(code, "code")? != b"0" {
        return Err(Refusal::Venue(Refusal::shown(message.unwrap_or_default())).into());
    }
    let mut found = Vec::with_capacity(1);
    Reader::over(need(data, "data")?).array(|reader| {
        let (mut symbol, mut last, mut volume, mut quote, mut time) = (None, None, None, None, None);
        reader.object(|reader, key| match key {
            b"instId" => fill(&mut symbol, "instId", reader.text()?),
            b"last" => fill(&mut last, "last", reader.price("last")?),
            b"vol24h" => fill(&mut volume, "vol24h", reader.volume("vol24h")?),
            b"volCcy24h" => fill(&mut quote, "volCcy24h", reader.volume("volCcy24h")?),
            b"ts" => fill(&mut time, "ts", reader.millis("ts")?),
            _ => reader.skip(),
        })?;
        let symbol = need(symbol, "instId")?;
        let place = request.instruments.iter().find(|place| plan.listed(**place).symbol.as_bytes() == symbol);
        let place = *place.ok_or_else(|| Refusal::unknown_symbol(symbol))?;
        let ticker = Ticker {
            venue: plan.venue,
            instrument: plan.listed(place).instrument,
            last: need(last, "last")?,
            volume_24h: need(volume, "vol24h")?,
            quote_volume_24h: quote,
        };
        found.push((place, time, ticker));
        Ok(())
    })?;
    for (place, time, ticker) in found {
        out.flagged(time, TickFlags::POLLED, TickBody::Ticker(ticker));
        out.saw(place, Channel::Ticker);
    }
    Ok(())
}
