//! Creating topics, and the one that names the log.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime};

use fluvio::metadata::topic::{CleanupPolicy, SegmentBasedPolicy, TopicSpec as FluvioTopic, TopicStorageConfig};

use super::cluster::Cluster;
use crate::error::LogError;
use crate::log::{Partition, Retention, TopicSpec};

/// Topic whose first record names the log. It is ours and is not listed.
pub(super) const INCARNATION_TOPIC: &str = "incarnation";
/// Key of that record; its content is the incarnation as 32 hexadecimal digits.
pub(super) const INCARNATION_KEY: &[u8] = b"incarnation";

/// Segments are the unit in which Fluvio frees space, and the last one is scanned when an SPU starts.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// A batch has to fit into a segment.
const SEGMENT_BYTES_MIN: u64 = 16 << 20;
/// Segments that a bounded partition is divided into, about.
const SEGMENTS: u64 = 8;
/// Bytes kept where no bound is asked for; Fluvio's own default is 100 GB.
const UNBOUNDED_BYTES: u64 = 1 << 50;
/// The shortest age that Fluvio takes.
const AGE_MIN: Duration = Duration::from_secs(10);

impl Cluster {
    /// Makes sure that a topic exists and that its partitions can be used.
    pub(super) async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let mut retry = self.call_retry();
        loop {
            self.check_open()?;
            match self.create_topic_once(spec).await {
                Ok(()) => return Ok(()),
                Err(error) => retry.after(error, Duration::ZERO).await?,
            }
        }
    }

    async fn create_topic_once(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let wanted = translate(spec);
        if self.find_topic(spec, &wanted).await?.is_none() {
            let created = self.controller().await?.create(&spec.name, wanted.clone()).await;
            // Somebody else may have been quicker, or the answer was lost: what counts is what is there.
            if self.find_topic(spec, &wanted).await?.is_none() {
                created?;
                return Err(LogError::Broker(format!("topic {} is not listed yet", spec.name)));
            }
        }
        for index in 0..spec.partitions {
            self.probe(&Partition { topic: spec.name.clone(), index }).await.map_err(|error| match error {
                LogError::UnknownPartition(partition) => LogError::Broker(format!("{partition} is not there yet")),
                other => other,
            })?;
        }
        Ok(())
    }

    /// The topic, when it is there and has the right number of partitions.
    async fn find_topic(&self, spec: &TopicSpec, wanted: &FluvioTopic) -> Result<Option<()>, LogError> {
        let Some(found) = self.topics().await?.into_iter().find(|topic| *topic.name == *spec.name) else {
            return Ok(None);
        };
        let existing = found.spec.partitions();
        if existing != spec.partitions {
            return Err(LogError::PartitionCount { topic: spec.name.to_string(), existing, wanted: spec.partitions });
        }
        let differs = found.spec.get_clean_policy() != wanted.get_clean_policy()
            || found.spec.get_storage() != wanted.get_storage()
            || found.spec.replication_factor() != wanted.replication_factor();
        if differs {
            tracing::warn!(
                topic = %spec.name,
                "retention or replication differs from the configuration: Fluvio sets both when a topic is created"
            );
        }
        Ok(Some(()))
    }
}

/// A topic as Fluvio describes it.
fn translate(spec: &TopicSpec) -> FluvioTopic {
    let mut topic = FluvioTopic::new_computed(spec.partitions, spec.replication, None);
    let age_s = spec.retention.age.map_or(u64::from(u32::MAX), |age| age.max(AGE_MIN).as_secs());
    let time_in_seconds = u32::try_from(age_s).unwrap_or(u32::MAX);
    topic.set_cleanup_policy(CleanupPolicy::Segment(SegmentBasedPolicy { time_in_seconds }));
    let bytes = spec.retention.bytes.unwrap_or(UNBOUNDED_BYTES).max(2 * SEGMENT_BYTES_MIN);
    let segment = (bytes / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    topic.set_storage(TopicStorageConfig {
        segment_size: Some(u32::try_from(segment).expect("a segment is at most 64 MiB")),
        max_partition_size: Some(bytes),
    });
    topic
}

/// The topic that names the log: kept for ever.
pub(super) fn incarnation_topic(replication: u32) -> TopicSpec {
    let retention = Retention { age: None, bytes: None };
    TopicSpec { name: INCARNATION_TOPIC.into(), partitions: 1, replication, retention }
}

/// A number that no other log has, never 0: the operating system's randomness behind the standard hash maps,
/// and the time.
pub(super) fn new_incarnation() -> u128 {
    let half = |salt: u64| {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(salt);
        hasher.write_u32(std::process::id());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        hasher.write_u128(now.as_nanos());
        u128::from(hasher.finish())
    };
    (half(1) << 64 | half(2)).max(1)
}

/// Reads the content of the incarnation record.
pub(super) fn parse_incarnation(content: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.len() == 32)?;
    u128::from_str_radix(text, 16).ok().filter(|incarnation| *incarnation > 0)
}

/// The content of the incarnation record.
pub(super) fn format_incarnation(incarnation: u128) -> String {
    format!("{incarnation:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(age: Option<u64>, bytes: Option<u64>) -> TopicSpec {
        let retention = Retention { age: age.map(Duration::from_secs), bytes };
        TopicSpec { name: "ticks".into(), partitions: 4, replication: 1, retention }
    }

    #[test]
    fn every_retention_is_one_that_fluvio_takes() {
        for age in [None, Some(0), Some(3600), Some(u64::MAX / 4)] {
            for bytes in [None, Some(0), Some(1), Some(64 << 20), Some(2 << 30), Some(u64::MAX)] {
                let topic = translate(&spec(age, bytes));
                assert_eq!(topic.validate_config(), None, "age {age:?} s, {bytes:?} bytes");
                let segment = topic.get_storage().and_then(|storage| storage.segment_size).expect("is set");
                assert!(u64::from(segment) > crate::Batch::BYTES_MAX as u64, "a batch fits into a segment");
            }
        }
        let topic = translate(&spec(Some(3600), Some(2 << 30)));
        assert_eq!(topic.retention_secs(), 3600);
        assert_eq!(topic.get_storage().and_then(|storage| storage.max_partition_size), Some(2 << 30));
    }

    #[test]
    fn incarnations_differ_and_are_read_back() {
        let (one, other) = (new_incarnation(), new_incarnation());
        assert_ne!(one, other);
        assert_eq!(parse_incarnation(format_incarnation(one).as_bytes()), Some(one));
        for bad in ["", "1", "00000000000000000000000000000000", "zz000000000000000000000000000000"] {
            assert_eq!(parse_incarnation(bad.as_bytes()), None, "{bad}");
        }
    }
}
