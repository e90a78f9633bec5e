//! A core whose outputs can be computed by hand, and a log that fails on demand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::stage::{
    Core, OutputTopic, Outputs, RestoreError, SnapshotBy, SnapshotConfig, StageConfig, Unwritten, WithoutSnapshot,
};
use journal::{
    Ack, Appender, Batch, Bounds, Log, LogError, LogReader, Offset, Partition, Priority, Record, Retention, TopicSpec,
    Visibility,
};
use model::Cause;
use model::topic::{self, fnv1a};

pub(crate) const INBOX: &str = "inbox";
pub(crate) const OUTPUTS: [(&str, u32); 2] = [("out-a", 2), ("out-b", 3)];

/// What a record leads to: sums per key, and as many outputs as it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    of: BTreeMap<u8, u64>,
    chain: u64,
}

/// A record of the inbox: key, outputs in the first topic, outputs in the second, amount.
pub(crate) fn input(random: &mut fastrand::Rng) -> Vec<u8> {
    let (a, b) = if random.u8(0..3) == 0 { (0, 0) } else { (random.u8(0..3), random.u8(0..4)) };
    [random.u8(0..9), a, b, random.u8(1..)].to_vec()
}

impl Sums {
    /// Topic, key and text of what follows from a record.
    pub(crate) fn step(&mut self, value: &[u8]) -> Vec<(usize, [u8; 1], u64)> {
        let sum = self.of.entry(value[0]).or_default();
        *sum += u64::from(value[3]);
        let sum = *sum;
        self.chain = fnv1a(&[self.chain.to_le_bytes(), sum.to_le_bytes()].concat());
        let outputs = [(0, value[1]), (1, value[2])];
        outputs.iter().flat_map(|(topic, count)| (0..*count).map(|at| (*topic, [value[0] + at], sum))).collect()
    }
}

fn content(cause: &Cause, sum: u64, out: &mut Vec<u8>) {
    out.extend(cause.offset.to_le_bytes());
    out.extend(cause.index.to_le_bytes());
    out.extend(sum.to_le_bytes());
    out.resize(out.len() + (sum % 50) as usize, b'.');
}

fn cause_of(value: &[u8]) -> Option<Cause> {
    let offset = u64::from_le_bytes(value.get(..8)?.try_into().ok()?);
    let index = u32::from_le_bytes(value.get(8..12)?.try_into().ok()?);
    Some(Cause { topic: topic::name(INBOX), partition: 0, offset, index })
}

/// Pushes what goes to the first topic, and leaves what goes to the second to be written later.
pub(crate) struct SumsCore {
    pub(crate) sums: Sums,
    pub(crate) logic_version: u32,
    kept: Vec<Kept>,
}

/// Offset of a record, and key and sum of its outputs.
type Kept = (Offset, Vec<([u8; 1], u64)>);

/// Records of which a core keeps outputs, at most.
const KEPT_MAX: usize = 5;

impl SumsCore {
    pub(crate) fn new(logic_version: u32) -> Self {
        Self { sums: Sums::default(), logic_version, kept: Vec::new() }
    }
}

struct Later(std::vec::IntoIter<Kept>);

impl Unwritten for Later {
    fn write_next(&mut self, outputs: &mut Outputs) -> Option<Offset> {
        let (offset, sums) = self.0.next()?;
        outputs.begin(offset);
        for (key, sum) in sums {
            outputs.push(1, &key, |cause, out| content(cause, sum, out));
        }
        Some(offset + 1)
    }
}

impl Core for SumsCore {
    fn logic_version(&self) -> u32 {
        self.logic_version
    }

    fn apply(&mut self, record: &Record, outputs: &mut Outputs) {
        let mut kept = Vec::new();
        for (topic, key, sum) in self.sums.step(&record.value) {
            match topic {
                0 => outputs.push(topic, &key, |cause, out| content(cause, sum, out)),
                _ => kept.push((key, sum)),
            }
        }
        self.kept.push((record.offset, kept));
    }

    fn take_unwritten(&mut self, all: bool) -> Option<Box<dyn Unwritten>> {
        if self.kept.is_empty() || !all && self.kept.len() < KEPT_MAX {
            return None;
        }
        Some(Box::new(Later(std::mem::take(&mut self.kept).into_iter())))
    }

    fn snapshot(&self, out: &mut Vec<u8>) {
        out.extend(self.sums.chain.to_le_bytes());
        for (key, sum) in &self.sums.of {
            out.push(*key);
            out.extend(sum.to_le_bytes());
        }
    }

    fn restore(&mut self, _: u32, state: &[u8]) -> Result<(), RestoreError> {
        let (chain, rest) = state.split_first_chunk().ok_or(RestoreError("too short".into()))?;
        let pairs = rest.chunks(9).map(|pair| (pair[0], u64::from_le_bytes(pair[1..].try_into().unwrap())));
        self.sums = Sums { of: pairs.collect(), chain: u64::from_le_bytes(*chain) };
        Ok(())
    }

    fn state_hash(&self) -> u64 {
        self.sums.chain
    }
}

/// What every output partition must hold in the end, by topic and partition.
pub(crate) fn expected(inputs: &[Vec<u8>]) -> Vec<Vec<Vec<Vec<u8>>>> {
    let mut topics: Vec<Vec<Vec<Vec<u8>>>> =
        OUTPUTS.iter().map(|(_, partitions)| vec![Vec::new(); *partitions as usize]).collect();
    let mut sums = Sums::default();
    for (offset, value) in inputs.iter().enumerate() {
        let mut index = [0; OUTPUTS.len()];
        for (topic, key, sum) in sums.step(value) {
            let cause = Cause { topic: topic::name(INBOX), partition: 0, offset: offset as u64, index: index[topic] };
            index[topic] += 1;
            let mut bytes = Vec::new();
            content(&cause, sum, &mut bytes);
            topics[topic][topic::partition_for(&key, OUTPUTS[topic].1) as usize].push(bytes);
        }
    }
    topics
}

/// Everything in a partition.
pub(crate) async fn read_all(log: &dyn Log, partition: &Partition) -> Vec<Vec<u8>> {
    let Bounds { start, end } = log.bounds(partition).await.unwrap();
    let mut reader = log.reader(partition, start, Visibility::Durable).await.unwrap();
    let mut records = Vec::new();
    while reader.position() < end {
        reader.read(&mut records).await.unwrap();
    }
    records.into_iter().map(|record| record.value.to_vec()).collect()
}

/// Everything in the output partitions, by topic and partition.
pub(crate) async fn written(log: &dyn Log) -> Vec<Vec<Vec<Vec<u8>>>> {
    let mut topics = Vec::new();
    for (topic, partitions) in OUTPUTS {
        let mut all = Vec::new();
        for index in 0..partitions {
            all.push(read_all(log, &Partition::new(topic, index)).await);
        }
        topics.push(all);
    }
    topics
}

pub(crate) fn config(directory: &Path, by: SnapshotBy, every: Duration) -> StageConfig {
    let output = |(topic, partitions): (&str, u32)| OutputTopic {
        topic: topic.into(),
        partitions,
        priority: Priority::Normal,
        cause: cause_of,
    };
    StageConfig {
        name: "sums".into(),
        inbox: Partition::new(INBOX, 0),
        outputs: OUTPUTS.map(output).into(),
        snapshots: SnapshotConfig {
            directory: directory.join("snapshots"),
            every,
            keep: 3,
            by,
            without: WithoutSnapshot::Refuse,
        },
        outstanding_max: 4,
    }
}

pub(crate) async fn open(directory: &Path) -> EmbeddedLog {
    let config = EmbeddedConfig {
        sync: SyncPolicy::EveryBatch,
        segment_bytes_min: 256 << 10,
        segment_bytes_max: 1 << 20,
        reserve_bytes: 1 << 20,
        ..EmbeddedConfig::default()
    };
    let log = EmbeddedLog::open(directory.join("log"), config).await.unwrap();
    for (name, partitions) in [(INBOX, 1), OUTPUTS[0], OUTPUTS[1]] {
        let retention = Retention { age: None, bytes: None };
        log.create_topic(&TopicSpec { name: name.into(), partitions, replication: 1, retention }).await.unwrap();
    }
    log
}

/// Appends records in batches of random size and waits for the last one.
pub(crate) async fn feed(log: &dyn Log, to: &Partition, values: &[Vec<u8>], random: &mut fastrand::Rng) {
    let mut appender = log.appender(to, Priority::Normal).await.unwrap();
    let mut rest = values;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(random.usize(1..=rest.len().min(60)));
        let mut batch = Batch::new();
        now.iter().for_each(|value| batch.push(b"", value));
        appender.append(batch).await.unwrap().await.unwrap();
        rest = later;
    }
}

/// How an output fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call is refused.
    AtCall,
    /// It is accepted, and not written.
    AtAck,
    /// It is written, and the answer is lost.
    AfterWriting,
}

/// Another log, of which output batches fail now and then.
#[derive(Debug)]
pub(crate) struct FaultyLog {
    pub(crate) inner: Arc<dyn Log>,
    /// Output batches until the next fault.
    pub(crate) until: Arc<AtomicI64>,
    /// Faults so far.
    pub(crate) failures: Arc<AtomicU64>,
    pub(crate) fault: Fault,
    pub(crate) error: LogError,
    /// Pretends to be this log.
    pub(crate) incarnation: u128,
}

struct FaultyAppender {
    inner: Box<dyn Appender>,
    to: Partition,
    until: Arc<AtomicI64>,
    failures: Arc<AtomicU64>,
    fault: Fault,
    error: LogError,
    failed: bool,
}

#[async_trait]
impl Appender for FaultyAppender {
    async fn append(&mut self, batch: Batch) -> Result<Ack, LogError> {
        if self.failed {
            return Ok(Ack::ready(Err(LogError::AppenderFailed(self.to.clone()))));
        }
        if batch.is_empty() || self.until.fetch_sub(1, Ordering::Relaxed) != 1 {
            return self.inner.append(batch).await;
        }
        self.failed = true;
        self.failures.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::AtCall => return Err(self.error.clone()),
            Fault::AtAck => {}
            Fault::AfterWriting => {
                self.inner.append(batch).await?.await?;
            }
        }
        Ok(Ack::ready(Err(self.error.clone())))
    }
}

#[async_trait]
impl Log for FaultyLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.inner.create_topic(spec).await
    }

    async fn topics(&self) -> Result<Vec<(Arc<str>, u32)>, LogError> {
        self.inner.topics().await
    }

    async fn appender(&self, to: &Partition, priority: Priority) -> Result<Box<dyn Appender>, LogError> {
        let inner = self.inner.appender(to, priority).await?;
        let (until, failures) = (Arc::clone(&self.until), Arc::clone(&self.failures));
        let (fault, error) = (self.fault, self.error.clone());
        Ok(Box::new(FaultyAppender { inner, to: to.clone(), until, failures, fault, error, failed: false }))
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
        self.incarnation
    }

    async fn unavailable(&self) -> Option<LogError> {
        self.inner.unavailable().await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.inner.close().await
    }
}
