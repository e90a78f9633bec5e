//! Closing and opening again.

use journal::{Batch, Log, LogError, Partition, Priority, Visibility};

use super::{Suite, appender, assert_content, batch, read_to, reader, soon};

pub(super) async fn everything_is_there_after_reopening(suite: &Suite<'_>) {
    let log = (suite.open)().await;
    let name = suite.topic(&*log, "reopen", 2).await;
    let (first, second) = (Partition::new(&name, 0), Partition::new(&name, 1));
    let mut appender_one = appender(&*log, &first).await;
    let mut appender_two = appender(&*log, &second).await;
    let mut acks = Vec::new();
    for number in 0..40 {
        acks.push(appender_one.append(batch(number..number + 1, 300)).await.unwrap());
        acks.push(appender_two.append(batch(number * 2..number * 2 + 2, 300)).await.unwrap());
    }
    log.trim(&second, 10).await.unwrap();
    let mut waiting = reader(&*log, &first, 0).await;
    let incarnation = log.incarnation();
    let (topics, start) = (log.topics().await.unwrap(), log.bounds(&second).await.unwrap().start);
    log.close().await.unwrap();
    for ack in acks {
        soon("the acknowledgement of what was accepted before the close", ack).await.unwrap();
    }
    closed(&*log, &first).await;
    assert!(matches!(appender_one.append(Batch::of(b"", b"late")).await.map(|_| ()), Err(LogError::Closed)));
    assert!(matches!(waiting.read(&mut Vec::new()).await, Err(LogError::Closed)));
    log.close().await.expect("closing again is no error");
    drop((log, appender_one, appender_two, waiting));

    let log = (suite.open)().await;
    assert_eq!(log.incarnation(), incarnation);
    if suite.exclusive {
        assert_eq!(log.topics().await.unwrap(), topics);
    }
    for (place, count) in [(&first, 40), (&second, 80)] {
        let bounds = log.bounds(place).await.unwrap();
        assert_eq!(bounds.end, count);
        let records = soon("reading", read_to(&mut *reader(&*log, place, bounds.start).await, count)).await;
        for (number, record) in (bounds.start..).zip(&records) {
            assert_content(record, number, 300);
        }
        let mut appender = appender(&*log, place).await;
        assert_eq!(appender.append(batch(count..count + 1, 300)).await.unwrap().await.unwrap(), count);
    }
    assert!(log.bounds(&second).await.unwrap().start >= start);
    let refused = log.create_topic(&suite.spec("reopen", 3)).await;
    assert!(matches!(refused, Err(LogError::PartitionCount { existing: 2, .. })), "{refused:?}");
    log.close().await.unwrap();
}

async fn closed(log: &dyn Log, place: &Partition) {
    let is_closed = |error: LogError| matches!(error, LogError::Closed);
    assert!(is_closed(log.bounds(place).await.unwrap_err()));
    assert!(is_closed(log.topics().await.unwrap_err()));
    assert!(is_closed(log.trim(place, 0).await.unwrap_err()));
    assert!(is_closed(log.appender(place, Priority::Normal).await.map(|_| ()).unwrap_err()));
    assert!(is_closed(log.reader(place, 0, Visibility::Durable).await.map(|_| ()).unwrap_err()));
    assert!(log.unavailable().await.is_some_and(is_closed));
}
