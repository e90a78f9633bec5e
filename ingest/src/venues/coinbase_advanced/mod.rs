//! Coinbase Advanced Trade.
//!
//! Formats and rules: the venue's WebSocket pages. `sequence_num` counts every frame of a connection, control
//! frames included, so that any lost frame shows, though not whose it was. Each channel needs a subscription of
//! its own, and without `heartbeats` quiet channels are closed. The side of a trade is the maker's.

mod decoder;
mod rest;

use std::time::Duration;

use model::{Channel, Instrument, UnixNanos};

use crate::connector::{Budget, Connector, Endpoints, Plan, QuotesFrom, RestRequest, Rules};
use crate::decode::{Decoder, Feed, Output};
use crate::refusal::DecodeError;

/// Coinbase Advanced Trade.
#[derive(Debug, Clone, Copy)]
pub struct CoinbaseAdvanced;

impl CoinbaseAdvanced {
    fn request(plan: &Plan, kind: &str, feeds: &[Feed], out: &mut Vec<String>) {
        let channels: [(&str, &dyn Fn(Channel) -> bool); 3] = [
            ("market_trades", &|channel| channel == Channel::Trades),
            ("level2", &|channel| channel == Channel::Quotes && plan.wants_book()),
            ("ticker", &|channel| channel == Channel::Ticker || channel == Channel::Quotes && plan.wants_best()),
        ];
        for (channel, serves) in channels {
            let mut places: Vec<u16> =
                feeds.iter().filter(|feed| serves(feed.channel)).map(|feed| feed.instrument).collect();
            places.dedup();
            for places in places.chunks(Self.rules().subscriptions_per_message) {
                let symbols: Vec<_> =
                    places.iter().map(|place| format!("\"{}\"", plan.listed(*place).symbol)).collect();
                let symbols = symbols.join(",");
                out.push(format!(r#"{{"type":"{kind}","product_ids":[{symbols}],"channel":"{channel}"}}"#));
            }
        }
    }
}

impl Connector for CoinbaseAdvanced {
    fn name(&self) -> &'static str {
        "coinbase_advanced"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints { websocket: "wss://advanced-trade-ws.coinbase.com".into(), rest: "https://api.coinbase.com".into() }
    }

    fn rules(&self) -> Rules {
        let minute = Duration::from_secs(60);
        Rules {
            connects: Budget { count: 30, per: minute },
            messages: Budget { count: 8, per: Duration::from_secs(1) },
            instruments_max: 100,
            subscriptions_per_message: 50,
            ping: None,
            // A heartbeat comes each second.
            connection_idle_max: Duration::from_secs(15),
            trades_idle_max: Some(10 * minute),
            quotes_idle_max: Some(minute),
            ticker_idle_max: Some(10 * minute),
            connection_age_max: Duration::from_secs(23 * 3_600 + 50 * 60),
            requests: Budget { count: 8, per: Duration::from_secs(1) },
        }
    }

    fn quotes_from(&self) -> QuotesFrom {
        QuotesFrom::Book
    }

    fn symbol(&self, instrument: &Instrument) -> String {
        instrument.to_string()
    }

    fn subscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        // Asked for again with each feed that is repaired, which changes nothing.
        out.push(r#"{"type":"subscribe","channel":"heartbeats"}"#.to_owned());
        Self::request(plan, "subscribe", feeds, out);
    }

    fn unsubscribe(&self, plan: &Plan, feeds: &[Feed], out: &mut Vec<String>) {
        Self::request(plan, "unsubscribe", feeds, out);
    }

    fn streams(&self, _plan: &Plan, _channel: Channel) -> bool {
        true
    }

    fn decoder(&self, plan: &Plan) -> Box<dyn Decoder> {
        Box::new(decoder::AdvancedDecoder::new(plan))
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
