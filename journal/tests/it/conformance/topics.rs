//! Topics.

use std::time::Duration;

use journal::{Log, LogError, Partition, Priority, Retention, Visibility};

use super::Suite;

pub(super) async fn created_listed_and_refused(suite: &Suite<'_>, log: &dyn Log) {
    let name = suite.topic(log, "topics", 3).await;
    let mut spec = suite.spec("topics", 3);
    log.create_topic(&spec).await.expect("creating it again changes nothing");
    spec.retention = Retention { age: Some(Duration::from_secs(3600)), bytes: Some(1 << 30) };
    log.create_topic(&spec).await.expect("its retention may change");
    spec.partitions = 4;
    let refused = log.create_topic(&spec).await;
    assert!(
        matches!(&refused, Err(LogError::PartitionCount { existing: 3, wanted: 4, topic }) if *topic == name),
        "{refused:?}"
    );

    let topics = log.topics().await.unwrap();
    assert!(topics.is_sorted(), "{topics:?}");
    assert!(topics.contains(&(name.as_str().into(), 3)), "{topics:?}");
    if suite.exclusive {
        assert_eq!(topics.len(), 1);
    }

    for unknown in [Partition::new(&name, 3), Partition::new("no-such-topic", 0)] {
        let is_unknown = |error: LogError| matches!(error, LogError::UnknownPartition(named) if named == unknown);
        assert!(is_unknown(log.bounds(&unknown).await.unwrap_err()));
        assert!(is_unknown(log.trim(&unknown, 0).await.unwrap_err()));
        assert!(is_unknown(log.appender(&unknown, Priority::Normal).await.map(|_| ()).unwrap_err()));
        assert!(is_unknown(log.reader(&unknown, 0, Visibility::Durable).await.map(|_| ()).unwrap_err()));
    }
    for index in 0..3 {
        let bounds = log.bounds(&Partition::new(&name, index)).await.unwrap();
        assert_eq!((bounds.start, bounds.end), (0, 0));
    }
    assert!(log.unavailable().await.is_none());
    assert_ne!(log.incarnation(), 0);
}
