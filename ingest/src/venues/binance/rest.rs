//! 24 h figures by `GET /api/v3/ticker/24hr`.

use model::{Price, TickBody, TickFlags, Ticker, UnixNanos, Volume};

use crate::connector::{Endpoints, Plan, RestRequest};
use crate::decode::Output;
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

/// Symbols in one request: up to 20 weigh 2.
const SYMBOLS_PER_REQUEST: usize = 20;

pub(super) fn ticker_requests(endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
    let request = |instruments: &[u16]| {
        let symbols: Vec<_> =
            instruments.iter().map(|instrument| format!("%22{}%22", plan.listed(*instrument).symbol)).collect();
        RestRequest {
            url: format!("{}/api/v3/ticker/24hr?symbols=%5B{}%5D", endpoints.rest, symbols.join("%2C")),
            instruments: instruments.to_vec(),
        }
    };
    instruments.chunks(SYMBOLS_PER_REQUEST).map(request).collect()
}

#[derive(Default)]
struct Fields<'a> {
    symbol: Option<&'a [u8]>,
    last: Option<Price>,
    volume: Option<Volume>,
    quote_volume: Option<Volume>,
    close_time: Option<UnixNanos>,
}

/// An array of tickers, or one.
pub(super) fn decode_ticker(
    plan: &Plan,
    request: &RestRequest,
    body: &[u8],
    out: &mut Output,
) -> Result<(), DecodeError> {
    let mut reader = Reader::new(body)?;
    if reader.peek()? == b'[' {
        reader.array(|reader| one(plan, request, reader, out))?;
    } else {
        one(plan, request, &mut reader, out)?;
    }
    reader.finish()
}

fn one<'a>(plan: &Plan, request: &RestRequest, reader: &mut Reader<'a>, out: &mut Output) -> Result<(), DecodeError> {
    let mut fields = Fields::default();
    let mut error: Option<&'a [u8]> = None;
    reader.object(|reader, key| match key {
        b"symbol" => fill(&mut fields.symbol, "symbol", reader.text()?),
        b"lastPrice" => fill(&mut fields.last, "lastPrice", reader.price("lastPrice")?),
        b"volume" => fill(&mut fields.volume, "volume", reader.volume("volume")?),
        b"quoteVolume" => fill(&mut fields.quote_volume, "quoteVolume", reader.volume("quoteVolume")?),
        b"closeTime" => fill(&mut fields.close_time, "closeTime", reader.millis("closeTime")?),
        b"msg" => fill(&mut error, "msg", reader.raw()?),
        _ => reader.skip(),
    })?;
    if let Some(message) = error {
        return Err(Refusal::Venue(Refusal::shown(message)).into());
    }
    let symbol = need(fields.symbol, "symbol")?;
    let place = request
        .instruments
        .iter()
        .copied()
        .find(|place| plan.listed(*place).symbol.as_bytes() == symbol)
        .ok_or_else(|| Refusal::unknown_symbol(symbol))?;
    let ticker = Ticker {
        venue: plan.venue,
        instrument: plan.listed(place).instrument,
        last: need(fields.last, "lastPrice")?,
        volume_24h: need(fields.volume, "volume")?,
        quote_volume_24h: fields.quote_volume,
    };
    out.flagged(fields.close_time, TickFlags::POLLED, TickBody::Ticker(ticker));
    out.saw(place, model::Channel::Ticker);
    Ok(())
}
