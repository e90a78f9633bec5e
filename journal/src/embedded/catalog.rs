//! The topics and partitions, and how frames carry them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::partition::PartitionState;
use crate::error::LogError;
use crate::log::{Partition, Retention, TopicSpec};

/// Partitions in a log, at most: each costs memory and room in every checkpoint.
pub(super) const PARTITIONS_MAX: usize = 4096;
/// Bytes of a topic name, at most.
const NAME_MAX: usize = 23;

/// A topic.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    /// As it was created, with the retention of now.
    pub spec: TopicSpec,
    /// By index.
    pub partitions: Vec<Arc<PartitionState>>,
}

/// Every topic, and every partition by its number.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// By name.
    pub topics: BTreeMap<Arc<str>, Topic>,
    /// By number.
    pub partitions: Vec<Arc<PartitionState>>,
}

impl Catalog {
    /// Finds a partition.
    pub(super) fn find(&self, partition: &Partition) -> Result<Arc<PartitionState>, LogError> {
        self.topics
            .get(&partition.topic)
            .and_then(|topic| topic.partitions.get(partition.index as usize))
            .cloned()
            .ok_or_else(|| LogError::UnknownPartition(partition.clone()))
    }

    /// Whether the log has to write something so that this topic is as wanted.
    pub(super) fn lacks(&self, spec: &TopicSpec) -> Result<bool, LogError> {
        check_name(&spec.name)?;
        match self.topics.get(&spec.name) {
            Some(topic) if topic.spec.partitions != spec.partitions => Err(LogError::PartitionCount {
                topic: spec.name.to_string(),
                existing: topic.spec.partitions,
                wanted: spec.partitions,
            }),
            Some(topic) => Ok(topic.spec.retention != spec.retention),
            None if spec.partitions == 0 => Err(not_allowed(&spec.name, "0 partitions, at least 1".into())),
            None if self.partitions.len() + spec.partitions as usize > PARTITIONS_MAX => Err(not_allowed(
                &spec.name,
                format!("{} more partitions, at most {PARTITIONS_MAX} in a log", spec.partitions),
            )),
            None => Ok(true),
        }
    }

    /// Adds the topic, or sets its retention.
    pub(super) fn apply(&mut self, spec: &TopicSpec) {
        if let Some(topic) = self.topics.get_mut(&spec.name) {
            topic.spec.retention = spec.retention;
            return;
        }
        self.add(spec, |_| (0, 0));
    }

    fn add(&mut self, spec: &TopicSpec, bounds: impl Fn(u32) -> (u64, u64)) {
        let partitions: Vec<_> = (0..spec.partitions)
            .map(|index| {
                let name = Partition { topic: spec.name.clone(), index };
                let (start, end) = bounds(index);
                Arc::new(PartitionState::new(self.partitions.len() as u32 + index, name, start, end))
            })
            .collect();
        self.partitions.extend(partitions.iter().cloned());
        self.topics.insert(spec.name.clone(), Topic { spec: spec.clone(), partitions });
    }

    /// The checkpoint: every topic, in the order of their partitions' numbers, with starts and ends.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut topics: Vec<_> = self.topics.values().collect();
        topics.sort_by_key(|topic| topic.partitions.first().map(|partition| partition.id));
        out.extend_from_slice(&(topics.len() as u32).to_le_bytes());
        for topic in topics {
            encode_spec(&topic.spec, out);
            for partition in &topic.partitions {
                out.extend_from_slice(&partition.start().to_le_bytes());
                out.extend_from_slice(&partition.next.load(Ordering::Relaxed).to_le_bytes());
            }
        }
    }

    /// Reads a checkpoint; `None` when it is cut or makes no sense.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut catalog = Self::default();
        let mut fields = Fields(bytes);
        for _ in 0..fields.u32()? {
            let spec = decode_spec(&mut fields)?;
            if !catalog.lacks(&spec).ok()? {
                return None;
            }
            let mut bounds = Vec::with_capacity(spec.partitions as usize);
            for _ in 0..spec.partitions {
                let (start, end) = (fields.u64()?, fields.u64()?);
                if start > end {
                    return None;
                }
                bounds.push((start, end));
            }
            catalog.add(&spec, |index| bounds[index as usize]);
        }
        Some(catalog)
    }
}

fn not_allowed(topic: &str, what: String) -> LogError {
    LogError::TopicNotAllowed { topic: topic.chars().take(40).collect(), what }
}

fn check_name(name: &str) -> Result<(), LogError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(allowed) {
        return Err(not_allowed(name, format!("a name is 1 to {NAME_MAX} of a-z, 0-9 and -")));
    }
    Ok(())
}

/// Appends a topic's specification.
pub(super) fn encode_spec(spec: &TopicSpec, out: &mut Vec<u8>) {
    out.push(spec.name.len() as u8);
    out.extend_from_slice(spec.name.as_bytes());
    out.extend_from_slice(&spec.partitions.to_le_bytes());
    out.extend_from_slice(&spec.replication.to_le_bytes());
    let age_ms = spec.retention.age.map_or(u64::MAX, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    out.extend_from_slice(&age_ms.to_le_bytes());
    out.extend_from_slice(&spec.retention.bytes.unwrap_or(u64::MAX).to_le_bytes());
}

/// Reads a topic's specification.
pub(super) fn decode_spec(fields: &mut Fields<'_>) -> Option<TopicSpec> {
    let len = fields.array::<1>()?[0] as usize;
    let name = std::str::from_utf8(fields.take(len)?).ok()?;
    check_name(name).ok()?;
    let (partitions, replication) = (fields.u32()?, fields.u32()?);
    let (age_ms, bytes) = (fields.u64()?, fields.u64()?);
    let retention = Retention {
        age: (age_ms != u64::MAX).then(|| Duration::from_millis(age_ms)),
        bytes: (bytes != u64::MAX).then_some(bytes),
    };
    Some(TopicSpec { name: name.into(), partitions, replication, retention })
}

/// Little-endian fields, one after the other.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    /// The next four bytes.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight bytes.
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_back_and_cut_ones_are_refused() {
        let mut catalog = Catalog::default();
        for (name, partitions, age, bytes) in
            [("ticks", 3, Some(Duration::from_secs(3600)), Some(9)), ("a", 1, None, None)]
        {
            let retention = Retention { age, bytes };
            catalog.apply(&TopicSpec { name: name.into(), partitions, replication: 1, retention });
        }
        catalog.partitions[1].next.store(50, Ordering::Relaxed);
        catalog.partitions[1].start.store(20, Ordering::Relaxed);
        let mut bytes = Vec::new();
        catalog.encode(&mut bytes);
        let read = Catalog::decode(&bytes).expect("whole");
        for (name, topic) in &catalog.topics {
            assert_eq!(read.topics[name].spec, topic.spec);
        }
        let bounds = |partition: &Arc<PartitionState>| {
            (partition.id, partition.name.clone(), partition.start(), partition.durable())
        };
        let found: Vec<_> = read.partitions.iter().map(bounds).collect();
        assert_eq!(found[1], (1, Partition::new("ticks", 1), 20, 50));
        assert_eq!(found[3], (3, Partition::new("a", 0), 0, 0));
        for cut in 0..bytes.len() {
            assert!(Catalog::decode(&bytes[..cut]).is_none(), "cut at byte {cut}");
        }
    }
}
