//! One WebSocket client, whatever it talks about: how much it may say, whether it is alive, how it is left.

use std::future::Future;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures_util::SinkExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::problem::Problem;
use crate::state::{Shared, StreamPlace};

/// What a handshake gave, or why it is none.
pub(crate) type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// Why a client is left.
#[derive(Debug)]
pub(crate) enum Leave {
    /// It said so, or is gone.
    Gone,
    /// We say so, with a code of RFC 6455 and a reason of at most 123 bytes.
    Close {
        /// The code.
        code: u16,
        /// What the client is told.
        reason: String,
        /// What it is counted as.
        metric: &'static str,
    },
}

impl Leave {
    /// The client broke a rule.
    pub(crate) const fn policy(reason: String, metric: &'static str) -> Self {
        Self::Close { code: close_code::POLICY, reason, metric }
    }
}

/// How many frames a client may send: `burst` at once, then one every `every`.
#[derive(Debug)]
struct Allowance {
    every: Duration,
    slack: Duration,
    per_second: u32,
    /// When all that was sent would have been due at the long-run rate.
    due: Instant,
}

impl Allowance {
    fn new(burst: u32, per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let every = Duration::from_secs(1) / per_second;
        Self { every, slack: every * burst.saturating_sub(1), per_second, due: Instant::now() }
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

/// What a client said.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A text.
    Text(Utf8Bytes),
    /// Bytes, which no route understands.
    Binary,
    /// Nothing that concerns the route.
    Nothing,
}

/// One client.
pub(crate) struct Link {
    state: Shared,
    socket: WebSocket,
    allowance: Allowance,
    /// When to ping; or, while a pong is due, when to give up.
    next_check: Instant,
    pong_due: bool,
    _place: StreamPlace,
}

/// Answers a handshake and lets `run` talk to the client until there is a reason to leave.
///
/// # Errors
/// When the request is no handshake, or all places are taken.
pub(crate) fn open<F>(
    state: Shared,
    kind: &'static str,
    upgrade: Upgrade,
    (burst, per_second): (u32, u32),
    run: impl FnOnce(Link) -> F + Send + 'static,
) -> Result<Response, Problem>
where
    F: Future<Output = (Link, Leave)> + Send + 'static,
{
    let upgrade = upgrade.map_err(|error| Problem::bad_request("no_websocket", format!("no WebSocket: {error}")))?;
    let place = state.stream_place(kind)?;
    let limits = &state.config.limits;
    let upgrade = upgrade
        .max_message_size(limits.message_bytes_max)
        .max_frame_size(limits.message_bytes_max)
        // The defaults take 128 KiB of memory a client, in both directions.
        .read_buffer_size(4 << 10)
        .write_buffer_size(16 << 10);
    let alive = state.tasks.token();
    Ok(upgrade.on_upgrade(move |socket| async move {
        let next_check = Instant::now() + state.config.limits.ping_every;
        let allowance = Allowance::new(burst, per_second);
        let link = Link { state, socket, allowance, next_check, pong_due: false, _place: place };
        let (mut link, leave) = run(link).await;
        link.part(leave).await;
        drop(alive);
    }))
}

impl Link {
    /// The server's state.
    pub(crate) const fn state(&self) -> &Shared {
        &self.state
    }

    /// Sends a text.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn say(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), Leave> {
        self.socket.send(Frame::Text(text.into())).await.map_err(|_| Leave::Gone)
    }

    /// Adds a text to those that the next [`Self::flush`] sends.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn add(&mut self, text: Utf8Bytes) -> Result<(), Leave> {
        self.socket.feed(Frame::Text(text)).await.map_err(|_| Leave::Gone)
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn flush(&mut self) -> Result<(), Leave> {
        self.socket.flush().await.map_err(|_| Leave::Gone)
    }

    /// Waits until the client says something, or must be left. Frames are taken only while `listens`; a client
    /// that sends more is pushed back. Cancel safe.
    ///
    /// # Errors
    /// When there is a reason to leave.
    pub(crate) async fn hear(&mut self, listens: bool) -> Result<Heard, Leave> {
        tokio::select! {
            biased;
            () = self.state.cancel.cancelled() => {
                Err(Leave::Close { code: close_code::AWAY, reason: "the server stops".into(), metric: "stop" })
            }
            () = sleep_until(self.next_check) => {
                // While nobody listens, a pong may lie unread.
                if self.pong_due && listens { Err(self.silent()) } else { self.ping().await }
            }
            frame = self.socket.recv(), if listens => self.receive(frame),
        }
    }

    fn silent(&self) -> Leave {
        let within = self.state.config.limits.pong_within.as_secs_f32();
        Leave::policy(format!("no answer to a ping within {within} s"), "no_pong")
    }

    async fn ping(&mut self) -> Result<Heard, Leave> {
        self.pong_due = true;
        self.next_check = Instant::now() + self.state.config.limits.pong_within;
        self.socket.send(Frame::Ping(Default::default())).await.map_err(|_| Leave::Gone)?;
        Ok(Heard::Nothing)
    }

    fn receive(&mut self, frame: Option<Result<Frame, axum::Error>>) -> Result<Heard, Leave> {
        let frame = match frame {
            None | Some(Ok(Frame::Close(_))) => return Err(Leave::Gone),
            Some(Err(error)) => return Err(self.refused(&error)),
            Some(Ok(frame)) => frame,
        };
        if !self.allowance.take(Instant::now()) {
            let reason = format!("more than {} messages a second", self.allowance.per_second);
            return Err(Leave::policy(reason, "flood"));
        }
        match frame {
            Frame::Text(text) => Ok(Heard::Text(text)),
            Frame::Binary(_) => Ok(Heard::Binary),
            Frame::Pong(_) => {
                self.pong_due = false;
                self.next_check = Instant::now() + self.state.config.limits.ping_every;
                Ok(Heard::Nothing)
            }
            // Pings are answered underneath; a close has been dealt with.
            Frame::Ping(_) | Frame::Close(_) => Ok(Heard::Nothing),
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

    /// Says goodbye, where there is somebody to say it to.
    async fn part(&mut self, leave: Leave) {
        if let Leave::Close { code, reason, metric } = leave {
            metrics::counter!("millrace_api_closed_total", "reason" => metric).increment(1);
            // A client that does not take the farewell within a second is cut off.
            let farewell = Frame::Close(Some(CloseFrame { code, reason: reason.into() }));
            let _ = timeout(Duration::from_secs(1), self.socket.send(farewell)).await;
        }
    }
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
