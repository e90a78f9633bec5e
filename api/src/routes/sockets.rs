//! `GET /ws`: one WebSocket for any number of subscriptions.
//!
//! ```text
//! → {"op":"subscribe","channel":"prices|candles|ticks","assets":["BTC"],"interval":"1m","id":1}
//! ← {"op":"subscribed","channel":"prices","assets":["BTCUSDT"],"id":1}
//! ← {"channel":"prices","asset":"BTCUSDT","data":{…}}         the current value, then each change
//! → {"op":"unsubscribe", …}  ← {"op":"unsubscribed", …}
//! → {"op":"ping","id":2}     ← {"op":"pong","id":2}
//! ← {"op":"gap","channel":"ticks","asset":"BTCUSDT","missed":12}   trades that the client was too slow for
//! ← {"op":"error","error":{"code":…,"message":…},"id":1}
//! ```
//! `assets` may be left out for all of them; `interval` is for candles, one minute unless given; `id` may be
//! any JSON value and comes back.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::SinkExt;
use model::Interval;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout};

use super::candles::interval;
use crate::hub::{Channel, Message, Subject, Subscriptions};
use crate::problem::{ErrorBody, ErrorDetail, Problem, shown};
use crate::state::{Shared, StreamPlace};

/// A WebSocket for prices, candles and ticks.
///
/// Send `{"op":"subscribe","channel":"prices","assets":["BTC"]}`: the current value comes first, then each
/// change, as `{"channel","asset","interval","data"}`. `candles` take an `interval`; `unsubscribe` and `ping`
/// are the other operations; an `id` comes back in the answer. A client that reads slowly gets the newest
/// price and quotes; one that reads nothing for 5 s, does not answer pings or sends too much is closed.
#[utoipa::path(get, path = "/ws", tag = "streams", responses(
    (status = 101, description = "The protocol changes to WebSocket"),
    (status = 400, description = "The request is no WebSocket handshake", body = ErrorBody),
    (status = 403, description = "A page of another origin asks", body = ErrorBody),
    (status = 503, description = "Too many streams are open", body = ErrorBody),
))]
pub(super) async fn open_socket(
    State(state): State<Shared>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|error| Problem::bad_request("no_websocket", format!("no WebSocket: {error}")))?;
    let place = state.stream_place("ws")?;
    let limits = &state.config.limits;
    let upgrade = upgrade
        .max_message_size(limits.message_bytes_max)
        .max_frame_size(limits.message_bytes_max)
        // The defaults take 128 KiB of memory a client, in both directions.
        .read_buffer_size(4 << 10)
        .write_buffer_size(16 << 10);
    let alive = state.tasks.token();
    Ok(upgrade.on_upgrade(move |socket| async move {
        Client::new(state, socket, place).run().await;
        drop(alive);
    }))
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

    fn frame(&self) -> Frame {
        Frame::Text(serde_json::to_string(self).expect("a reply serialises to memory").into())
    }
}

/// Why a client is left.
enum Leave {
    /// It said so, or is gone.
    Gone,
    /// We say so, with a code of RFC 6455 and a reason.
    Close { code: u16, reason: String, metric: &'static str },
}

/// How many frames a client may send: `burst` at once, then one every `every`.
struct Allowance {
    every: Duration,
    slack: Duration,
    /// When all that was sent would have been due at the long-run rate.
    due: Instant,
}

impl Allowance {
    fn new(burst: u32, per_second: u32) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self { every, slack: every * burst.saturating_sub(1), due: Instant::now() }
    }

    /// Whether one more frame is in order now.
    fn take(&mut self, now: Instant) -> bool {
        let due = self.due.max(now);
        let ok = due - now <= self.slack;
        if ok {
            self.due = due + self.every;
        }
        ok
    }
}

/// One client.
struct Client {
    state: Shared,
    socket: WebSocket,
    subscriptions: Subscriptions,
    allowance: Allowance,
    taken: Vec<Message>,
    /// When to ping; or, while a pong is due, when to give up.
    next_check: Instant,
    pong_due: bool,
    _place: StreamPlace,
}

impl Client {
    /// Feeds that are sent from before the client's own messages are looked at again.
    const FEEDS_AT_ONCE: usize = 64;

    fn new(state: Shared, socket: WebSocket, place: StreamPlace) -> Self {
        let limits = &state.config.limits;
        Self {
            subscriptions: Subscriptions::new(&state.hub, limits.subscriptions_max),
            allowance: Allowance::new(limits.messages_burst_max, limits.messages_per_second_max),
            taken: Vec::new(),
            next_check: Instant::now() + limits.ping_every,
            pong_due: false,
            socket,
            _place: place,
            state,
        }
    }

    async fn run(mut self) {
        let leave = loop {
            if let Err(leave) = self.step().await {
                break leave;
            }
        };
        if let Leave::Close { code, reason, metric } = leave {
            metrics::counter!("millrace_api_closed_total", "reason" => metric).increment(1);
            // A client that does not take the farewell within a second is cut off.
            let farewell = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
            let _ = timeout(Duration::from_secs(1), self.socket.send(farewell)).await;
        }
    }

    /// Sends some of what is new, then takes what the client says or waits for either. While it sends it does
    /// not read, so a client that sends without reading is pushed back and, when it stalls, closed.
    async fn step(&mut self) -> Result<(), Leave> {
        let more = self.send_news().await?;
        tokio::select! {
            biased;
            () = self.state.cancel.cancelled() => {
                Err(Leave::Close { code: close_code::AWAY, reason: "the server stops".into(), metric: "stop" })
            }
            () = sleep_until(self.next_check) => self.check_alive().await,
            frame = self.socket.recv() => self.receive(frame).await,
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
                let asset = self.state.hub.symbol(taken.subject.asset());
                let mut reply = Reply::new("gap", None);
                (reply.channel, reply.asset) = (Some(taken.subject.channel()), Some(asset));
                (reply.interval, reply.missed) = (taken.subject.interval(), Some(taken.missed));
                self.socket.feed(reply.frame()).await.map_err(|_| Leave::Gone)?;
            }
            for message in self.taken.drain(..) {
                self.socket.feed(Frame::Text(message.text())).await.map_err(|_| Leave::Gone)?;
            }
        }
        if sent {
            self.socket.flush().await.map_err(|_| Leave::Gone)?;
        }
        Ok(more)
    }

    async fn check_alive(&mut self) -> Result<(), Leave> {
        let limits = &self.state.config.limits;
        if self.pong_due {
            let reason = format!("no answer to a ping within {} s", limits.pong_within.as_secs_f32());
            return Err(Leave::Close { code: close_code::POLICY, reason, metric: "no_pong" });
        }
        self.pong_due = true;
        self.next_check = Instant::now() + limits.pong_within;
        self.socket.send(Frame::Ping(Default::default())).await.map_err(|_| Leave::Gone)
    }

    async fn receive(&mut self, frame: Option<Result<Frame, axum::Error>>) -> Result<(), Leave> {
        let frame = match frame {
            None | Some(Ok(Frame::Close(_))) => return Err(Leave::Gone),
            Some(Err(error)) => return Err(self.refused(&error)),
            Some(Ok(frame)) => frame,
        };
        if !self.allowance.take(Instant::now()) {
            let limits = &self.state.config.limits;
            let reason = format!("more than {} messages a second", limits.messages_per_second_max);
            return Err(Leave::Close { code: close_code::POLICY, reason, metric: "flood" });
        }
        match frame {
            Frame::Text(text) => self.answer(&text).await,
            Frame::Binary(_) => {
                let problem = Problem::bad_request("bad_message", "binary messages are not understood: send JSON text");
                self.send_error(problem, None).await
            }
            Frame::Pong(_) => {
                self.pong_due = false;
                self.next_check = Instant::now() + self.state.config.limits.ping_every;
                Ok(())
            }
            // Pings are answered underneath; a close has been dealt with.
            Frame::Ping(_) | Frame::Close(_) => Ok(()),
        }
    }

    /// What to say about frames that are too long or break the protocol.
    fn refused(&self, error: &axum::Error) -> Leave {
        let text = error.to_string();
        if text.contains("too long") || text.contains("too big") {
            let reason = format!("messages have at most {} bytes", self.state.config.limits.message_bytes_max);
            return Leave::Close { code: close_code::SIZE, reason, metric: "too_long" };
        }
        Leave::Close { code: close_code::PROTOCOL, reason: "not a WebSocket frame".into(), metric: "protocol" }
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
                let frame = reply.frame();
                self.socket.send(frame).await.map_err(|_| Leave::Gone)
            }
            Err(problem) => self.send_error(problem, request.id).await,
        }
    }

    async fn send_error(&mut self, problem: Problem, id: Option<&RawValue>) -> Result<(), Leave> {
        let mut reply = Reply::new("error", id);
        reply.error = Some(problem.into_detail());
        self.socket.send(reply.frame()).await.map_err(|_| Leave::Gone)
    }

    fn subscribe<'a>(&'a mut self, request: &Request<'a>) -> Result<Reply<'a>, Problem> {
        let subjects = subjects(&self.state, request)?;
        let added = self.subscriptions.add(&subjects);
        added.map_err(|error| Problem::bad_request("too_many_subscriptions", error.to_string()))?;
        Ok(about("subscribed", &self.state, &subjects, request.id))
    }

    fn unsubscribe<'a>(&'a mut self, request: &Request<'a>) -> Result<Reply<'a>, Problem> {
        let subjects = subjects(&self.state, request)?;
        self.subscriptions.remove(&subjects);
        Ok(about("unsubscribed", &self.state, &subjects, request.id))
    }
}

/// A reply that repeats what the request was about, in full names.
fn about<'a>(op: &'static str, state: &'a Shared, subjects: &[Subject], id: Option<&'a RawValue>) -> Reply<'a> {
    let mut reply = Reply::new(op, id);
    reply.channel = subjects.first().map(|subject| subject.channel());
    reply.interval = subjects.first().and_then(|subject| subject.interval());
    reply.assets = Some(subjects.iter().map(|subject| state.hub.symbol(subject.asset())).collect());
    reply
}

/// What a request is about; at least one subject.
fn subjects(state: &Shared, request: &Request<'_>) -> Result<Vec<Subject>, Problem> {
    let Some(channel) = request.channel else {
        let message = "channel is missing: prices, candles or ticks";
        return Err(Problem::bad_request("bad_channel", message));
    };
    let mut assets = match &request.assets {
        None => state.assets(None)?,
        Some(names) if names.is_empty() => {
            let message = "assets is empty: name at least one, or leave it out for all of them";
            return Err(Problem::bad_request("bad_assets", message));
        }
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
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut allowance = Allowance::new(5, 10);
        let start = Instant::now();
        let mut allowed = |after: Duration| (0..20).filter(|_| allowance.take(start + after)).count();
        assert_eq!(allowed(Duration::ZERO), 5);
        assert_eq!(allowed(Duration::from_millis(250)), 2);
        assert_eq!(allowed(Duration::from_secs(60)), 5);
    }
}
