//! Binance spot.
//!
//! Formats and rules: the venue's `web-socket-streams.md` and `rest-api.md`. Trades and best bid and ask come
//! from `@trade` and `@bookTicker` (which has no time), the book from `@depth@100ms` spliced onto the REST
//! snapshot. The same formats serve Binance.US.

mod decoder;
mod depth;
mod rest;

use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Plan, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// Binance spot.
#[derive(Debug, Clone, Copy)]
pub struct Binance;

impl Binance {
    fn request(plan: &Plan, method: &str, feeds: &[Feed], out: &mut Vec<String>) {
        let mut streams = Vec::new();
        for feed in feeds {
            let symbol = plan.listed(feed.instrument).symbol.to_ascii_lowercase();
            match feed.channel {
                Channel::Trades => streams.push(format!("\"{symbol}@trade\"")),
                Channel::Quotes => {
                    if plan.wants_best() {
                        streams.push(format!("\"{symbol}@bookTicker\""));
                    }
                    if plan.wants_book() {
                        streams.push(format!("\"{symbol}@depth@100ms\""));
                    }
                }
                Channel::Ticker => {}
            }
        }
        // Two streams per feed at most, so a message stays below the 4 kB that the venue takes at once.
        for (number, streams) in (1..).zip(streams.chunks(2 * Self.rules().subscriptions_per_message)) {
            out.push(format!(r#"{{"method":"{method}","params":[{}],"id":{number}}}"#, streams.join(",")));
        }
    }
}

impl Connector for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: "wss://stream.binance.com:9443".into(), rest: "https://api.binance.com".into() }
    }

    fn rules(&self) -> Rules {
        Rules {
            // 300 connects in 5 minutes and 5 messages a second are allowed; pongs count among the messages.
            connects: Budget { count: 30, per: Duration::from_secs(60) },
            messages: Budget { count: 4, per: Duration::from_secs(1) },
            // 1,024 streams on a connection, up to three for an instrument.
            instruments_max: 340,
            subscriptions_per_message: 50,
            // The venue pings every 20 s.
            ping: None,
            connection_idle_max: Duration::from_secs(45),
            trades_idle_max: Some(Duration::from_secs(300)),
            quotes_idle_max: Some(Duration::from_secs(60)),
            ticker_idle_max: Some(Duration::from_secs(200)),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            // 6,000 weight a minute; a snapshot of 1,000 levels weighs 50.
            requests: Budget { count: 100, per: Duration::from_secs(60) },
        }
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        format!("{}{}", instrument.base(), instrument.quote())
    }

    fn websocket_url(&self, endpoints: &Endpoints, _plan: &Plan) -> String {
        // An address with a path of its own stands as it is.
        let address = endpoints.websocket.trim_end_matches('/');
        let host = address.split_once("://").map_or(address, |(_, host)| host);
        if host.contains('/') { address.into() } else { format!("{address}/stream") }
    }

    fn subscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "SUBSCRIBE", feeds, out);
    }

    fn unsubscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "UNSUBSCRIBE", feeds, out);
    }

    fn streams(&self, _plan: &Plan, channel: Channel) -> bool {
        channel != Channel::Ticker
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(decoder::BinanceDecoder::new(plan))
    }

    fn snapshot_request(&self, endpoints: &Endpoints, plan: &Plan, instrument: u16) -> Option<RestRequest> {
        let symbol = &plan.listed(instrument).symbol;
        let url = format!("{}/api/v3/depth?symbol={symbol}&limit=1000", endpoints.rest);
        Some(RestRequest { url, instruments: vec![instrument] })
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
