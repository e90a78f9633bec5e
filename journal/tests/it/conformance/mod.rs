//! What every back end of the log must do, as the documentation of the trait promises it.

mod append;
mod concurrent;
mod lifetime;
mod read;
mod topics;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use journal::{Appender, Batch, Log, LogReader, Offset, Partition, Priority, Record, Retention, TopicSpec, Visibility};

/// A back end under test.
pub(crate) struct Suite<'a> {
    /// Opens the log, or connects to it; the one before is closed then.
    pub open: &'a (dyn Fn() -> BoxFuture<'static, Arc<dyn Log>> + Sync),
    /// Begins every topic's name, at most 10 bytes; another one for every run on a shared cluster.
    pub prefix: String,
    /// Whether a trimmed partition starts exactly where it was told to, at once.
    pub trims_exactly: bool,
    /// Whether the incarnation survives and the topics of others are absent: the log is the test's own.
    pub exclusive: bool,
}

/// Runs the whole suite.
pub(crate) async fn run(suite: &Suite<'_>) {
    let log = (suite.open)().await;
    topics::created_listed_and_refused(suite, &*log).await;
    append::offsets_are_contiguous_and_content_is_kept(suite, &*log).await;
    append::limits_hold_and_a_refusal_changes_nothing(suite, &*log).await;
    append::a_dropped_acknowledgement_takes_nothing_back(suite, &*log).await;
    append::a_dropped_append_is_whole_or_nothing(suite, &log).await;
    read::from_any_offset(suite, &*log).await;
    read::positions_outside_are_refused(suite, &*log).await;
    read::waiting_readers_wake(suite, &log).await;
    read::a_dropped_read_takes_nothing(suite, &log).await;
    read::trimmed_records_go_and_the_rest_stays(suite, &*log).await;
    concurrent::appenders_and_tailers(suite, &log).await;
    concurrent::partitions_are_independent(suite, &log).await;
    log.close().await.unwrap();
    drop(log);
    lifetime::everything_is_there_after_reopening(suite).await;
}

impl Suite<'_> {
    /// Creates a topic and returns its name.
    pub(crate) async fn topic(&self, log: &dyn Log, name: &str, partitions: u32) -> String {
        let spec = self.spec(name, partitions);
        log.create_topic(&spec).await.unwrap();
        spec.name.to_string()
    }

    pub(crate) fn spec(&self, name: &str, partitions: u32) -> TopicSpec {
        let retention = Retention { age: None, bytes: None };
        TopicSpec { name: format!("{}-{name}", self.prefix).into(), partitions, replication: 1, retention }
    }
}

/// A record's content that says which it is, between 0 and `len_max` bytes.
pub(crate) fn content(number: u64, len_max: usize) -> (Vec<u8>, Vec<u8>) {
    let mut random = fastrand::Rng::with_seed(number);
    let key = (0..random.usize(0..=len_max.min(20))).map(|_| random.u8(..)).collect();
    let value = (0..random.usize(0..=len_max)).map(|_| random.u8(..)).collect();
    (key, value)
}

/// A batch of the records `numbers`.
pub(crate) fn batch(numbers: std::ops::Range<u64>, len_max: usize) -> Batch {
    let mut batch = Batch::new();
    for number in numbers {
        let (key, value) = content(number, len_max);
        batch.push(&key, &value);
    }
    batch
}

pub(crate) fn assert_content(record: &Record, number: u64, len_max: usize) {
    let (key, value) = content(number, len_max);
    assert!(
        record.key == key && record.value == value,
        "record {number} at offset {} has other content",
        record.offset
    );
}

pub(crate) async fn appender(log: &dyn Log, to: &Partition) -> Box<dyn Appender> {
    log.appender(to, Priority::Normal).await.unwrap()
}

pub(crate) async fn reader(log: &dyn Log, of: &Partition, from: Offset) -> Box<dyn LogReader> {
    log.reader(of, from, Visibility::Durable).await.unwrap()
}

/// Reads up to `end`, checking that offsets are contiguous.
pub(crate) async fn read_to(reader: &mut dyn LogReader, end: Offset) -> Vec<Record> {
    let mut records = Vec::new();
    while reader.position() < end {
        let from = reader.position();
        let before = records.len();
        reader.read(&mut records).await.unwrap();
        assert!(records.len() > before, "a read gave nothing");
        for (offset, record) in (from..).zip(&records[before..]) {
            assert_eq!(record.offset, offset, "not contiguous");
        }
        assert_eq!(reader.position(), from + (records.len() - before) as u64);
    }
    records
}

/// Waits at most half a minute; a test that hangs says so.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(std::time::Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within 30 s"),
    }
}
