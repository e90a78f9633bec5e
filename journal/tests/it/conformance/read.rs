//! Reading.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use journal::{Log, LogError, Partition, Visibility};

use super::{Suite, appender, assert_content, batch, read_to, reader, soon};

async fn fill(log: &dyn Log, place: &Partition, batches: u64, count: u64) -> u64 {
    let mut appender = appender(log, place).await;
    let mut acks = Vec::new();
    for number in 0..batches {
        acks.push(appender.append(batch(number * count..(number + 1) * count, 100)).await.unwrap());
    }
    for ack in acks {
        soon("an acknowledgement", ack).await.unwrap();
    }
    batches * count
}

pub(super) async fn from_any_offset(suite: &Suite<'_>, log: &dyn Log) {
    let place = Partition::new(&suite.topic(log, "any-offset", 1).await, 0);
    let end = fill(log, &place, 30, 7).await;
    for from in 0..=end {
        let sees = if from % 2 == 0 { Visibility::Durable } else { Visibility::Written };
        let mut reader = log.reader(&place, from, sees).await.unwrap();
        assert_eq!(reader.position(), from);
        let records = soon("reading", read_to(&mut *reader, end.min(from + 10))).await;
        for (number, record) in (from..).zip(&records) {
            assert_content(record, number, 100);
        }
    }
}

pub(super) async fn positions_outside_are_refused(suite: &Suite<'_>, log: &dyn Log) {
    let place = Partition::new(&suite.topic(log, "outside", 1).await, 0);
    let end = fill(log, &place, 2, 5).await;
    for sees in [Visibility::Durable, Visibility::Written] {
        for wanted in [end + 1, u64::MAX] {
            let refused = log.reader(&place, wanted, sees).await.map(|_| ());
            assert!(
                matches!(&refused, Err(LogError::Truncated { wanted: at, end: known, partition })
                    if *at == wanted && *known == end && *partition == place),
                "{refused:?}"
            );
        }
    }
}

pub(super) async fn waiting_readers_wake(suite: &Suite<'_>, log: &Arc<dyn Log>) {
    let place = Partition::new(&suite.topic(&**log, "wake", 1).await, 0);
    let mut readers = Vec::new();
    for sees in [Visibility::Durable, Visibility::Written, Visibility::Durable] {
        let mut reader = log.reader(&place, 0, sees).await.unwrap();
        let mut records = Vec::new();
        let waited = tokio::time::timeout(Duration::from_millis(50), reader.read(&mut records)).await;
        assert!(waited.is_err() && records.is_empty(), "a reader at the end waits");
        readers.push(tokio::spawn(async move { read_to(&mut *reader, 100).await.len() }));
    }
    let mut appender = appender(&**log, &place).await;
    for number in 0..100 {
        appender.append(batch(number..number + 1, 100)).await.unwrap().await.unwrap();
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for reader in readers {
        assert_eq!(soon("waking", reader).await.unwrap(), 100);
    }
}

/// Reads are dropped after one poll again and again while records arrive; none is lost or doubled.
pub(super) async fn a_dropped_read_takes_nothing(suite: &Suite<'_>, log: &Arc<dyn Log>) {
    let place = Partition::new(&suite.topic(&**log, "dropped-read", 1).await, 0);
    let end = 2000;
    let (of_writer, at) = (Arc::clone(log), place.clone());
    let writer = tokio::spawn(async move {
        let mut appender = appender(&*of_writer, &at).await;
        for number in (0..end).step_by(4) {
            appender.append(batch(number..number + 4, 100)).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut reader = reader(&**log, &place, 0).await;
    let mut records = Vec::new();
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while reader.position() < end {
        match reader.read(&mut records).now_or_never() {
            Some(read) => read.unwrap(),
            None => tokio::time::sleep(Duration::from_micros(200)).await,
        }
        assert!(tokio::time::Instant::now() < until, "stuck at {}", reader.position());
        // One poll may never be enough where bytes come from a disk or a broker: go on in earnest at times.
        if records.len() % 3 == 0 && reader.position() < end {
            soon("reading", reader.read(&mut records)).await.unwrap();
        }
    }
    writer.await.unwrap();
    assert_eq!(records.len() as u64, end);
    for (number, record) in (0..).zip(&records) {
        assert_eq!(record.offset, number);
        assert_content(record, number, 100);
    }
}

pub(super) async fn trimmed_records_go_and_the_rest_stays(suite: &Suite<'_>, log: &dyn Log) {
    let place = Partition::new(&suite.topic(log, "trim", 1).await, 0);
    let end = fill(log, &place, 20, 10).await;
    let mut behind = reader(log, &place, 0).await;
    log.trim(&place, 0).await.unwrap();
    assert_eq!(log.bounds(&place).await.unwrap().start, 0);
    log.trim(&place, 105).await.unwrap();
    let bounds = log.bounds(&place).await.unwrap();
    assert!(bounds.start <= 105 && bounds.end == end, "{bounds:?}");
    if suite.trims_exactly {
        assert_eq!(bounds.start, 105);
        let trimmed =
            |error: LogError, at: u64| matches!(error, LogError::Trimmed { wanted, start: 105, .. } if wanted == at);
        assert!(trimmed(log.reader(&place, 104, Visibility::Durable).await.map(|_| ()).unwrap_err(), 104));
        assert!(trimmed(behind.read(&mut Vec::new()).await.unwrap_err(), 0), "a reader that was overtaken is told");
    }
    log.trim(&place, 50).await.expect("trimming less changes nothing");
    assert!(log.bounds(&place).await.unwrap().start >= bounds.start);
    let records = soon("reading", read_to(&mut *reader(log, &place, 105).await, end)).await;
    for (number, record) in (105..).zip(&records) {
        assert_content(record, number, 100);
    }
    log.trim(&place, u64::MAX).await.expect("trimming past the end trims all");
    let bounds = log.bounds(&place).await.unwrap();
    assert!(bounds.start <= end && bounds.end == end, "{bounds:?}");
    let mut appender = appender(log, &place).await;
    let next = appender.append(batch(end..end + 1, 100)).await.unwrap().await.unwrap();
    assert_eq!(next, end, "offsets go on where they were");
    let records = soon("reading", read_to(&mut *reader(log, &place, end).await, end + 1)).await;
    assert_content(&records[0], end, 100);
}
