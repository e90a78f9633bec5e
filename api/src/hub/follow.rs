//! Following the partitions of a topic, for as long as the server runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use journal::{Log, LogError, Offset, Partition, Record, Visibility};
use tokio_util::sync::CancellationToken;

/// Pause after the first failure; doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// What becomes of a partition's records.
#[async_trait]
pub(crate) trait Consumer: Send + 'static {
    /// What it may see.
    const SEES: Visibility;

    /// Prepares what it needs from the past, and says where to begin and where the past ends: records before
    /// `past_end` are handed over as such.
    async fn begin(&mut self, log: &dyn Log, partition: &Partition) -> Result<Begin, LogError>;

    /// Takes records, in order. `past`: they were there before anybody followed.
    fn take(&mut self, records: &[Record], past: bool);

    /// The past has been handed over.
    fn caught_up(&mut self) {}
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begin {
    pub(crate) from: Offset,
    pub(crate) past_end: Offset,
}

/// What the readers are doing, for health checks.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<BTreeMap<String, ReaderState>>);

/// What one reader is doing, by partition or, before the partitions are known, by topic.
#[derive(Debug, Default)]
struct ReaderState {
    /// It came to the end of the past once.
    caught_up: bool,
    /// Why it is trying again.
    failure: Option<LogError>,
}

impl Readers {
    fn change(&self, what: &str, change: impl FnOnce(&mut ReaderState)) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(states.entry(what.to_owned()).or_default());
    }

    fn failed(&self, what: &str, error: LogError) {
        tracing::warn!(%error, "reading {what} failed, trying again");
        metrics::counter!("millrace_api_read_errors_total").increment(1);
        self.change(what, |state| state.failure = Some(error));
    }

    /// The first failure, by partition.
    pub(crate) fn failure(&self) -> Option<(String, LogError)> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().find_map(|(what, state)| state.failure.clone().map(|failure| (what.clone(), failure)))
    }

    /// Whether the past of every partition of `topic` has been read.
    pub(crate) fn has_caught_up(&self, topic: &str) -> bool {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_topic = states.iter().filter(|(what, _)| what.split('/').next() == Some(topic)).peekable();
        of_topic.peek().is_some() && of_topic.all(|(_, state)| state.caught_up)
    }
}

/// Waits for the topic and follows each of its partitions with a consumer that `make` gives for its number,
/// of how many. Returns once the readers run, or at `cancel`.
pub(crate) async fn follow_topic<C: Consumer>(
    log: Arc<dyn Log>,
    topic: &'static str,
    readers: Arc<Readers>,
    cancel: CancellationToken,
    mut make: impl FnMut(u32, u32) -> C + Send,
) {
    let Some(partitions) = cancel.run_until_cancelled(partitions_of(&*log, topic, &readers)).await else { return };
    // Every partition is known before the first one may be done, so that none is forgotten in between.
    for index in 0..partitions {
        readers.change(&Partition::new(topic, index).to_string(), |_| {});
    }
    for index in 0..partitions {
        let consumer = make(index, partitions);
        let (log, readers, cancel) = (Arc::clone(&log), Arc::clone(&readers), cancel.clone());
        tokio::spawn(async move {
            let partition = Partition::new(topic, index);
            cancel.run_until_cancelled(follow(&*log, &partition, consumer, &readers)).await;
        });
    }
}

async fn partitions_of(log: &dyn Log, topic: &'static str, readers: &Readers) -> u32 {
    let mut pause = RETRY_FIRST;
    loop {
        let error = match log.topics().await {
            Ok(topics) => match topics.iter().find(|(name, _)| &**name == topic) {
                Some((_, partitions)) => {
                    readers.0.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
                    return *partitions;
                }
                None => LogError::UnknownPartition(Partition::new(topic, 0)),
            },
            Err(error) => error,
        };
        readers.failed(topic, error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn follow<C: Consumer>(log: &dyn Log, partition: &Partition, mut consumer: C, readers: &Readers) {
    let what = partition.to_string();
    let mut pause = RETRY_FIRST;
    let mut begin = None;
    loop {
        let mut progressed = false;
        let error = match read_on(log, partition, &mut consumer, &mut begin, readers, &mut progressed).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if progressed {
            pause = RETRY_FIRST;
        }
        // What was trimmed before it was read, or is gone, will not come back: go on with what there is.
        match (&error, &mut begin) {
            (LogError::Trimmed { start, .. }, Some(begin)) => begin.from = *start,
            (LogError::Truncated { end, .. }, Some(begin)) => begin.from = *end,
            _ => {}
        }
        readers.failed(&what, error);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

async fn read_on<C: Consumer>(
    log: &dyn Log,
    partition: &Partition,
    consumer: &mut C,
    begin: &mut Option<Begin>,
    readers: &Readers,
    progressed: &mut bool,
) -> Result<std::convert::Infallible, LogError> {
    let what = partition.to_string();
    let place = match begin {
        Some(begin) => begin,
        None => begin.insert(consumer.begin(log, partition).await?),
    };
    let mut reader = log.reader(partition, place.from, C::SEES).await?;
    readers.change(&what, |state| state.failure = None);
    let mut records = Vec::new();
    let mut following = false;
    loop {
        if !following && place.from >= place.past_end {
            following = true;
            consumer.caught_up();
            readers.change(&what, |state| state.caught_up = true);
        }
        records.clear();
        reader.read(&mut records).await?;
        *progressed = true;
        place.from = reader.position();
        let past = records.partition_point(|record| record.offset < place.past_end);
        let (past, new) = records.split_at(past);
        if !past.is_empty() {
            consumer.take(past, true);
        }
        if !following && !new.is_empty() {
            following = true;
            consumer.caught_up();
            readers.change(&what, |state| state.caught_up = true);
        }
        if !new.is_empty() {
            consumer.take(new, false);
        }
    }
}
