//! Starting the venues, and steering them while they run.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{UnixNanos, Venue};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::http::{self, Door};
use super::run::{self, Gates, Input, Shared};
use crate::config::{Config, VenueConfig};
use crate::engine::{TruthEntry, TruthRing, VenueCore};
use crate::error::SimError;
use crate::faults::Fault;
use crate::venues::VenueKind;

/// Inputs waiting for a venue; beyond them its sockets are not read.
const INBOX_MAX: usize = 1_024;

/// The simulated venues.
#[derive(Debug)]
pub struct Venues;

#[derive(Debug)]
struct Running {
    name: Venue,
    kind: VenueKind,
    address: SocketAddr,
    shared: Arc<Shared>,
    inbox: mpsc::Sender<Input>,
}

/// Venues that run. Dropping it stops them without waiting; [`Handle::stop`] waits.
#[derive(Debug)]
pub struct Handle {
    venues: Vec<Running>,
    stop: CancellationToken,
    tasks: TaskTracker,
    start: UnixNanos,
    advanced: Mutex<Duration>,
}

impl Venues {
    /// Opens every venue's port, then starts them all. Nothing runs when one port cannot be had.
    ///
    /// # Errors
    /// When the configuration cannot be simulated or a port is taken.
    pub async fn start(config: Config) -> Result<Handle, SimError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(SimError::Config(problems));
        }
        let mut listeners = Vec::new();
        for venue in &config.venues {
            listeners.push(listen(venue).await?);
        }
        let start = config.start.unwrap_or_else(wall_clock);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let venues = config
            .venues
            .iter()
            .zip(listeners)
            .map(|(venue, (listener, address))| spawn(&config, venue, start, listener, address, &stop, &tasks))
            .collect();
        tasks.close();
        Ok(Handle { venues, stop, tasks, start, advanced: Mutex::new(Duration::ZERO) })
    }
}

async fn listen(venue: &VenueConfig) -> Result<(TcpListener, SocketAddr), SimError> {
    let (name, address) = (venue.name, venue.listen);
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::AddrInUse => SimError::PortTaken { venue: name, address },
        _ => SimError::Listen { venue: name, address, reason: error.to_string() },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn spawn(
    config: &Config,
    venue: &VenueConfig,
    start: UnixNanos,
    listener: TcpListener,
    address: SocketAddr,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Running {
    let core = VenueCore::new(config, venue, start);
    let shared = Arc::new(Shared {
        gates: Gates::default(),
        truth: Mutex::new(TruthRing::new(config.journal_entries_max)),
        frames_sent: AtomicU64::new(0),
        trades: AtomicU64::new(0),
    });
    let (inbox, inputs) = mpsc::channel(INBOX_MAX);
    let kind = venue.kind;
    let door = Door {
        inbox: inbox.clone(),
        shared: shared.clone(),
        accepts: Arc::new(move |path| kind.accepts(path)),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn(run::run(core, config.pace, shared.clone(), inputs, stop.clone()));
    tasks.spawn(http::serve(listener, door));
    Running { name: venue.name, kind, address, shared, inbox }
}

fn wall_clock() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Handle {
    /// The venues with the addresses they listen on, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = (Venue, VenueKind, SocketAddr)> + '_ {
        self.venues.iter().map(|venue| (venue.name, venue.kind, venue.address))
    }

    /// The address of a venue.
    ///
    /// # Errors
    /// When there is no venue of this name.
    pub fn address(&self, venue: &str) -> Result<SocketAddr, SimError> {
        self.find(venue).map(|venue| venue.address)
    }

    /// `ws://…` with the path on which the venue serves WebSocket clients.
    ///
    /// # Errors
    /// When there is no venue of this name.
    pub fn websocket_url(&self, venue: &str) -> Result<String, SimError> {
        self.find(venue).map(|venue| format!("ws://{}{}", venue.address, venue.kind.websocket_path()))
    }

    /// `http://…` without a path.
    ///
    /// # Errors
    /// When there is no venue of this name.
    pub fn rest_url(&self, venue: &str) -> Result<String, SimError> {
        self.find(venue).map(|venue| format!("http://{}", venue.address))
    }

    /// The time at which event times begin.
    pub fn start(&self) -> UnixNanos {
        self.start
    }

    fn find(&self, venue: &str) -> Result<&Running, SimError> {
        let found = self.venues.iter().find(|running| running.name.as_str() == venue);
        found.ok_or_else(|| SimError::UnknownVenue(venue.chars().take(40).collect()))
    }

    /// Puts a fault in force, for a time or until it is cleared.
    ///
    /// # Errors
    /// When there is no such venue, channel or instrument, or a figure is outside its range.
    pub async fn begin_fault(&self, venue: &str, fault: Fault, lasts: Option<Duration>) -> Result<(), SimError> {
        let (reply, replied) = oneshot::channel();
        self.tell(self.find(venue)?, Input::Fault { fault, lasts, reply }).await?;
        Ok(replied.await.map_err(|_| SimError::Stopped)??)
    }

    /// Ends the faults in force on a venue.
    ///
    /// # Errors
    /// When there is no such venue.
    pub async fn clear_faults(&self, venue: &str) -> Result<(), SimError> {
        let (reply, replied) = oneshot::channel();
        self.tell(self.find(venue)?, Input::ClearFaults { reply }).await?;
        replied.await.map_err(|_| SimError::Stopped)
    }

    async fn tell(&self, venue: &Running, input: Input) -> Result<(), SimError> {
        venue.inbox.send(input).await.map_err(|_| SimError::Stopped)
    }

    /// What truly happened on a venue, from `since` on, and the sequence to continue with.
    ///
    /// # Errors
    /// When there is no such venue.
    pub fn truth(&self, venue: &str, since: u64) -> Result<(Vec<TruthEntry>, u64), SimError> {
        let ring = self.find(venue)?.shared.truth.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ring.since(since, usize::MAX))
    }

    /// Frames handed to a venue's clients, and trades made, since the start.
    ///
    /// # Errors
    /// When there is no such venue.
    pub fn counts(&self, venue: &str) -> Result<(u64, u64), SimError> {
        let shared = &self.find(venue)?.shared;
        Ok((shared.frames_sent.load(Ordering::Relaxed), shared.trades.load(Ordering::Relaxed)))
    }

    /// With [`crate::Pace::Manual`]: lets this much time pass on every venue, and returns when every frame has been
    /// handed to its connection.
    ///
    /// # Errors
    /// When the venues have stopped.
    pub async fn advance(&self, by: Duration) -> Result<(), SimError> {
        let until = {
            let mut advanced = self.advanced.lock().unwrap_or_else(PoisonError::into_inner);
            *advanced += by;
            *advanced
        };
        let mut replies = Vec::new();
        for venue in &self.venues {
            let (reply, replied) = oneshot::channel();
            self.tell(venue, Input::Advance { until, reply }).await?;
            replies.push(replied);
        }
        for replied in replies {
            replied.await.map_err(|_| SimError::Stopped)?;
        }
        Ok(())
    }

    /// Closes every connection and port, and waits until all is closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
