//! Bybit v5 spot.
//!
//! Formats and rules: the venue's v5 API documentation. `orderbook.1` is a snapshot each time and repeats
//! itself every three seconds of quiet; deeper books are proven by `u`, which counts up by one.

mod decoder;
mod rest;

use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Ping, Plan, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// Bybit spot.
#[derive(Debug, Clone, Copy)]
pub struct Bybit;

impl Bybit {
    fn request(plan: &Plan, operation: &str, feeds: &[Feed], out: &mut Vec<String>) {
        let mut args = Vec::new();
        for feed in feeds {
            let symbol = &plan.listed(feed.instrument).symbol;
            match feed.channel {
                Channel::Trades => args.push(format!("\"publicTrade.{symbol}\"")),
                Channel::Quotes => {
                    if plan.wants_best() {
                        args.push(format!("\"orderbook.1.{symbol}\""));
                    }
                    if plan.wants_book() {
                        args.push(format!("\"orderbook.50.{symbol}\""));
                    }
                }
                Channel::Ticker => {}
            }
        }
        for args in args.chunks(Self.rules().subscriptions_per_message) {
            out.push(format!(r#"{{"op":"{operation}","args":[{}]}}"#, args.join(",")));
        }
    }
}

impl Connector for Bybit {
    fn name(&self) -> &'static str {
        "bybit"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: "wss://stream.bybit.com/v5/public/spot".into(), rest: "https://api.bybit.com".into() }
    }

    fn rules(&self) -> Rules {
        let minute = Duration::from_secs(60);
        Rules {
            connects: Budget { count: 500, per: 5 * minute },
            messages: Budget { count: 10, per: Duration::from_secs(1) },
            // The text of all arguments of a connection stays below 21,000 characters.
            instruments_max: 200,
            subscriptions_per_message: 10,
            ping: Some(Ping::Text {
                every: Duration::from_secs(20),
                message: |number| format!(r#"{{"req_id":"{number}","op":"ping"}}"#),
            }),
            connection_idle_max: Duration::from_secs(45),
            trades_idle_max: Some(10 * minute),
            quotes_idle_max: Some(minute),
            ticker_idle_max: Some(5 * minute),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            requests: Budget { count: 50, per: Duration::from_secs(5) },
        }
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        format!("{}{}", instrument.base(), instrument.quote())
    }

    fn subscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "subscribe", feeds, out);
    }

    fn unsubscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "unsubscribe", feeds, out);
    }

    fn streams(&self, _plan: &Plan, channel: Channel) -> bool {
        channel != Channel::Ticker
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(decoder::BybitDecoder::new(plan))
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
