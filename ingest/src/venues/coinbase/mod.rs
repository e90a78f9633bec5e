//! Coinbase Exchange.
//!
//! Formats and rules: the venue's WebSocket feed documentation. Without a key there are `matches`, `ticker`,
//! `heartbeat` and `level2_batch`. Quotes come from `ticker`, which is sent with each match, or from the
//! `level2_batch` book, which has neither sequence nor checksum. The heartbeat names the last trade's id, which
//! shows lost trades and that quiet feeds live.

mod decoder;
mod rest;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Plan, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// Coinbase Exchange.
#[derive(Debug, Clone, Copy)]
pub struct Coinbase;

impl Coinbase {
    fn request(plan: &Plan, kind: &str, feeds: &[Feed], out: &mut Vec<String>) {
        let mut products = BTreeMap::<&str, Vec<u16>>::new();
        let mut add = |channel, place| {
            let places = products.entry(channel).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        };
        for feed in feeds {
            match feed.channel {
                Channel::Trades => add("matches", feed.instrument),
                Channel::Quotes => {
                    if plan.wants_best() {
                        add("ticker", feed.instrument);
                    }
                    if plan.wants_book() {
                        add("level2_batch", feed.instrument);
                    }
                }
                Channel::Ticker => add("ticker", feed.instrument),
            }
            if kind == "subscribe" {
                add("heartbeat", feed.instrument);
            }
        }
        for (channel, places) in products {
            for places in places.chunks(Self.rules().subscriptions_per_message) {
                let symbols: Vec<_> =
                    places.iter().map(|place| format!("\"{}\"", plan.listed(*place).symbol)).collect();
                let symbols = symbols.join(",");
                out.push(format!(r#"{{"type":"{kind}","product_ids":[{symbols}],"channels":["{channel}"]}}"#));
            }
        }
    }
}

impl Connector for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: "wss://ws-feed.exchange.coinbase.com".into(),
            rest: "https://api.exchange.coinbase.com".into(),
        }
    }

    fn rules(&self) -> Rules {
        let minute = Duration::from_secs(60);
        Rules {
            // 8 a second for an address; the first message must come within 5 s.
            connects: Budget { count: 30, per: minute },
            messages: Budget { count: 20, per: Duration::from_secs(1) },
            instruments_max: 200,
            subscriptions_per_message: 50,
            ping: None,
            connection_idle_max: Duration::from_secs(15),
            // A heartbeat each second and product stands in for quiet feeds.
            trades_idle_max: Some(Duration::from_secs(30)),
            quotes_idle_max: Some(minute),
            ticker_idle_max: Some(minute),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            requests: Budget { count: 8, per: Duration::from_secs(1) },
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

    fn streams(&self, _plan: &Plan, _channel: Channel) -> bool {
        true
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(decoder::CoinbaseDecoder::new(plan))
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
