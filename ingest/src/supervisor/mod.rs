//! Runs the sources: their connections, their polls, their way into the log.

mod connection;
mod control;
mod poller;
mod rest;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use journal::{Log, LogError};
use model::topic::{CONTROL, DEAD_LETTERS, TICKS};
use model::{Channel, Instrument, Role, Venue};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{IngestConfig, SourceConfig};
use crate::dead_letters::DeadLetterOffice;
use crate::error::IngestError;
use crate::intake::Intake;
use crate::outlet::{Outlet, Writes};
use crate::stamp::Stamper;
use crate::status::{SourceStatus, Status};
use crate::telemetry::Telemetry;

/// The stage: checked configuration, and the status that can be read while it runs.
#[derive(Debug)]
pub struct Ingest {
    config: IngestConfig,
    status: Arc<Status>,
    sources: Vec<Arc<SourceStatus>>,
}

/// Runs ingest until `cancel`: what a caller needs that does not look at the status.
///
/// # Errors
/// As [`Ingest::new`] and [`Ingest::run`].
pub async fn run(config: IngestConfig, log: Arc<dyn Log>, cancel: CancellationToken) -> Result<(), IngestError> {
    Ingest::new(config)?.run(log, cancel).await
}

impl Ingest {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(config: IngestConfig) -> Result<Self, IngestError> {
        config.validate()?;
        let sources: Vec<_> = config.sources.iter().map(source_status).collect();
        let status = Arc::new(Status::new(sources.clone()));
        Ok(Self { config, status, sources })
    }

    /// The figures of every source, live.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Connects, polls and follows the topic `control` until `cancel`; then writes out what it has, tells every
    /// feed as down, and returns. The topics `ticks`, `control` and `dead-letters` must exist.
    ///
    /// # Errors
    /// When a topic is missing or the log fails for good. What venues do is never an error here.
    pub async fn run(self, log: Arc<dyn Log>, cancel: CancellationToken) -> Result<(), IngestError> {
        let topics = Topics::of(&*log).await?;
        let client = rest::client()?;
        // Stopping has two steps: first whoever pushes, then whoever writes.
        let stop = cancel.child_token();
        let mut pushing = JoinSet::new();
        let mut writing = JoinSet::new();
        let office = DeadLetterOffice::new();
        let mut pollers = Vec::new();
        let mut outlets = Vec::new();
        for (source, status) in self.config.sources.iter().zip(&self.sources) {
            let outlet = Outlet::new(role(source.venue), self.config.pending_max);
            let writes = Writes {
                venue: Some(source.venue),
                instruments: source.instruments.iter().map(|listed| listed.instrument).collect(),
                channels: source.channels.clone(),
                partitions: topics.ticks,
                outstanding_max: self.config.outstanding_max,
            };
            writing.spawn(write(outlet.clone(), Arc::clone(&log), writes));
            let per_second = self.config.dead_letters_per_second;
            let letters = office.handle(source.venue.as_str(), per_second, Arc::clone(&status.dead_letters));
            let intake = |plan| {
                let telemetry = Telemetry::new(source.venue, Arc::clone(status));
                let stamper = Stamper::new(self.config.max_clock_skew);
                Intake::new(plan, outlet.clone(), telemetry, letters.another(per_second), stamper)
            };
            let requests = rest::Rest::new(client.clone(), source.rules.requests);
            if source.connects() {
                connection::spawn(source, status, &intake, &requests, &stop, &mut pushing);
            }
            let (asks, asked) = mpsc::channel(64);
            let poller = poller::Poller::new(source, intake(source.plan(&source.instruments)), requests);
            pushing.spawn(poller.run(asked, stop.clone()));
            pollers.push(control::Target::new(source, asks));
            outlets.push(outlet);
        }
        let control = Outlet::new("ingest/control".parse().expect("a short name"), self.config.pending_max);
        let writes = Writes {
            venue: None,
            instruments: self.instruments(),
            channels: Vec::new(),
            partitions: topics.ticks,
            outstanding_max: self.config.outstanding_max,
        };
        writing.spawn(write(control.clone(), Arc::clone(&log), writes));
        let letters = office.handle("control", self.config.dead_letters_per_second, Arc::new(AtomicU64::new(0)));
        pushing.spawn(control::follow(
            Arc::clone(&log),
            topics.control,
            pollers,
            control.clone(),
            letters,
            stop.clone(),
        ));
        outlets.push(control);
        let mut letters = tokio::spawn(office.write(Arc::clone(&log), topics.dead_letters));

        let mut result = supervise(&mut pushing, &mut writing, &stop).await;
        stop.cancel();
        while pushing.join_next().await.is_some() {}
        for outlet in &outlets {
            outlet.close();
        }
        while let Some(ended) = writing.join_next().await {
            result = result.and(flatten(ended, "a writer of ticks"));
        }
        // Every handle is gone by now, so this ends, unless the log is away: then letters are not waited for.
        match tokio::time::timeout(std::time::Duration::from_secs(5), &mut letters).await {
            Ok(ended) => result = result.and(flatten(ended, "the writer of dead letters")),
            Err(_) => letters.abort(),
        }
        result
    }

    /// Every instrument of any source, once.
    fn instruments(&self) -> Vec<Instrument> {
        let all = self.config.sources.iter().flat_map(|source| &source.instruments).map(|listed| listed.instrument);
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Waits for the stop, or for the first task that ends with an error.
async fn supervise(
    pushing: &mut JoinSet<()>,
    writing: &mut JoinSet<Result<(), LogError>>,
    stop: &CancellationToken,
) -> Result<(), IngestError> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(ended) = pushing.join_next() => {
                if ended.is_err() {
                    return Err(IngestError::Panicked("a connection or poller"));
                }
            }
            Some(ended) = writing.join_next() => flatten(ended, "a writer of ticks")?,
        }
    }
}

fn flatten(ended: Result<Result<(), LogError>, tokio::task::JoinError>, what: &'static str) -> Result<(), IngestError> {
    match ended {
        Ok(result) => result.map_err(IngestError::from),
        Err(_) => Err(IngestError::Panicked(what)),
    }
}

async fn write(outlet: Outlet, log: Arc<dyn Log>, writes: Writes) -> Result<(), LogError> {
    outlet.write(log, writes).await
}

/// The role that writes a source's ticks.
pub(crate) fn role(venue: Venue) -> Role {
    format!("ingest/{venue}").parse().expect("a venue's name leaves room for the prefix")
}

pub(crate) fn source_status(source: &SourceConfig) -> Arc<SourceStatus> {
    let feeds = source
        .instruments
        .iter()
        .flat_map(|listed| source.channels.iter().map(move |channel| (listed.instrument, *channel)));
    Arc::new(SourceStatus::new(source.venue, source.connector.name(), feeds))
}

/// Partitions of the topics in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topics {
    pub(crate) ticks: u32,
    control: u32,
    pub(crate) dead_letters: u32,
}

impl Topics {
    pub(crate) async fn of(log: &dyn Log) -> Result<Self, IngestError> {
        let topics = log.topics().await?;
        let partitions = |name: &'static str| {
            let found = topics.iter().find(|(topic, _)| &**topic == name);
            found.map(|(_, partitions)| *partitions).ok_or(IngestError::NoTopic(name))
        };
        Ok(Self { ticks: partitions(TICKS)?, control: partitions(CONTROL)?, dead_letters: partitions(DEAD_LETTERS)? })
    }
}

/// Splits a source's instruments over as many connections as its rules ask for.
fn shares(source: &SourceConfig) -> impl Iterator<Item = crate::connector::Plan> {
    source.instruments.chunks(source.rules.instruments_max.max(1)).map(|share| source.plan(share))
}

/// Whether a channel of this source comes by polling.
fn is_polled(source: &SourceConfig, channel: Channel) -> bool {
    channel == Channel::Ticker && !source.connector.streams(&source.plan(&source.instruments), channel)
}

fn count_connections(status: &SourceStatus, count: usize) {
    status.connections.store(count as u64, Ordering::Relaxed);
}
