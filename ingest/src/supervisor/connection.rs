//! One WebSocket connection of a source, made again and again.

mod outbound;
mod recovery;
mod session;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Channel, FeedPhase};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::rest::Rest;
use super::watchdog::Watchdog;
use super::{count_connections, shares};
use crate::budget::{Allowance, Backoff};
use crate::clock;
use crate::config::SourceConfig;
use crate::connector::Plan;
use crate::decode::{Decoder, Output};
use crate::intake::Intake;
use crate::status::SourceStatus;

/// A session that lasted so long was a good one: the next pause is short again.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// Why a session ended.
#[derive(Debug)]
enum End {
    /// The stage stops.
    Stopped,
    /// It is renewed on purpose: at once.
    Renew(String),
    /// It failed: after a pause.
    Lost(String),
    /// The log has no room for its trades: when there is room again.
    Full,
}

/// A connection's state across its sessions.
struct Connection {
    source: SourceConfig,
    intake: Intake,
    decoder: Box<dyn Decoder>,
    watchdog: Watchdog,
    rest: Rest,
    connects: Arc<Mutex<Allowance>>,
    out: Output,
    /// Among the source's connections, from 1.
    number: usize,
    /// Sessions so far.
    sessions: u64,
    /// Frames of this session.
    frames: u64,
    /// Its feeds are told as down.
    is_down: bool,
}

/// Starts the connections of a source.
pub(super) fn spawn(
    source: &SourceConfig,
    status: &SourceStatus,
    intake: &impl Fn(Plan) -> Intake,
    rest: &Rest,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    let connects = Arc::new(Mutex::new(Allowance::new(source.rules.connects)));
    let plans: Vec<_> = shares(source).collect();
    count_connections(status, plans.len());
    for (number, plan) in (1..).zip(plans) {
        let streams = |channel: Channel| source.connector.streams(&plan, channel);
        let watchdog = Watchdog::new(&plan, &source.rules, |feed| streams(feed.channel), Instant::now());
        let connection = Connection {
            source: source.clone(),
            decoder: source.connector.decoder(&plan),
            intake: intake(plan),
            watchdog,
            rest: rest.clone(),
            connects: Arc::clone(&connects),
            out: Output::default(),
            number,
            sessions: 0,
            frames: 0,
            is_down: false,
        };
        tasks.spawn(connection.run(stop.clone()));
    }
}

impl Connection {
    async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(250), self.source.backoff_max);
        loop {
            let began = Instant::now();
            let end = self.attempt(&stop).await;
            if began.elapsed() >= GOOD_SESSION {
                backoff.reset();
            }
            let pause = match end {
                End::Stopped => break,
                End::Renew(reason) => {
                    self.down(&reason);
                    // At most one renewal at once; the connect budget holds whatever comes.
                    if began.elapsed() >= GOOD_SESSION { Duration::ZERO } else { backoff.next() }
                }
                End::Lost(reason) => {
                    self.down(&reason);
                    backoff.next()
                }
                End::Full => {
                    self.down("the log is behind, the feed is cut");
                    self.cut();
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.intake.outlet.room() => {}
                    }
                    backoff.next()
                }
            };
            self.intake.telemetry.reconnects.increment(1);
            self.intake.telemetry.status.reconnects.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.tell_down();
    }

    /// Connects and serves.
    async fn attempt(&mut self, stop: &CancellationToken) -> End {
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return End::Stopped,
            connected = self.connect() => connected,
        };
        let socket = match connected {
            Ok(socket) => socket,
            Err(reason) => return End::Lost(reason),
        };
        self.intake.connected(true);
        self.is_down = false;
        tracing::info!(venue = %self.source.venue, connection = self.number, session = self.sessions, "connected");
        self.decoder.reset();
        self.watchdog.connected(Instant::now());
        let end = Box::pin(self.serve(socket, stop)).await;
        self.intake.connected(false);
        end
    }

    /// Waits for the connect budget and connects.
    async fn connect(&mut self) -> Result<session::Socket, String> {
        loop {
            let taken = self.connects.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take(Instant::now());
            match taken {
                Ok(()) => break,
                Err(later) => tokio::time::sleep_until(later).await,
            }
        }
        self.sessions += 1;
        self.frames = 0;
        session::connect(&self.source, &self.intake.plan).await
    }

    fn down(&mut self, reason: &str) {
        self.intake.trouble(format!("connection {}: {reason}", self.number));
        self.tell_down();
    }

    /// Tells every feed as down, once until there is a connection again.
    fn tell_down(&mut self) {
        if std::mem::replace(&mut self.is_down, true) {
            return;
        }
        let now = clock::now();
        let feeds: Vec<_> = self.watchdog.feeds().collect();
        for feed in feeds {
            self.intake.tell(feed, FeedPhase::Down, 0, now);
        }
    }

    /// Trades were lost here, by our own hand.
    fn cut(&mut self) {
        let now = clock::now();
        let feeds: Vec<_> = self.watchdog.feeds().filter(|feed| feed.channel == Channel::Trades).collect();
        for feed in feeds {
            self.intake.tell(feed, FeedPhase::Gap, 0, now);
        }
    }

    /// Where a refused frame was: connection, session, frame.
    fn offset(number: usize, sessions: u64, frames: u64) -> String {
        format!("connection {number}.{sessions} frame {frames}")
    }
}
