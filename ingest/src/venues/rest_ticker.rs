//! Any endpoint that answers `GET` with `{"symbol","price","volume","timestamp"}`.
//!
//! The REST address is a template with `{symbol}` in it. `volume` is the base volume of 24 hours; `timestamp`
//! is unix time in seconds, milliseconds, microseconds or nanoseconds (told apart by size), or RFC 3339.

use std::time::Duration;

use model::{Channel, Instrument, Price, TickBody, TickFlags, Ticker, UnixNanos, Volume};

use crate::connector::{Budget, Connector, Endpoints, Plan, RestRequest, Rules};
use crate::decode::{Decoder, Feed, FrameKind, Output};
use crate::json::{Reader, fill, need};
use crate::refusal::{DecodeError, Refusal};

/// A polled endpoint.
#[derive(Debug, Clone, Copy)]
pub struct RestTicker;

impl Connector for RestTicker {
    fn name(&self) -> &'static str {
        "rest_ticker"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: String::new(), rest: "http://127.0.0.1:8081/mock/ticker/{symbol}".into() }
    }

    fn rules(&self) -> Rules {
        let second = Duration::from_secs(1);
        Rules {
            connects: Budget { count: 1, per: second },
            messages: Budget { count: 1, per: second },
            instruments_max: 1_000,
            subscriptions_per_message: 1,
            ping: None,
            connection_idle_max: Duration::MAX,
            trades_idle_max: None,
            quotes_idle_max: None,
            // The poller waits for three polls in any case.
            ticker_idle_max: Some(5 * second),
            connection_age_max: Duration::MAX,
            requests: Budget { count: 200, per: second },
        }
    }

    fn channels(&self) -> &'static [Channel] {
        &[Channel::Ticker]
    }

    fn wants_symbol_in_rest(&self) -> bool {
        true
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        format!("{}{}", instrument.base(), instrument.quote())
    }

    fn subscribe(&self, _plan: &Plan, _feeds: &[Feed], _out: &mut Vec<String>) {}

    fn unsubscribe(&self, _plan: &Plan, _feeds: &[Feed], _out: &mut Vec<String>) {}

    fn streams(&self, _plan: &Plan, _channel: Channel) -> bool {
        false
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(Captured { plan: plan.clone() })
    }

    fn snapshot_request(&self, _endpoints: &Endpoints, _plan: &Plan, _instrument: u16) -> Option<RestRequest> {
        None
    }

    fn ticker_requests(&self, endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
        let request = |place: &u16| RestRequest {
            url: endpoints.rest.replace("{symbol}", &plan.listed(*place).symbol),
            instruments: vec![*place],
        };
        instruments.iter().map(request).collect()
    }

    fn decode_ticker(
        &self,
        plan: &Plan,
        request: &RestRequest,
        body: &[u8],
        _ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        decode(plan, &request.instruments, body, out)
    }
}

/// Answers that were captured, for a replay.
#[derive(Debug)]
struct Captured {
    plan: Plan,
}

impl Decoder for Captured {
    fn decode(&mut self, frame: &[u8], _ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError> {
        let all: Vec<u16> = (0..self.plan.instruments.len() as u16).collect();
        decode(&self.plan, &all, frame, out).map(|()| FrameKind::Data)
    }

    fn snapshot(
        &mut self,
        _instrument: u16,
        _body: &[u8],
        _ts_recv: UnixNanos,
        _out: &mut Output,
    ) -> Result<(), DecodeError> {
        Err(Refusal::UnknownFrame("a ticker endpoint has no book").into())
    }

    fn reset(&mut self) {}
}

#[derive(Default)]
struct Fields<'a> {
    symbol: Option<&'a [u8]>,
    price: Option<Price>,
    volume: Option<Volume>,
    time: Option<UnixNanos>,
    error: Option<&'a [u8]>,
}

fn decode(plan: &Plan, asked: &[u16], body: &[u8], out: &mut Output) -> Result<(), DecodeError> {
    let mut fields = Fields::default();
    let mut reader = Reader::new(body)?;
    reader.object(|reader, key| match key {
        b"symbol" => fill(&mut fields.symbol, "symbol", reader.text()?),
        b"price" => fill(&mut fields.price, "price", reader.price("price")?),
        b"volume" => fill(&mut fields.volume, "volume", reader.volume("volume")?),
        b"timestamp" => fill(&mut fields.time, "timestamp", time(reader)?),
        b"error" => fill(&mut fields.error, "error", reader.raw()?),
        _ => reader.skip(),
    })?;
    reader.finish()?;
    if let Some(message) = fields.error {
        return Err(Refusal::Venue(Refusal::shown(message)).into());
    }
    let symbol = need(fields.symbol, "symbol")?;
    let place = asked
        .iter()
        .copied()
        .find(|place| is_named(plan, *place, symbol))
        .ok_or_else(|| Refusal::unknown_symbol(symbol))?;
    let ticker = Ticker {
        venue: plan.venue,
        instrument: plan.listed(place).instrument,
        last: need(fields.price, "price")?,
        volume_24h: need(fields.volume, "volume")?,
        quote_volume_24h: None,
    };
    let time = need(fields.time, "timestamp")?;
    out.flagged(Some(time), TickFlags::POLLED, TickBody::Ticker(ticker));
    out.saw(place, Channel::Ticker);
    Ok(())
}

/// Answers name the symbol as it was asked for, or as the instrument (`BTC-USDT`).
fn is_named(plan: &Plan, place: u16, symbol: &[u8]) -> bool {
    let listed = plan.listed(place);
    listed.symbol.as_bytes() == symbol || listed.instrument.as_str().as_bytes() == symbol
}

fn time(reader: &mut Reader<'_>) -> Result<UnixNanos, DecodeError> {
    let field = "timestamp";
    if reader.peek()? == b'"' {
        let text = std::str::from_utf8(reader.text()?).unwrap_or_default();
        return match text.parse() {
            Ok(value) => scaled(value),
            Err(_) => UnixNanos::parse_rfc3339(text.as_bytes()).map_err(|_| Refusal::time(field, &text)),
        };
    }
    scaled(reader.unsigned(field)?)
}

/// Unix time in the unit that its size tells: seconds reach 10^11 in the year 5138, milliseconds begin with it
/// in 1973, and so on.
fn scaled(value: u64) -> Result<UnixNanos, DecodeError> {
    let unit: u64 = match value {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let nanos = value.checked_mul(unit).and_then(|nanos| i64::try_from(nanos).ok());
    nanos.map(UnixNanos).ok_or_else(|| Refusal::time("timestamp", &value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_time_is_told_by_its_size() {
        let expected = 1_787_612_486_000_000_000;
        for value in [1_787_612_486, 1_787_612_486_000, 1_787_612_486_000_000, 1_787_612_486_000_000_000u64] {
            assert_eq!(scaled(value).map(|time| time.0), Ok(expected), "{value}");
        }
        assert!(scaled(u64::MAX).is_err());
        for text in ["1787612486", "\"1787612486000\"", "\"2026-08-24T22:21:26Z\""] {
            let frame = format!("[{text}]");
            let mut found = None;
            let mut reader = Reader::new(frame.as_bytes()).expect("text");
            reader.array(|reader| fill(&mut found, "timestamp", time(reader)?)).expect("a time");
            assert!(found.is_some_and(|found| found.0.abs_diff(expected) < 86_400_000_000_000), "{text}: {found:?}");
        }
    }
}
