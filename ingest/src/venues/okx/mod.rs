//! OKX v5 spot.
//!
//! Formats and rules: the venue's v5 API documentation. `trades` is aggregated per taker order, so its ids
//! leave gaps that mean nothing; books are proven by the chain `prevSeqId` → `seqId` (their checksum is always
//! zero nowadays).

mod decoder;
mod rest;

use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Ping, Plan, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// OKX spot.
#[derive(Debug, Clone, Copy)]
pub struct Okx;

impl Okx {
    fn request(plan: &Plan, operation: &str, feeds: &[Feed], out: &mut Vec<String>) {
        let mut args = Vec::new();
        for feed in feeds {
            let mut arg = |channel: &str| {
                let symbol = &plan.listed(feed.instrument).symbol;
                args.push(format!(r#"{{"channel":"{channel}","instId":"{symbol}"}}"#));
            };
            match feed.channel {
                Channel::Trades => arg("trades"),
                Channel::Quotes => {
                    if plan.wants_best() {
                        arg("bbo-tbt");
                    }
                    if plan.wants_book() {
                        arg("books");
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

impl Connector for Okx {
    fn name(&self) -> &'static str {
        "okx"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: "wss://ws.okx.com:8443/ws/v5/public".into(), rest: "https://www.okx.com".into() }
    }

    fn rules(&self) -> Rules {
        let minute = Duration::from_secs(60);
        Rules {
            connects: Budget { count: 3, per: Duration::from_secs(1) },
            // 480 requests to subscribe or unsubscribe an hour and connection.
            messages: Budget { count: 480, per: 60 * minute },
            instruments_max: 100,
            subscriptions_per_message: 40,
            // A connection that is silent for 30 s is cut; the text `ping` is answered by `pong`.
            ping: Some(Ping::Text { every: Duration::from_secs(20), message: |_| "ping".to_owned() }),
            connection_idle_max: Duration::from_secs(30),
            trades_idle_max: Some(10 * minute),
            quotes_idle_max: Some(minute),
            ticker_idle_max: Some(5 * minute),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            requests: Budget { count: 20, per: Duration::from_secs(2) },
        }
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        instrument.to_string()
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
        Box::new(decoder::OkxDecoder::new(plan))
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
