//! Follows the topic `control`: a refresh polls every venue of the instrument, then asks the aggregation to
//! publish.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use journal::{Log, LogError, Partition, Record, Visibility};
use model::topic::CONTROL;
use model::{Instrument, Refresh, Tick, TickBody, TickFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::poller::PollNow;
use crate::budget::Backoff;
use crate::clock;
use crate::config::SourceConfig;
use crate::dead_letters::DeadLetters;
use crate::outlet::Outlet;
use crate::refusal::{DecodeError, Refusal};

/// How long the venues may take before the refresh goes on without the slowest.
const POLL_MAX: Duration = Duration::from_secs(2);
/// Refreshes on their way at a time.
const CONCURRENT_MAX: usize = 32;

/// A source that can be asked for tickers.
#[derive(Debug, Clone)]
pub(super) struct Target {
    instruments: Vec<Instrument>,
    asks: mpsc::Sender<PollNow>,
}

impl Target {
    pub(super) fn new(source: &SourceConfig, asks: mpsc::Sender<PollNow>) -> Self {
        Self { instruments: source.instruments.iter().map(|listed| listed.instrument).collect(), asks }
    }
}

/// A request, as the topic has it. Further kinds concern other stages.
#[derive(Debug, serde::Deserialize)]
struct Request {
    v: u32,
    kind: String,
    instrument: Option<Instrument>,
    id: Option<u64>,
}

/// Serves requests from the topic's end on, until `stop`.
pub(super) async fn follow(
    log: Arc<dyn Log>,
    partitions: u32,
    targets: Vec<Target>,
    outlet: Outlet,
    letters: DeadLetters,
    stop: CancellationToken,
) {
    let targets: Arc<[Target]> = targets.into();
    let permits = Arc::new(Semaphore::new(CONCURRENT_MAX));
    let mut followers = JoinSet::new();
    for index in 0..partitions {
        let follower = Follower {
            partition: Partition::new(CONTROL, index),
            targets: Arc::clone(&targets),
            outlet: outlet.clone(),
            letters: letters.another(50),
            permits: Arc::clone(&permits),
        };
        followers.spawn(follower.run(Arc::clone(&log), stop.clone()));
    }
    while followers.join_next().await.is_some() {}
}

struct Follower {
    partition: Partition,
    targets: Arc<[Target]>,
    outlet: Outlet,
    letters: DeadLetters,
    permits: Arc<Semaphore>,
}

impl Follower {
    async fn run(mut self, log: Arc<dyn Log>, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut position = None;
        let mut serving = JoinSet::new();
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => break,
                error = self.read(&*log, &mut position, &mut serving, &mut backoff) => error,
            };
            tracing::warn!(partition = %self.partition, %error, "control cannot be read");
            if matches!(error, LogError::Trimmed { .. } | LogError::Truncated { .. }) {
                position = None;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
        serving.shutdown().await;
    }

    /// Reads until it fails.
    async fn read(
        &mut self,
        log: &dyn Log,
        position: &mut Option<u64>,
        serving: &mut JoinSet<()>,
        backoff: &mut Backoff,
    ) -> LogError {
        let from = match *position {
            Some(from) => from,
            // What was asked for before we started has long been given up.
            None => match log.bounds(&self.partition).await {
                Ok(bounds) => bounds.end,
                Err(error) => return error,
            },
        };
        let mut reader = match log.reader(&self.partition, from, Visibility::Durable).await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        let mut records = Vec::new();
        loop {
            *position = Some(reader.position());
            if let Err(error) = reader.read(&mut records).await {
                return error;
            }
            backoff.reset();
            for record in records.drain(..) {
                self.take(&record, serving);
            }
            while serving.try_join_next().is_some() {}
        }
    }

    fn take(&mut self, record: &Record, serving: &mut JoinSet<()>) {
        match refresh(&record.value) {
            Ok(None) => {}
            Ok(Some(refresh)) => {
                // Beyond so many at a time a request is not served; whoever asked hears of it by its timeout.
                let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                    return tracing::warn!(instrument = %refresh.instrument, "too many refreshes at a time");
                };
                let (targets, outlet) = (Arc::clone(&self.targets), self.outlet.clone());
                serving.spawn(async move {
                    serve(refresh, &targets, &outlet).await;
                    drop(permit);
                });
            }
            Err(error) => {
                let offset = format!("{}@{}", self.partition, record.offset);
                self.letters.refuse(offset, &error, &record.value, clock::now());
            }
        }
    }
}

/// The refresh that a record asks for; `None` where it is about something else.
fn refresh(value: &[u8]) -> Result<Option<Refresh>, DecodeError> {
    let request: Request =
        serde_json::from_slice(value).map_err(|error| DecodeError::from(Refusal::Request(error.to_string())))?;
    if request.v != 1 || request.kind != "refresh" {
        return Ok(None);
    }
    match (request.instrument, request.id) {
        (Some(instrument), Some(id)) => Ok(Some(Refresh { instrument, id })),
        (None, _) => Err(Refusal::Missing { field: "instrument" }.into()),
        (_, None) => Err(Refusal::Missing { field: "id" }.into()),
    }
}

/// Polls every venue that has the instrument; then, behind their tickers, tells the aggregation to publish.
async fn serve(refresh: Refresh, targets: &[Target], outlet: &Outlet) {
    // Instruments of the same base count too: converted, they are part of the price.
    let same_base = |target: &Target| {
        let all = target.instruments.iter().copied();
        all.filter(|instrument| instrument.base() == refresh.instrument.base()).collect::<Vec<_>>()
    };
    let polls = targets.iter().filter_map(|target| {
        let instruments = same_base(target);
        (!instruments.is_empty()).then_some(async move {
            let (done, answered) = oneshot::channel();
            if target.asks.send(PollNow { instruments, done }).await.is_ok() {
                // Dropped unanswered when the stage stops.
                let _ = answered.await;
            }
        })
    });
    if tokio::time::timeout(POLL_MAX, join_all(polls)).await.is_err() {
        tracing::warn!(instrument = %refresh.instrument, "a venue is slow to answer, publishing without it");
    }
    let now = clock::now();
    let body = TickBody::Refresh(refresh);
    let tick = Tick { origin: outlet.origin(), ts_event: now, ts_recv: now, flags: TickFlags(0), body };
    if outlet.push([tick]).is_err() {
        tracing::warn!(instrument = %refresh.instrument, "the log is behind: a refresh was dropped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refreshes_are_taken() {
        let found = refresh(br#"{"v":1,"kind":"refresh","instrument":"BTC-USDT","id":123,"by":"somebody"}"#);
        assert_eq!(found, Ok(Some(Refresh { instrument: "BTC-USDT".parse().expect("an instrument"), id: 123 })));
        for other in [r#"{"v":1,"kind":"halt"}"#, r#"{"v":2,"kind":"refresh"}"#] {
            assert_eq!(refresh(other.as_bytes()), Ok(None));
        }
        for bad in [
            "",
            "{",
            "[]",
            r#"{"v":1,"kind":"refresh","instrument":"btc","id":1}"#,
            r#"{"v":1,"kind":"refresh","id":1}"#,
        ] {
            assert!(refresh(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
