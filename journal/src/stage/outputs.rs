//! What a core makes of a record, sorted by the partition it goes to.

use model::{Cause, topic};

use super::OutputTopic;
use crate::batch::Batch;
use crate::log::{Offset, Partition};

/// A batch is closed once it has this size, so that none ever comes near the log's limit.
const BATCH_BYTES: usize = 1 << 20;

/// Collects outputs. Those that are in the log already are dropped here.
#[derive(Debug, Clone)]
pub struct Outputs {
    cause: Cause,
    topics: Vec<TopicOutputs>,
    size: usize,
    emitted: u64,
}

#[derive(Debug, Clone)]
struct TopicOutputs {
    /// Index of the next output of the current record in this topic.
    index: u32,
    /// Every partition holds an output of a record at or after this one.
    all_before: Offset,
    partitions: Vec<PartitionOutputs>,
}

#[derive(Debug, Clone)]
struct PartitionOutputs {
    /// Cause of the last record that the log holds of this stage.
    last: Option<LastCause>,
    batches: Vec<Batch>,
}

/// Offset and index of a cause. Their order is that of everything one stage writes to one partition.
pub(super) type LastCause = (Offset, u32);

/// Topic, partition and a batch for it.
pub(super) type Drained = (usize, usize, Batch);

impl Outputs {
    /// Outputs of the records of `inbox`. `last` says per topic and partition what is there already.
    pub(super) fn new(inbox: &Partition, last: Vec<Vec<Option<LastCause>>>) -> Self {
        let partition = |last| PartitionOutputs { last, batches: Vec::new() };
        let topics = last.into_iter().map(|last| TopicOutputs {
            index: 0,
            all_before: last.iter().map(|last| last.map_or(0, |last| last.0)).min().unwrap_or(0),
            partitions: last.into_iter().map(partition).collect(),
        });
        Self {
            cause: Cause { topic: topic::name(&inbox.topic), partition: inbox.index, offset: 0, index: 0 },
            topics: topics.collect(),
            size: 0,
            emitted: 0,
        }
    }

    /// Outputs that are all there already: what is pushed goes nowhere.
    pub fn discarding(inbox: &Partition, outputs: &[OutputTopic]) -> Self {
        let last = |output: &OutputTopic| vec![Some((Offset::MAX, u32::MAX)); output.partitions as usize];
        Self::new(inbox, outputs.iter().map(last).collect())
    }

    /// What is pushed from here on follows from the record at `offset`. The stage calls it before [`super::Core::apply`]; only
    /// an [`super::Unwritten`] calls it itself.
    pub fn begin(&mut self, offset: Offset) {
        self.cause.offset = offset;
        for topic in &mut self.topics {
            topic.index = 0;
        }
    }

    /// Whether the log has every output of the current record in this topic, so that none needs to be pushed. It
    /// may have them without this being known.
    pub fn has_all(&self, output: usize) -> bool {
        self.cause.offset < self.topics[output].all_before
    }

    /// Adds an output of the current record to a topic, by the topic's place in the stage's configuration.
    /// `write` appends the content, which carries the cause it is given; it is not called when the log has
    /// this output already.
    ///
    /// # Panics
    /// When the stage has no such topic.
    pub fn push(&mut self, output: usize, key: &[u8], write: impl FnOnce(&Cause, &mut Vec<u8>)) {
        let topic = &mut self.topics[output];
        let index = topic.index;
        topic.index += 1;
        let partition = topic::partition_for(key, topic.partitions.len() as u32);
        self.place(output, partition, index, key, write);
    }

    /// As [`Self::push`], to a given partition and with an index that the core counts itself: it rises within
    /// the current record in each partition, and may be the same in several. A topic is written either in
    /// this way or the other.
    ///
    /// # Panics
    /// When the stage has no such topic or the topic no such partition.
    pub fn push_to(
        &mut self,
        output: usize,
        partition: u32,
        index: u32,
        key: &[u8],
        write: impl FnOnce(&Cause, &mut Vec<u8>),
    ) {
        self.place(output, partition, index, key, write);
    }

    fn place(
        &mut self,
        output: usize,
        partition: u32,
        index: u32,
        key: &[u8],
        write: impl FnOnce(&Cause, &mut Vec<u8>),
    ) {
        let cause = Cause { index, ..self.cause };
        let partition = &mut self.topics[output].partitions[partition as usize];
        if partition.last.is_some_and(|last| (cause.offset, cause.index) <= last) {
            return;
        }
        if partition.batches.last().is_none_or(|batch| batch.size() >= BATCH_BYTES || batch.len() >= Batch::RECORDS_MAX)
        {
            partition.batches.push(Batch::new());
        }
        let batch = partition.batches.last_mut().expect("one was just made sure of");
        let before = batch.size();
        batch.push_with(key, |out| write(&cause, out));
        self.size += batch.size() - before;
        self.emitted += 1;
    }

    /// The current record, as the cause of its outputs: index 0.
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether enough has come together to be handed over before more is applied.
    pub(super) const fn is_full(&self) -> bool {
        self.size >= BATCH_BYTES
    }

    /// Bytes that wait.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Outputs since the last call that the log did not have.
    pub(super) const fn take_emitted(&mut self) -> u64 {
        std::mem::replace(&mut self.emitted, 0)
    }

    /// Takes what waits: topic, partition, batch; batches of one partition in order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Drained> {
        self.size = 0;
        self.topics.iter_mut().enumerate().flat_map(|(topic, outputs)| {
            outputs.partitions.iter_mut().enumerate().flat_map(move |(partition, outputs)| {
                outputs.batches.drain(..).map(move |batch| (topic, partition, batch))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(last: Option<LastCause>) -> Outputs {
        Outputs::new(&Partition::new("ticks", 3), vec![vec![last], vec![None, None]])
    }

    fn emitted(outputs: &mut Outputs) -> Vec<(usize, usize, Vec<u8>)> {
        let batches: Vec<_> = outputs.drain().collect();
        let values = |(topic, partition, batch): &(usize, usize, Batch)| {
            batch.iter().map(|record| (*topic, *partition, record.value.to_vec())).collect::<Vec<_>>()
        };
        batches.iter().flat_map(values).collect()
    }

    fn push(outputs: &mut Outputs, topic: usize, key: &[u8]) {
        outputs.push(topic, key, |cause, out| out.extend([cause.offset as u8, cause.index as u8]));
    }

    #[test]
    fn the_index_counts_within_record_and_topic() {
        let mut outputs = outputs(None);
        for offset in [7, 8] {
            outputs.begin(offset);
            for topic in [0, 1, 0] {
                push(&mut outputs, topic, b"BTC");
            }
        }
        let at = topic::partition_for(b"BTC", 2) as usize;
        let expected =
            [(0, 0, [7, 0]), (0, 0, [7, 1]), (0, 0, [8, 0]), (0, 0, [8, 1]), (1, at, [7, 0]), (1, at, [8, 0])];
        assert_eq!(emitted(&mut outputs), expected.map(|(topic, partition, value)| (topic, partition, value.to_vec())));
        assert!(emitted(&mut outputs).is_empty());
    }

    #[test]
    fn what_the_log_has_is_not_written_again() {
        let mut outputs = outputs(Some((7, 0)));
        for offset in [6, 7, 8] {
            outputs.begin(offset);
            push(&mut outputs, 0, b"BTC");
            push(&mut outputs, 0, b"BTC");
        }
        let values: Vec<_> = emitted(&mut outputs).into_iter().map(|(_, _, value)| value).collect();
        assert_eq!(values, [[7, 1], [8, 0], [8, 1]]);
        assert_eq!(outputs.take_emitted(), 3);
    }

    #[test]
    fn large_outputs_become_several_batches() {
        let mut outputs = outputs(None);
        outputs.begin(1);
        for _ in 0..40 {
            outputs.push(0, b"", |_, out| out.resize(out.len() + 100_000, 0));
        }
        assert!(outputs.is_full());
        let sizes: Vec<_> = outputs.drain().map(|(_, _, batch)| batch.size()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 4_000_000);
        assert!(sizes.len() == 4 && sizes.iter().all(|size| *size <= BATCH_BYTES + 100_000), "{sizes:?}");
    }
}
