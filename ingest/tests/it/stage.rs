//! The whole stage at work for a test: simulated venues, the supervisor, an embedded log; and what its log holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ingest::{Ingest, IngestConfig, IngestError, SourceConfig, SourceReport, Status};
use journal::{Log, Partition, Record, Retention, TopicSpec, Visibility};
use model::topic::{CONTROL, DEAD_LETTERS, TICKS};
use model::{Channel, FeedPhase, Instrument, Origin, Tick, TickBody, TradeId};
use sim::{Config, Handle, VenueConfig, VenueKind, Venues};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
pub(crate) const PARTITIONS: u32 = 2;

/// A log in a folder of its own.
pub(crate) struct TestLog {
    pub(crate) log: Arc<dyn Log>,
    _folder: tempfile::TempDir,
}

pub(crate) async fn test_log() -> TestLog {
    let folder = tempfile::tempdir().unwrap();
    let config = journal::embedded::EmbeddedConfig { sync: journal::embedded::SyncPolicy::Never, ..Default::default() };
    let log: Arc<dyn Log> = Arc::new(journal::embedded::EmbeddedLog::open(folder.path(), config).await.unwrap());
    for (name, partitions) in [(TICKS, PARTITIONS), (CONTROL, 1), (DEAD_LETTERS, 1)] {
        let retention = Retention { age: None, bytes: None };
        log.create_topic(&TopicSpec { name: name.into(), partitions, replication: 1, retention }).await.unwrap();
    }
    TestLog { log, _folder: folder }
}

/// Everything in a topic so far, by partition.
pub(crate) async fn read_all(log: &dyn Log, topic: &str, partitions: u32) -> Vec<Vec<Record>> {
    let mut all = Vec::new();
    for index in 0..partitions {
        let partition = Partition::new(topic, index);
        let end = log.bounds(&partition).await.unwrap().end;
        let mut reader = log.reader(&partition, 0, Visibility::Durable).await.unwrap();
        let mut records = Vec::new();
        while reader.position() < end {
            reader.read(&mut records).await.unwrap();
        }
        all.push(records);
    }
    all
}

pub(crate) async fn ticks(log: &dyn Log) -> Vec<Vec<Tick>> {
    let decode = |records: Vec<Record>| records.iter().map(|record| Tick::decode(&record.value).unwrap()).collect();
    read_all(log, TICKS, PARTITIONS).await.into_iter().map(decode).collect()
}

/// The stage at work between simulated venues and a log.
pub(crate) struct Bench {
    pub(crate) venues: Handle,
    pub(crate) log: TestLog,
    pub(crate) status: Arc<Status>,
    cancel: CancellationToken,
    /// For what a test prints.
    pub(crate) began: std::time::Instant,
    running: JoinHandle<Result<(), IngestError>>,
}

pub(crate) const INSTRUMENTS: [&str; 3] = ["BTC-USDT", "ETH-USDT", "DOGE-USDT"];

pub(crate) async fn venues(kinds: &[VenueKind], ticks_per_second: u32) -> Handle {
    let mut config =
        Config { seed: 11, venues: kinds.iter().map(|kind| VenueConfig::new(*kind)).collect(), ..Config::default() };
    config.instruments.retain(|listed| INSTRUMENTS.contains(&listed.instrument.as_str()));
    config.scale_to(ticks_per_second);
    Venues::start(config).await.unwrap()
}

pub(crate) fn source(venues: &Handle, name: &str, kind: &str) -> SourceConfig {
    let instruments = INSTRUMENTS.map(|name| name.parse().unwrap());
    let mut source = SourceConfig::new(name.parse().unwrap(), kind, &instruments, &[]).unwrap();
    source.endpoints.rest = venues.rest_url(name).unwrap();
    if !source.endpoints.websocket.is_empty() {
        source.endpoints.websocket = venues.websocket_url(name).unwrap();
    }
    source
}

pub(crate) async fn start(venues: Handle, config: IngestConfig) -> Bench {
    start_on(venues, config, test_log().await).await
}

pub(crate) async fn start_on(venues: Handle, config: IngestConfig, log: TestLog) -> Bench {
    let ingest = Ingest::new(config).unwrap();
    let (status, cancel) = (ingest.status(), CancellationToken::new());
    let running = tokio::spawn(Box::pin(ingest.run(Arc::clone(&log.log), cancel.clone())));
    Bench { venues, log, status, cancel, began: std::time::Instant::now(), running }
}

impl Bench {
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&[SourceReport]) -> bool) {
        let began = std::time::Instant::now();
        loop {
            let report = self.status.report();
            if holds(&report) {
                return;
            }
            assert!(!self.running.is_finished(), "the stage ended while waiting for {what}");
            assert!(began.elapsed() < PATIENCE, "{what} did not come: {report:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_healthy(&self) {
        self.until("health", |report| report.iter().all(SourceReport::is_healthy)).await;
    }

    /// Stops everything and returns what is in the log.
    pub(crate) async fn stop(self) -> (Vec<Vec<Tick>>, Vec<serde_json::Value>) {
        let (ticks, letters, ()) = self.stop_asking(|_| ()).await;
        (ticks, letters)
    }

    /// The same, with what the venues say once nothing of theirs is taken any more.
    pub(crate) async fn stop_asking<T>(
        self,
        ask: impl FnOnce(&Handle) -> T,
    ) -> (Vec<Vec<Tick>>, Vec<serde_json::Value>, T) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("the stage stops").unwrap().unwrap();
        let ticks = ticks(&*self.log.log).await;
        let letters = read_all(&*self.log.log, DEAD_LETTERS, 1).await.remove(0);
        let letters = letters.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect();
        self.log.log.close().await.unwrap();
        let said = ask(&self.venues);
        self.venues.stop().await;
        (ticks, letters, said)
    }
}

/// Every role's records count up from its claim without a hole, in every partition.
pub(crate) fn sequences_are_whole(ticks: &[Vec<Tick>]) {
    for (partition, ticks) in ticks.iter().enumerate() {
        let mut next = BTreeMap::new();
        for (offset, tick) in ticks.iter().enumerate() {
            let Origin::Root { role, epoch, sequence } = tick.origin else { panic!("{tick:?}") };
            if tick.body == TickBody::Claim(model::Claim) {
                assert_eq!((epoch, sequence), (0, 0));
                next.insert(role, (offset as u64, 1));
                continue;
            }
            let expected = next.get_mut(&role).unwrap_or_else(|| panic!("{role} writes before its claim"));
            assert_eq!((epoch, sequence), *expected, "{role} in partition {partition} at {offset}");
            expected.1 += 1;
        }
    }
}

pub(crate) type TradeKey = (String, Instrument, TradeId);

/// The trades in the log; each is there once.
pub(crate) fn trades(ticks: &[Vec<Tick>]) -> BTreeMap<TradeKey, Tick> {
    let mut trades = BTreeMap::new();
    for tick in ticks.iter().flatten() {
        if let TickBody::Trade(trade) = tick.body {
            let key = (trade.venue.to_string(), trade.instrument, trade.id);
            assert!(trades.insert(key, *tick).is_none(), "{trade:?} is there twice");
        }
    }
    trades
}

/// The conditions that the log tells of a venue's feeds.
pub(crate) fn phases(ticks: &[Vec<Tick>], venue: &str, channel: Channel) -> Vec<(FeedPhase, u64)> {
    let told = |tick: &Tick| match tick.body {
        TickBody::FeedState(state) if state.venue.as_str() == venue && state.channel == channel => {
            Some((state.phase, state.missing))
        }
        _ => None,
    };
    ticks.iter().flatten().filter_map(told).collect()
}
