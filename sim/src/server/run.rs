//! The task that owns a venue: it alone touches the core, so a venue's inputs have one order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Pace;
use crate::engine::{ConnectionId, Outgoing, RestReply, RestRequest, TruthRing, VenueCore};
use crate::faults::{Fault, FaultError};

/// Bursts of frames on their way to one socket; what does not fit gathers in the core, where it is bounded.
const BURSTS_MAX: usize = 8;
/// Between two looks at the clock.
const PACE_MIN: Duration = Duration::from_millis(1);
/// Simulated time between two looks at the inbox when a lot of it is to be made up.
const CHUNK: Duration = Duration::from_millis(20);

/// The socket's end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) frames: mpsc::Receiver<Vec<Outgoing>>,
    /// Ends the socket without a word.
    pub(super) cut: CancellationToken,
}

/// What a venue's task is told.
pub(super) enum Input {
    Open {
        path: String,
        query: String,
        reply: oneshot::Sender<Connection>,
    },
    Text {
        id: ConnectionId,
        text: Vec<u8>,
    },
    Pong {
        id: ConnectionId,
    },
    Closed {
        id: ConnectionId,
    },
    Rest {
        request: RestRequest,
        reply: oneshot::Sender<RestReply>,
    },
    Fault {
        fault: Fault,
        lasts: Option<Duration>,
        reply: oneshot::Sender<Result<(), FaultError>>,
    },
    ClearFaults {
        reply: oneshot::Sender<()>,
    },
    /// Manual pace: go to this time since the start, and answer when every frame has been handed over.
    Advance {
        until: Duration,
        reply: oneshot::Sender<()>,
    },
}

/// What sockets must know of the faults in force, without asking.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// New connections are closed at once.
    pub(super) refuse: AtomicBool,
    /// Clients are not read.
    pub(super) read_nothing: AtomicBool,
    /// Bytes per second to each client; 0 is no limit.
    pub(super) bytes_per_second: AtomicU64,
}

/// What the task shares with sockets and handle.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) gates: Gates,
    pub(super) truth: Mutex<TruthRing>,
    pub(super) frames_sent: AtomicU64,
    pub(super) trades: AtomicU64,
}

struct Sink {
    frames: mpsc::Sender<Vec<Outgoing>>,
    cut: CancellationToken,
}

struct Runner {
    core: VenueCore,
    shared: Arc<Shared>,
    sinks: BTreeMap<ConnectionId, Sink>,
}

/// Runs a venue until `stop`.
pub(super) async fn run(
    core: VenueCore,
    pace: Pace,
    shared: Arc<Shared>,
    mut inbox: mpsc::Receiver<Input>,
    stop: CancellationToken,
) {
    let mut runner = Runner { core, shared, sinks: BTreeMap::new() };
    let began = Instant::now();
    loop {
        let due = began + runner.core.next_due();
        let wake = due.max(Instant::now() + PACE_MIN);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            input = inbox.recv() => match input {
                Some(input) => runner.obey(input).await,
                None => break,
            },
            () = tokio::time::sleep_until(wake), if pace == Pace::Real => {
                runner.catch_up(began.elapsed(), &mut inbox).await;
            }
        }
        runner.hand_over();
    }
    for sink in runner.sinks.values() {
        sink.cut.cancel();
    }
}

impl Runner {
    /// Lets time pass up to `target`, looking at the inbox in between.
    async fn catch_up(&mut self, target: Duration, inbox: &mut mpsc::Receiver<Input>) {
        loop {
            let step = (self.core.next_due() + CHUNK).min(target);
            self.core.advance(step);
            if step >= target {
                return;
            }
            self.hand_over();
            while let Ok(input) = inbox.try_recv() {
                self.obey(input).await;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn obey(&mut self, input: Input) {
        match input {
            Input::Open { path, query, reply } => self.open(&path, &query, reply),
            Input::Text { id, text } => self.core.text(id, &text),
            Input::Pong { id } => self.core.pong(id),
            Input::Closed { id } => {
                self.sinks.remove(&id);
                self.core.closed(id);
            }
            Input::Rest { request, reply } => drop(reply.send(self.core.rest(&request))),
            Input::Fault { fault, lasts, reply } => drop(reply.send(self.core.begin_fault(fault, lasts))),
            Input::ClearFaults { reply } => {
                self.core.clear_faults();
                let _ = reply.send(());
            }
            Input::Advance { until, reply } => {
                self.advance(until).await;
                let _ = reply.send(());
            }
        }
    }

    fn open(&mut self, path: &str, query: &str, reply: oneshot::Sender<Connection>) {
        let id = self.core.open(path, query);
        let (sender, frames) = mpsc::channel(BURSTS_MAX);
        let cut = CancellationToken::new();
        self.sinks.insert(id, Sink { frames: sender, cut: cut.clone() });
        if reply.send(Connection { id, frames, cut }).is_err() {
            self.sinks.remove(&id);
            self.core.closed(id);
        }
    }

    /// Manual pace: small steps, each handed over in full before the next.
    async fn advance(&mut self, until: Duration) {
        loop {
            let step = (self.core.next_due() + PACE_MIN).min(until);
            self.core.advance(step);
            self.hand_over();
            let waiting: Vec<ConnectionId> = self.core.waiting().collect();
            for id in waiting {
                let frames = self.core.take(id);
                if let Some(sink) = self.sinks.get(&id) {
                    // A socket that ends meanwhile reports itself; its frames go nowhere.
                    let _ = sink.frames.send(frames).await;
                }
            }
            if step >= until {
                return;
            }
        }
    }

    /// Moves frames to the sockets that have room, and passes on what else the core has decided.
    fn hand_over(&mut self) {
        let waiting: Vec<ConnectionId> = self.core.waiting().collect();
        for id in waiting {
            if let Some(sink) = self.sinks.get(&id)
                && let Ok(room) = sink.frames.try_reserve()
            {
                room.send(self.core.take(id));
            }
        }
        for id in self.core.take_cuts() {
            if let Some(sink) = self.sinks.get(&id) {
                sink.cut.cancel();
            }
        }
        let gates = &self.shared.gates;
        gates.refuse.store(self.core.hub.faults.refuses(), Ordering::Relaxed);
        gates.read_nothing.store(self.core.hub.faults.reads_nothing(), Ordering::Relaxed);
        gates.bytes_per_second.store(self.core.hub.faults.bytes_per_second(), Ordering::Relaxed);
        self.shared.frames_sent.store(self.core.frames_sent(), Ordering::Relaxed);
        self.shared.trades.store(self.core.trades(), Ordering::Relaxed);
        if !self.core.hub.truth.is_empty() {
            let mut ring = self.shared.truth.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            ring.extend(self.core.hub.truth.drain(..));
        }
    }
}
