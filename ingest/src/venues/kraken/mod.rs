//! Kraken spot, WebSocket v2.
//!
//! Formats and rules: the venue's WebSocket v2 and REST documentation and its guide to book checksums. Quotes
//! come from the ten-level book, whose checksum proves it, unless the `ticker` channel is asked for. Prices and
//! quantities are JSON numbers whose zeros count for the checksum.

mod book;
mod decoder;
mod rest;

use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Ping, Plan, QuotesFrom, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// Levels of a side that are subscribed and that the checksum covers.
const DEPTH: usize = 10;

/// Kraken spot.
#[derive(Debug, Clone, Copy)]
pub struct Kraken;

impl Kraken {
    fn request(plan: &Plan, method: &str, feeds: &[Feed], out: &mut Vec<String>) {
        let trigger = if plan.wants_best() { "bbo" } else { "trades" };
        let ticker = format!(r#""channel":"ticker","event_trigger":"{trigger}""#);
        let book = format!(r#""channel":"book","depth":{DEPTH}"#);
        let channels: [(&str, &dyn Fn(Channel) -> bool); 3] = [
            (r#""channel":"trade","snapshot":true"#, &|channel| channel == Channel::Trades),
            (&book, &|channel| channel == Channel::Quotes && plan.wants_book()),
            (&ticker, &|channel| channel == Channel::Ticker || channel == Channel::Quotes && plan.wants_best()),
        ];
        for (params, serves) in channels {
            let mut places: Vec<u16> =
                feeds.iter().filter(|feed| serves(feed.channel)).map(|feed| feed.instrument).collect();
            places.dedup();
            for places in places.chunks(Self.rules().subscriptions_per_message) {
                let symbols: Vec<_> =
                    places.iter().map(|place| format!("\"{}\"", plan.listed(*place).symbol)).collect();
                out.push(format!(r#"{{"method":"{method}","params":{{{params},"symbol":[{}]}}}}"#, symbols.join(",")));
            }
        }
    }
}

impl Connector for Kraken {
    fn name(&self) -> &'static str {
        "kraken"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: "wss://ws.kraken.com/v2".into(), rest: "https://api.kraken.com".into() }
    }

    fn rules(&self) -> Rules {
        let minute = Duration::from_secs(60);
        Rules {
            // About 150 connects in ten minutes are allowed; the rate of messages is "dynamic".
            connects: Budget { count: 15, per: minute },
            messages: Budget { count: 10, per: Duration::from_secs(1) },
            instruments_max: 200,
            subscriptions_per_message: 50,
            ping: Some(Ping::Text {
                every: Duration::from_secs(30),
                message: |number| format!(r#"{{"method":"ping","req_id":{number}}}"#),
            }),
            // A heartbeat comes each second when nothing else does.
            connection_idle_max: Duration::from_secs(15),
            trades_idle_max: Some(10 * minute),
            quotes_idle_max: Some(minute),
            ticker_idle_max: Some(10 * minute),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            requests: Budget { count: 10, per: Duration::from_secs(10) },
        }
    }

    fn quotes_from(&self) -> QuotesFrom {
        QuotesFrom::Book
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        format!("{}/{}", instrument.base(), instrument.quote())
    }

    fn subscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "subscribe", feeds, out);
    }

    fn unsubscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "unsubscribe", feeds, out);
    }

    fn streams(&self, _plan: &Plan, _channel: Channel) -> bool {
        true
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(decoder::KrakenDecoder::new(plan))
    }

    fn snapshot_request(&self, _endpoints: &Endpoints, _plan: &Plan, _instrument: u16) -> Option<RestRequest> {
        None
    }

    fn ticker_requests(&self, endpoints: &Endpoints, plan: &Plan, instruments: &[u16]) -> Vec<RestRequest> {
        rest::ticker_requests(endpoints, plan, instruments)
    }

    fn decode_ticker(
        &self,
        plan: &Plan,
        request: &RestRequest,
        body: &[u8],
        _ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<(), DecodeError> {
        rest::decode_ticker(plan, request, body, out)
    }
}
