//! A log that stops taking batches for a while: quotes are conflated, trades never dropped in silence.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ingest::{Ingest, IngestConfig, SourceConfig};
use journal::{
    Ack, Appender, Batch, Bounds, Log, LogError, LogReader, Offset, Partition, Priority, TopicSpec, Visibility,
};
use model::topic::TICKS;
use model::{Channel, FeedPhase, TickBody, TradeId};
use sim::{Config, VenueConfig, VenueKind, Venues};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stage::{TestLog, test_log, ticks};

/// A log whose appenders of `ticks` wait while the gate is shut.
#[derive(Debug)]
struct Gated {
    inner: Arc<dyn Log>,
    open: watch::Receiver<bool>,
}

struct GatedAppender {
    inner: Box<dyn Appender>,
    open: watch::Receiver<bool>,
}

#[async_trait]
impl Appender for GatedAppender {
    async fn append(&mut self, batch: Batch) -> Result<Ack, LogError> {
        let _ = self.open.wait_for(|open| *open).await;
        self.inner.append(batch).await
    }
}

#[async_trait]
impl Log for Gated {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.create_topic(spec).await
    }

    async fn topics(&self) -> Result<Vec<(Arc<str>, u32)>, LogError> {
        self.inner.topics().await
    }

    async fn appender(&self, to: &Partition, priority: Priority) -> Result<Box<dyn Appender>, LogError> {
        let inner = self.inner.appender(to, priority).await?;
        if &*to.topic != TICKS {
            return Ok(inner);
        }
        Ok(Box::new(GatedAppender { inner, open: self.open.clone() }))
    }

    async fn reader(&self, of: &Partition, from: Offset, sees: Visibility) -> Result<Box<dyn LogReader>, LogError> {
        self.inner.reader(of, from, sees).await
    }

    async fn bounds(&self, of: &Partition) -> Result<Bounds, LogError> {
        self.inner.bounds(of).await
    }

    async fn trim(&self, of: &Partition, before: Offset) -> Result<(), LogError> {
        self.inner.trim(of, before).await
    }

    fn incarnation(&self) -> u128 {
        self.inner.incarnation()
    }

    async fn unavailable(&self) -> Option<LogError> {
        self.inner.unavailable().await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.inner.close().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_log_cuts_the_feed_and_tells_the_gap() {
    let mut config = Config { seed: 5, venues: vec![VenueConfig::new(VenueKind::Binance)], ..Config::default() };
    config.instruments.truncate(1);
    config.scale_to(2_000);
    let instrument = config.instruments[0].instrument;
    let venues = Venues::start(config).await.unwrap();
    let mut source = SourceConfig::new("binance".parse().unwrap(), "binance", &[instrument], &[]).unwrap();
    source.endpoints.rest = venues.rest_url("binance").unwrap();
    source.endpoints.websocket = venues.websocket_url("binance").unwrap();
    let mut config = IngestConfig::new(vec![source]);
    config.pending_max = 200;

    let TestLog { log: inner, .. } = &test_log().await;
    let (gate, open) = watch::channel(true);
    let log: Arc<dyn Log> = Arc::new(Gated { inner: Arc::clone(inner), open });
    let ingest = Ingest::new(config).unwrap();
    let (status, cancel) = (ingest.status(), CancellationToken::new());
    let running = tokio::spawn(Box::pin(ingest.run(log, cancel.clone())));
    let wait = async |what: &str, holds: &dyn Fn(&ingest::SourceReport) -> bool| {
        for _ in 0..2_000 {
            if holds(&status.report()[0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{what} did not come: {:#?}", status.report());
    };
    wait("health", &|report| report.is_healthy()).await;
    gate.send(false).unwrap();
    wait("the cut", &|report| report.connected == 0 && report.gaps > 0).await;
    // While the log stands still, nothing is connected and nothing gathers.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(status.report()[0].connected, 0);
    gate.send(true).unwrap();
    wait("health again", &|report| report.is_healthy()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancel.cancel();
    running.await.unwrap().unwrap();

    // Between two gaps the trades are one chain: nothing was dropped in silence.
    let ticks: Vec<_> = ticks(&**inner).await.into_iter().flatten().collect();
    let (mut last, mut gap_told, mut gaps, mut trades) = (None::<u64>, false, 0, 0);
    for tick in &ticks {
        match tick.body {
            TickBody::FeedState(state) if state.channel == Channel::Trades && state.phase == FeedPhase::Gap => {
                gap_told = true;
                gaps += 1;
            }
            TickBody::Trade(trade) => {
                let TradeId::Number(id) = trade.id else { panic!() };
                assert!(gap_told || last.is_none_or(|last| id == last + 1), "{id} follows {last:?} without a gap");
                (last, gap_told) = (Some(id), false);
                trades += 1;
            }
            _ => {}
        }
    }
    assert!(gaps > 0 && trades > 100, "{gaps} gaps, {trades} trades");
    venues.stop().await;
}
