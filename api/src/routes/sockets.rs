//! `GET /ws`: one WebSocket for any number of subscriptions.
//!
//! ```text
//! → {"op":"subscribe","channel":"prices|candles|ticks|trades|book|instruments","assets":["BTC"],"interval":"1m","id":1}
//! ← {"op":"subscribed","channel":"prices","assets":["BTCUSDT"],"id":1}
//! ← {"channel":"prices","asset":"BTCUSDT","data":{…}}         the current value, then each change
//! → {"op":"unsubscribe", …}  ← {"op":"unsubscribed", …}
//! → {"op":"ping","id":2}     ← {"op":"pong","id":2}
//! ← {"op":"gap","channel":"ticks","asset":"BTCUSDT","missed":12}   trades that the client was too slow for
//! ← {"op":"error","error":{"code":…,"message":…},"id":1}
//! ```
//! `assets` may be left out for all of them; `interval` is for candles, one minute unless given; `id` may be
//! any JSON value and comes back.

use axum::extract::State;
use axum::extract::ws::Utf8Bytes;
use axum::response::Response;
use model::Interval;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::candles::interval;
use crate::hub::{Channel, Message, Subject, Subscriptions};
use crate::link::{self, Heard, Leave, Link, Upgrade};
use crate::problem::{ErrorBody, ErrorDetail, Problem, shown};
use crate::state::Shared;

/// A WebSocket for prices, candles and ticks, and for the trades, books and phases of our own markets.
///
/// Send `{"op":"subscribe","channel":"prices","assets":["BTC"]}`: the current value comes first, then each
/// change, as `{"channel","asset","interval","data"}`. `candles` take an `interval`; `unsubscribe` and `ping`
/// are the other operations; an `id` comes back in the answer. `book` begins with the whole book, whose changes
/// follow by `sequence`; `trades` with the last ones. A client that reads slowly gets the newest price and quotes,
/// and the whole book again; one that reads nothing for 5 s, does not answer pings or sends too much is closed.
#[utoipa::path(get, path = "/ws", tag = "streams", responses(
    (status = 101, description = "The protocol changes to WebSocket"),
    (status = 400, description = "The request is no WebSocket handshake", body = ErrorBody),
    (status = 403, description = "A page of another origin asks", body = ErrorBody),
    (status = 503, description = "Too many streams are open", body = ErrorBody),
))]
pub(super) async fn open_socket(State(state): State<Shared>, upgrade: Upgrade) -> Result<Response, Problem> {
    let limits = &state.config.limits;
    let rate = (limits.messages_burst_max, limits.messages_per_second_max);
    link::open(state, "ws", upgrade, rate, |link| Client::new(link).run())
}

/// What a client may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    #[serde(borrow)]
    op: std::borrow::Cow<'a, str>,
    channel: Option<Channel>,
    assets: Option<Vec<String>>,
    interval: Option<String>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// What a client is told, beside the data.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    op: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<Channel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    assets: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
}

impl<'a> Reply<'a> {
    const fn new(op: &'static str, id: Option<&'a RawValue>) -> Self {
        Self { op, channel: None, asset: None, assets: None, interval: None, missed: None, error: None, id }
    }

    fn text(&self) -> Utf8Bytes {
        serde_json::to_string(self).expect("a reply serialises to memory").into()
    }
}

/// One client.
struct Client {
    link: Link,
    subscriptions: Subscriptions,
    taken: Vec<Message>,
}

impl Client {
    /// Feeds that are sent from before the client's own messages are looked at again.
    const FEEDS_AT_ONCE: usize = 64;

    fn new(link: Link) -> Self {
        let state = link.state();
        let subscriptions = Subscriptions::new(&state.hub, state.config.limits.subscriptions_max);
        Self { subscriptions, taken: Vec::new(), link }
    }

    async fn run(mut self) -> (Link, Leave) {
        loop {
            if let Err(leave) = self.step().await {
                return (self.link, leave);
            }
        }
    }

    /// Sends some of what is new, then takes what the client says or waits for either. While it sends it does
    /// not read, so a client that sends without reading is pushed back and, when it stalls, closed.
    async fn step(&mut self) -> Result<(), Leave> {
        let more = self.send_news().await?;
        tokio::select! {
            biased;
            heard = self.link.hear(true) => match heard? {
                Heard::Text(text) => self.answer(&text).await,
                Heard::Binary => {
                    let message = "binary messages are not understood: send JSON text";
                    self.send_error(Problem::bad_request("bad_message", message), None).await
                }
                Heard::Nothing => Ok(()),
            },
            () = std::future::ready(()), if more => Ok(()),
            () = self.subscriptions.changed() => Ok(()),
        }
    }

    /// Whether there may be more.
    async fn send_news(&mut self) -> Result<bool, Leave> {
        let (mut sent, mut more) = (false, true);
        for _ in 0..Self::FEEDS_AT_ONCE {
            let Some(taken) = self.subscriptions.take(&mut self.taken) else {
                more = false;
                break;
            };
            sent = true;
            if taken.missed > 0 {
                let mut reply = Reply::new("gap", None);
                let asset = self.link.state().hub.symbol_of(taken.subject);
                (reply.channel, reply.asset) = (Some(taken.subject.channel()), Some(asset));
                (reply.interval, reply.missed) = (taken.subject.interval(), Some(taken.missed));
                let text = reply.text();
                self.link.add(text).await?;
            }
            for message in self.taken.drain(..) {
                self.link.add(message.text()).await?;
            }
        }
        if sent {
            self.link.flush().await?;
        }
        Ok(more)
    }

    async fn answer(&mut self, text: &str) -> Result<(), Leave> {
        let request: Request<'_> = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("the message is not understood: {error}");
                return self.send_error(Problem::bad_request("bad_message", message), None).await;
            }
        };
        let reply = match &*request.op {
            "ping" => Ok(Reply::new("pong", request.id)),
            "subscribe" => self.subscribe(&request),
            "unsubscribe" => self.unsubscribe(&request),
            other => {
                let message = format!("op {:?} is not known: subscribe, unsubscribe or ping", shown(other));
                Err(Problem::bad_request("bad_op", message))
            }
        };
        match reply {
            Ok(reply) => {
                let text = reply.text();
                self.link.say(text).await
            }
            Err(problem) => self.send_error(problem, request.id).await,
        }
    }

    async fn send_error(&mut self, problem: Problem, id: Option<&RawValue>) -> Result<(), Leave> {
        let mut reply = Reply::new("error", id);
        reply.error = Some(problem.into_detail());
        self.link.say(reply.text()).await
    }

    fn subscribe<'a>(&'a mut self, request: &Request<'a>) -> Result<Reply<'a>, Problem> {
        let state = self.link.state();
        let subjects = subjects(state, request)?;
        let added = self.subscriptions.add(&subjects);
        added.map_err(|error| Problem::bad_request("too_many_subscriptions", error.to_string()))?;
        Ok(about("subscribed", state, &subjects, request.id))
    }

    fn unsubscribe<'a>(&'a mut self, request: &Request<'a>) -> Result<Reply<'a>, Problem> {
        let state = self.link.state();
        let subjects = subjects(state, request)?;
        self.subscriptions.remove(&subjects);
        Ok(about("unsubscribed", state, &subjects, request.id))
    }
}

/// A reply that repeats what the request was about, in full names.
fn about<'a>(op: &'static str, state: &'a Shared, subjects: &[Subject], id: Option<&'a RawValue>) -> Reply<'a> {
    let mut reply = Reply::new(op, id);
    reply.channel = subjects.first().map(|subject| subject.channel());
    reply.interval = subjects.first().and_then(|subject| subject.interval());
    reply.assets = Some(subjects.iter().map(|subject| state.hub.symbol_of(*subject)).collect());
    reply
}

/// What a request is about; at least one subject.
fn subjects(state: &Shared, request: &Request<'_>) -> Result<Vec<Subject>, Problem> {
    let Some(channel) = request.channel else {
        let message = "channel is missing: prices, candles, ticks, trades, book or instruments";
        return Err(Problem::bad_request("bad_channel", message));
    };
    let of_markets = channel.is_of_markets();
    let mut assets = match &request.assets {
        None if of_markets => state.markets(None)?,
        None => state.assets(None)?,
        Some(names) if names.is_empty() => {
            let message = "assets is empty: name at least one, or leave it out for all of them";
            return Err(Problem::bad_request("bad_assets", message));
        }
        Some(names) if of_markets => names.iter().map(|name| state.market(name)).collect::<Result<_, _>>()?,
        Some(names) => names.iter().map(|name| state.asset(name)).collect::<Result<_, _>>()?,
    };
    assets.sort_unstable();
    assets.dedup();
    if channel != Channel::Candles && request.interval.is_some() {
        let message = format!("interval is for candles: {channel} have none");
        return Err(Problem::bad_request("bad_interval", message));
    }
    let interval = interval(request.interval.as_deref())?;
    Ok(assets
        .into_iter()
        .map(|asset| match channel {
            Channel::Prices => Subject::Prices(asset),
            Channel::Candles => Subject::Candles(asset, interval),
            Channel::Ticks => Subject::Ticks(asset),
            channel => Subject::Market(channel, asset),
        })
        .collect())
}
