//! Server-sent events: `GET /sse/prices`, `/sse/candles`, `/sse/ticks` and `/sse/markets`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::candles::interval;
use crate::hub::{Channel, Message, Subject, Subscriptions};
use crate::problem::{ErrorBody, Parameters, Problem, shown};
use crate::state::{Shared, StreamPlace};

/// Which assets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AssetsQuery {
    /// Comma-separated names; every asset unless given.
    #[param(example = "BTC,ETH")]
    assets: Option<String>,
}

/// Which assets and which interval.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CandleEventsQuery {
    /// Comma-separated names; every asset unless given.
    #[param(example = "BTC,ETH")]
    assets: Option<String>,
    /// `1s`, `1m`, `5m`, `15m`, `1h` or `1d`; `1m` unless given.
    #[param(example = "1m")]
    interval: Option<String>,
}

/// Which channel of which of our own markets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MarketEventsQuery {
    /// `trades`, `book` or `instruments`.
    #[param(example = "book")]
    channel: String,
    /// Markets, separated by commas; all of them unless given.
    #[param(example = "BTC,ETH")]
    assets: Option<String>,
}

/// Composite prices as they are published: the current one of each asset first.
///
/// Each event is named `prices`; its data is `{"channel":"prices","asset":…,"data":…}` with the price as
/// `GET /prices/{asset}` answers it. A client that is slower than the prices gets the newest.
#[utoipa::path(get, path = "/sse/prices", tag = "streams", params(AssetsQuery), responses(
    (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
    (status = 404, description = "An asset is not served", body = ErrorBody),
    (status = 503, description = "Too many streams are open", body = ErrorBody),
))]
pub(super) async fn price_events(
    State(state): State<Shared>,
    Parameters(query): Parameters<AssetsQuery>,
) -> Result<Response, Problem> {
    let assets = state.assets(query.assets.as_deref())?;
    stream_of(&state, assets.into_iter().map(Subject::Prices).collect())
}

/// Candles as they become final or are corrected: the newest of each asset first.
///
/// Each event is named `candles`; its data is `{"channel":"candles","asset":…,"interval":…,"data":…}`.
#[utoipa::path(get, path = "/sse/candles", tag = "streams", params(CandleEventsQuery), responses(
    (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
    (status = 400, description = "The interval is not known", body = ErrorBody),
    (status = 404, description = "An asset is not served", body = ErrorBody),
    (status = 503, description = "Too many streams are open", body = ErrorBody),
))]
pub(super) async fn candle_events(
    State(state): State<Shared>,
    Parameters(query): Parameters<CandleEventsQuery>,
) -> Result<Response, Problem> {
    let interval = interval(query.interval.as_deref())?;
    let assets = state.assets(query.assets.as_deref())?;
    stream_of(&state, assets.into_iter().map(|asset| Subject::Candles(asset, interval)).collect())
}

/// Market data of the venues as it comes: the newest quotes, tickers and feed states and the last trade first.
///
/// Each event is named `ticks`; its data is `{"channel":"ticks","asset":…,"data":…}`. A slow client gets the
/// newest quotes and every trade, or a `gap` event with the number of trades that it was too slow for.
#[utoipa::path(get, path = "/sse/ticks", tag = "streams", params(AssetsQuery), responses(
    (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
    (status = 404, description = "An asset is not served", body = ErrorBody),
    (status = 503, description = "Too many streams are open", body = ErrorBody),
))]
pub(super) async fn tick_events(
    State(state): State<Shared>,
    Parameters(query): Parameters<AssetsQuery>,
) -> Result<Response, Problem> {
    let assets = state.assets(query.assets.as_deref())?;
    stream_of(&state, assets.into_iter().map(Subject::Ticks).collect())
}

/// Our own markets: `trades`, `book` or `instruments`, the current state first, then each change.
///
/// Each event is named as the channel; its data is `{"channel":"book","asset":…,"data":…}` with the record of the
/// topic. A client that is too slow for a book gets the whole book again.
#[utoipa::path(get, path = "/sse/markets", tag = "streams", params(MarketEventsQuery), responses(
    (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
    (status = 400, description = "The channel is not one of those", body = ErrorBody),
    (status = 404, description = "A market is not one of ours", body = ErrorBody),
    (status = 503, description = "Too many streams are open, or there is no exchange", body = ErrorBody),
))]
pub(super) async fn market_events(
    State(state): State<Shared>,
    Parameters(query): Parameters<MarketEventsQuery>,
) -> Result<Response, Problem> {
    let Some(channel) = Channel::MARKETS.into_iter().find(|channel| channel.as_str() == query.channel) else {
        let message = format!("channel {:?} is not known: trades, book or instruments", shown(&query.channel));
        return Err(Problem::bad_request("bad_channel", message));
    };
    let markets = state.markets(query.assets.as_deref())?;
    stream_of(&state, markets.into_iter().map(|market| Subject::Market(channel, market)).collect())
}

/// A client's events. It is polled only while the connection takes more, and takes from the feeds only then.
struct Events {
    state: Shared,
    subscriptions: Subscriptions,
    ready: VecDeque<Bytes>,
    taken: Vec<Message>,
    silence_max: Duration,
    _place: StreamPlace,
}

fn stream_of(state: &Shared, subjects: Vec<Subject>) -> Result<Response, Problem> {
    let place = state.stream_place("sse")?;
    let limits = &state.config.limits;
    let mut subscriptions = Subscriptions::new(&state.hub, limits.subscriptions_max);
    subscriptions.add(&subjects).map_err(|error| Problem::bad_request("too_many_assets", error.to_string()))?;
    let events = Events {
        state: Shared::clone(state),
        subscriptions,
        // How long a browser waits before it comes back, in milliseconds.
        ready: VecDeque::from([Bytes::from_static(b"retry: 2000\n\n")]),
        taken: Vec::new(),
        silence_max: limits.ping_every,
        _place: place,
    };
    let body = stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<Bytes, Infallible>(event), events))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Events {
    /// The next event; none when the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.state.cancel.is_cancelled() {
                return None;
            }
            if let Some(taken) = self.subscriptions.take(&mut self.taken) {
                if taken.missed > 0 {
                    let asset = self.state.hub.symbol_of(taken.subject);
                    let (channel, missed) = (taken.subject.channel(), taken.missed);
                    let data = format!(r#"{{"channel":"{channel}","asset":"{asset}","missed":{missed}}}"#);
                    self.ready.push_back(format!("event: gap\ndata: {data}\n\n").into());
                }
                self.ready.extend(self.taken.drain(..).map(|message| message.event()));
                continue;
            }
            tokio::select! {
                () = self.subscriptions.changed() => {}
                () = self.state.cancel.cancelled() => return None,
                // A comment keeps proxies from closing the stream, and shows when the client is gone.
                () = tokio::time::sleep(self.silence_max) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }
}
