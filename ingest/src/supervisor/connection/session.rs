//! From the handshake to the end of one connection.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use model::{Channel, FeedPhase, UnixNanos};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use super::outbound::Outbound;
use super::recovery::Attempts;
use super::{Connection, End};
use crate::clock;
use crate::config::SourceConfig;
use crate::connector::{Ping, Plan};
use crate::decode::{FRAME_BYTES_MAX, Feed, Signal};
use crate::outlet::Full;
use crate::refusal::{DecodeError, Refusal};
use crate::supervisor::rest::NoAnswer;
use crate::supervisor::watchdog::Bark;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Time for the handshake.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Time for one message to leave: a venue that reads nothing is lost.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How often the watchdog looks.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// The answer to a snapshot request.
struct Snapshot {
    instrument: u16,
    url: String,
    answer: Result<(Vec<u8>, UnixNanos), NoAnswer>,
}

/// What a session holds beside the connection's own state.
struct Session {
    outbound: Outbound,
    snapshots: mpsc::Sender<Snapshot>,
    snapshot_attempts: Attempts<u16>,
    subscribe_attempts: Attempts<Feed>,
    /// Subscriptions to be made anew later.
    later: Vec<(Instant, Feed)>,
    pings: u64,
    barks: Vec<Bark>,
    stop: CancellationToken,
}

/// Connects and shakes hands; the reason where that fails.
pub(super) async fn connect(source: &SourceConfig, plan: &Plan) -> Result<Socket, String> {
    let url = source.connector.websocket_url(&source.endpoints, plan);
    let config =
        WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let connecting = tokio_tungstenite::connect_async_with_config(&url, Some(config), true);
    match tokio::time::timeout(CONNECT_MAX, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(format!("{url}: {error}")),
        Err(_) => Err(format!("{url}: no handshake within {CONNECT_MAX:?}")),
    }
}

impl Connection {
    /// Subscribes and reads until something ends the session.
    pub(super) async fn serve(&mut self, mut socket: Socket, stop: &CancellationToken) -> End {
        let (sender, mut snapshots) = mpsc::channel(16);
        // Whatever the session started ends with it.
        let session_stop = stop.child_token();
        let _guard = session_stop.clone().drop_guard();
        let mut session = Session {
            outbound: Outbound::new(self.source.rules.messages),
            snapshots: sender,
            snapshot_attempts: Attempts::new(),
            subscribe_attempts: Attempts::new(),
            later: Vec::new(),
            pings: 0,
            barks: Vec::new(),
            stop: session_stop,
        };
        self.subscribe_all(&mut session);
        // Connections are renewed at slightly different ages, so that they do not all go at once.
        let age_max = self.source.rules.connection_age_max.mul_f64(0.98 + fastrand::f64() * 0.02);
        let age = tokio::time::sleep(age_max);
        tokio::pin!(age);
        let ping_every = match self.source.rules.ping {
            Some(Ping::Text { every, .. } | Ping::Frame { every }) => Some(every),
            None => None,
        };
        let mut ping = timer(ping_every.unwrap_or(Duration::from_secs(3_600)));
        let mut watch = timer(WATCH_EVERY);
        loop {
            let due = session.outbound.due();
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
                    Some(End::Stopped)
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    match session.outbound.take(Instant::now()) {
                        Some(text) => send(&mut socket, Message::text(text)).await.err(),
                        None => None,
                    }
                }
                _ = watch.tick() => self.watch(&mut session),
                _ = ping.tick(), if ping_every.is_some() => {
                    session.pings += 1;
                    match self.source.rules.ping {
                        Some(Ping::Text { message, .. }) => {
                            session.outbound.first(message(session.pings), Instant::now());
                            None
                        }
                        _ => send(&mut socket, Message::Ping(Default::default())).await.err(),
                    }
                }
                () = &mut age => Some(End::Renew(format!("renewed at the age of {age_max:?}"))),
                Some(snapshot) = snapshots.recv() => self.snapshot(&mut session, snapshot),
                message = socket.next() => self.message(&mut session, message),
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    fn subscribe_all(&mut self, session: &mut Session) {
        let feeds: Vec<Feed> = self.intake.plan.feeds().collect();
        let mut messages = Vec::new();
        self.source.connector.subscribe(&self.intake.plan, &feeds, &mut messages);
        session.outbound.extend(messages, Instant::now());
    }

    fn resubscribe(&mut self, session: &mut Session, feed: Feed) {
        let plan = &self.intake.plan;
        let mut messages = Vec::new();
        self.source.connector.unsubscribe(plan, &[feed], &mut messages);
        self.source.connector.subscribe(plan, &[feed], &mut messages);
        session.outbound.extend(messages, Instant::now());
    }

    fn message(&mut self, session: &mut Session, message: Option<Result<Message, Error>>) -> Option<End> {
        let now = Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => {
                self.watchdog.frame(now);
                self.text(session, text.as_bytes(), now)
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                self.watchdog.frame(now);
                None
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.watchdog.frame(now);
                self.frames += 1;
                self.refuse(&Refusal::Binary(bytes.len()).into(), &bytes);
                None
            }
            Some(Ok(Message::Close(frame))) => Some(End::Lost(match frame {
                Some(frame) => format!("closed by the venue: {} {}", frame.code, frame.reason),
                None => "closed by the venue".into(),
            })),
            Some(Ok(Message::Frame(_))) => None,
            Some(Err(error)) => Some(self.failed(&error)),
            None => Some(End::Lost("closed by the venue".into())),
        }
    }

    fn text(&mut self, session: &mut Session, text: &[u8], now: Instant) -> Option<End> {
        self.frames += 1;
        let ts_recv = clock::now();
        let (number, sessions, frames) = (self.number, self.sessions, self.frames);
        let offset = || Self::offset(number, sessions, frames);
        let taken = self.intake.frame(&mut *self.decoder, text, ts_recv, &mut self.out, offset);
        self.after(session, taken, ts_recv, now)
    }

    /// What a frame or snapshot leaves to be done beside its ticks.
    fn after(
        &mut self,
        session: &mut Session,
        taken: Result<(), Full>,
        ts_recv: UnixNanos,
        now: Instant,
    ) -> Option<End> {
        for index in 0..self.out.seen.len() {
            let feed = self.out.seen[index];
            if self.watchdog.saw(feed, now) {
                self.intake.tell(feed, FeedPhase::Live, 0, ts_recv);
            }
        }
        let mut end = None;
        for signal in std::mem::take(&mut self.out.signals) {
            match signal {
                Signal::Gap { feed, missing } => self.intake.tell(feed, FeedPhase::Gap, missing, ts_recv),
                Signal::Recovered(feed) => {
                    session.snapshot_attempts.succeeded(feed.instrument);
                    session.subscribe_attempts.succeeded(feed);
                    self.intake.tell(feed, FeedPhase::Live, 0, ts_recv);
                }
                Signal::NeedSnapshot(instrument) => self.ask_snapshot(session, instrument, now),
                Signal::Resubscribe(feed) => {
                    let pause = session.subscribe_attempts.pause(feed, now);
                    session.later.push((now + pause, feed));
                }
                Signal::Reconnect(reason) => end = Some(End::Renew(reason.into())),
                Signal::Subscribed(feed) => tracing::debug!(venue = %self.source.venue, ?feed, "subscribed"),
            }
        }
        if taken.is_err() {
            return Some(End::Full);
        }
        // Without a pause most of the time: subscribe at once rather than at the watchdog's next look.
        self.subscribe_due(session, now);
        end
    }

    fn subscribe_due(&mut self, session: &mut Session, now: Instant) {
        if session.later.is_empty() {
            return;
        }
        let (due, later): (Vec<_>, Vec<_>) = session.later.drain(..).partition(|(at, _)| *at <= now);
        session.later = later;
        for (_, feed) in due {
            self.resubscribe(session, feed);
        }
    }

    /// Fetches a book's snapshot in the background; where the venue has none by REST, subscribes anew.
    fn ask_snapshot(&mut self, session: &mut Session, instrument: u16, now: Instant) {
        let request = self.source.connector.snapshot_request(&self.source.endpoints, &self.intake.plan, instrument);
        let Some(request) = request else {
            let feed = Feed::new(instrument, Channel::Quotes);
            let pause = session.subscribe_attempts.pause(feed, now);
            return session.later.push((now + pause, feed));
        };
        let pause = session.snapshot_attempts.pause(instrument, now);
        let (rest, answers, stop) = (self.rest.clone(), session.snapshots.clone(), session.stop.clone());
        tokio::spawn(async move {
            let fetch = async {
                tokio::time::sleep(pause).await;
                let answer = rest.get(&request.url).await;
                // The session may have ended.
                let _ = answers.send(Snapshot { instrument, url: request.url, answer }).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = fetch => {}
            }
        });
    }

    fn snapshot(&mut self, session: &mut Session, snapshot: Snapshot) -> Option<End> {
        let now = Instant::now();
        let (body, ts_recv) = match snapshot.answer {
            Ok(answer) => answer,
            Err(no_answer) => {
                match no_answer {
                    NoAnswer::Unreachable(reason) => self.intake.trouble(reason),
                    NoAnswer::Refused(error) => {
                        let offset = format!("connection {}.{} {}", self.number, self.sessions, snapshot.url);
                        self.intake.refuse(offset, &error, &[], clock::now());
                    }
                }
                self.ask_snapshot(session, snapshot.instrument, now);
                return None;
            }
        };
        self.out.clear();
        if let Err(error) = self.decoder.snapshot(snapshot.instrument, &body, ts_recv, &mut self.out) {
            let offset = format!("connection {}.{} {}", self.number, self.sessions, snapshot.url);
            self.intake.refuse(offset, &error, &body, ts_recv);
            self.out.clear();
            self.ask_snapshot(session, snapshot.instrument, now);
            return None;
        }
        let taken = self.intake.emit(&self.out, ts_recv);
        self.after(session, taken, ts_recv, now)
    }

    /// The watchdog's look.
    fn watch(&mut self, session: &mut Session) -> Option<End> {
        let now = Instant::now();
        self.intake.telemetry.settle(now);
        self.subscribe_due(session, now);
        let idle = self.watchdog.connection_idle(now);
        if idle >= self.source.rules.connection_idle_max {
            return Some(End::Lost(format!("no frame for {idle:?}")));
        }
        if session.outbound.is_overdue() {
            return Some(End::Lost("too many requests wait to be sent".into()));
        }
        let mut barks = std::mem::take(&mut session.barks);
        self.watchdog.barks(now, &mut barks);
        let mut end = None;
        for bark in barks.drain(..) {
            match bark {
                Bark::Silent(feed) => {
                    self.intake.tell(feed, FeedPhase::Silent, 0, clock::now());
                    self.resubscribe(session, feed);
                }
                Bark::Renew(feed) => {
                    let listed = self.intake.plan.listed(feed.instrument);
                    let reason = format!("{} {:?} silent after a new subscription", listed.instrument, feed.channel);
                    end = Some(End::Renew(reason));
                }
            }
        }
        session.barks = barks;
        end
    }

    /// The stream broke. What the venue sent is to blame for some of the ways, and is written down.
    fn failed(&mut self, error: &Error) -> End {
        let refusal: Option<DecodeError> = match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                Some(Refusal::TooLarge { bytes: *size, max: *max_size }.into())
            }
            Error::Utf8(_) => Some(Refusal::NotUtf8 { at: 0 }.into()),
            // A plain disconnect.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
            Error::Protocol(violation) => Some(Refusal::Protocol(violation.to_string()).into()),
            _ => None,
        };
        if let Some(refusal) = refusal {
            self.frames += 1;
            self.refuse(&refusal, &[]);
        }
        End::Lost(error.to_string())
    }

    fn refuse(&mut self, error: &DecodeError, input: &[u8]) {
        let offset = Self::offset(self.number, self.sessions, self.frames);
        self.intake.refuse(offset, error, input, clock::now());
    }
}

fn timer(every: Duration) -> tokio::time::Interval {
    let mut timer = tokio::time::interval_at(Instant::now() + every, every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), End> {
    match tokio::time::timeout(SEND_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Lost(error.to_string())),
        Err(_) => Err(End::Lost(format!("nothing could be sent for {SEND_MAX:?}"))),
    }
}
