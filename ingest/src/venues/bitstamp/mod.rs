//! Bitstamp, WebSocket v2.
//!
//! Formats and rules: the venue's WebSocket v2 and HTTP documentation. There is no channel for the best bid and
//! ask: it is the top of `order_book`, which is sent whole each time. The channel of differences has neither
//! sequence nor checksum, so that a loss in it cannot be seen; a book that is kept here follows the orders
//! themselves (`live_orders`), whose events name the one before.

mod decoder;
mod orders;
mod rest;

use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Ping, Plan, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// Bitstamp spot.
#[derive(Debug, Clone, Copy)]
pub struct Bitstamp;

impl Bitstamp {
    fn request(plan: &Plan, event: &str, feeds: &[Feed], out: &mut Vec<String>) {
        for feed in feeds {
            let symbol = &plan.listed(feed.instrument).symbol;
            let mut message = |channel: &str| {
                out.push(format!(r#"{{"event":"{event}","data":{{"channel":"{channel}_{symbol}"}}}}"#));
            };
            match feed.channel {
                Channel::Trades => message("live_trades"),
                Channel::Quotes => {
                    if plan.wants_best() {
                        message("order_book");
                    }
                    if plan.wants_book() {
                        message("live_orders");
                    }
                }
                Channel::Ticker => {}
            }
        }
    }
}

impl Connector for Bitstamp {
    fn name(&self) -> &'static str {
        "bitstamp"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: "wss://ws.bitstamp.net".into(), rest: "https://www.bitstamp.net".into() }
    }

    fn rules(&self) -> Rules {
        let minute = Duration::from_secs(60);
        Rules {
            connects: Budget { count: 20, per: minute },
            messages: Budget { count: 20, per: Duration::from_secs(1) },
            instruments_max: 100,
            subscriptions_per_message: 1,
            ping: Some(Ping::Text {
                every: Duration::from_secs(20),
                message: |_| r#"{"event":"bts:heartbeat"}"#.to_owned(),
            }),
            connection_idle_max: Duration::from_secs(45),
            trades_idle_max: Some(30 * minute),
            quotes_idle_max: Some(minute),
            ticker_idle_max: Some(5 * minute),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            // 10,000 requests in ten minutes are allowed.
            requests: Budget { count: 100, per: Duration::from_secs(10) },
        }
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        format!("{}{}", instrument.base(), instrument.quote()).to_ascii_lowercase()
    }

    fn subscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "bts:subscribe", feeds, out);
    }

    fn unsubscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "bts:unsubscribe", feeds, out);
    }

    fn streams(&self, _plan: &Plan, channel: Channel) -> bool {
        channel != Channel::Ticker
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(decoder::BitstampDecoder::new(plan))
    }

    fn snapshot_request(&self, endpoints: &Endpoints, plan: &Plan, instrument: u16) -> Option<RestRequest> {
        Some(rest::orders_request(endpoints, plan, instrument))
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
