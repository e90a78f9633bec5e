//! 24 h figures by `GET /v5/market/tickers`.

use model::{Channel, TickBody, TickFlags, Ticker};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |place: &u16| RestRequest {
        url: format!("{}/v5/market/tickers?category=spot&symbol={}", endpoints.rest, plan.listed(*place).symbol),
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
    let (mut code, mut message, mut list, mut time) = (None, None, None, None);
    reader.object(|reader, key| match key {
        b"retCode" => fill(&mut code, "retCode", reader.unsigned("retCode")?),
        b"retMsg" => fill(&mut message, "retMsg", reader.text()?),
        b"result" => reader.object(|reader, key| match key {
            b"list" => fill(&mut list, "list", reader.raw()?),
            _ => reader.skip(),
        }),
        b"time" => fill(&mut time, "time", reader.millis("time")?),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if need(code, "retCode")? != 0 {
        return Err(Refusal::Venue(Refusal::shown(message.unwrap_or_default())).into());
    }
    let mut found = Vec::with_capacity(1);
    Reader::over(need(list, "list")?).array(|reader| {
        let (mut symbol, mut last, mut volume, mut turnover) = (None, None, None, None);
        reader.object(|reader, key| match key {
            b"symbol" => fill(&mut symbol, "symbol", reader.text()?),
            b"lastPrice" => fill(&mut last, "lastPrice", reader.price("lastPrice")?),
            b"volume24h" => fill(&mut volume, "volume24h", reader.volume("volume24h")?),
            b"turnover24h" => fill(&mut turnover, "turnover24h", reader.raw()?),
            _ => reader.skip(),
        })?;
        let symbol = need(symbol, "symbol")?;
        let place = request.instruments.iter().find(|place| plan.listed(**place).symbol.as_bytes() == symbol);
        let place = *place.ok_or_else(|| Refusal::unknown_symbol(symbol))?;
        // Turnover has more decimals than we keep exactly, and is only a second look: it may be left out.
        let quote = turnover.and_then(|text| Reader::over(text).volume("turnover24h").ok());
        let ticker = Ticker {
            venue: plan.venue,
            instrument: plan.listed(place).instrument,
            last: need(last, "lastPrice")?,
            volume_24h: need(volume, "volume24h")?,
            quote_volume_24h: quote,
        };
        found.push((place, ticker));
        Ok(())
    })?;
    for (place, ticker) in found {
        out.flagged(time, TickFlags::POLLED, TickBody::Ticker(ticker));
        out.saw(place, Channel::Ticker);
    }
    Ok(())
}
