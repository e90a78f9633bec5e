//! Appending.

use std::sync::Arc;

use futures_util::FutureExt;
use journal::{Batch, Log, LogError, Partition, Priority};

use super::{Suite, appender, assert_content, batch, read_to, reader, soon};

pub(super) async fn offsets_are_contiguous_and_content_is_kept(suite: &Suite<'_>, log: &dyn Log) {
    let place = Partition::new(&suite.topic(log, "offsets", 2).await, 1);
    let mut appender = appender(log, &place).await;
    assert_eq!(appender.append(Batch::new()).await.unwrap().await.unwrap(), 0, "an empty batch tells the next offset");
    let mut acks = Vec::new();
    let mut next = 0;
    for count in [1, 2, 500, 0, 1, 3000, 0, 7] {
        acks.push((next, appender.append(batch(next..next + count, 200)).await.unwrap()));
        next += count;
    }
    for (first, ack) in acks {
        assert_eq!(soon("an acknowledgement", ack).await.unwrap(), first);
    }
    // Acknowledged means visible to a reader that stores offsets, at once.
    let bounds = log.bounds(&place).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (0, next));
    let records = read_to(&mut *reader(log, &place, 0).await, next).await;
    for (number, record) in (0..).zip(&records) {
        assert_content(record, number, 200);
    }
    let other = log.bounds(&Partition::new(&place.topic, 0)).await.unwrap();
    assert_eq!((other.start, other.end), (0, 0));
}

pub(super) async fn limits_hold_and_a_refusal_changes_nothing(suite: &Suite<'_>, log: &dyn Log) {
    let place = Partition::new(&suite.topic(log, "limits", 1).await, 0);
    let mut appender = log.appender(&place, Priority::Reserve).await.unwrap();
    let mut many = Batch::new();
    (0..Batch::RECORDS_MAX).for_each(|_| many.push(b"", b"x"));
    let large = vec![7; Batch::BYTES_MAX - 1];
    assert_eq!(appender.append(many.clone()).await.unwrap().await.unwrap(), 0);
    many.push(b"", b"x");
    let refused = appender.append(many).await.map(|_| ());
    assert!(
        matches!(&refused, Err(LogError::BatchTooLarge { what: "records", value, max, .. })
            if *max == Batch::RECORDS_MAX && *value == max + 1),
        "{refused:?}"
    );
    assert_eq!(appender.append(Batch::of(b"k", &large)).await.unwrap().await.unwrap(), Batch::RECORDS_MAX as u64);
    let refused = appender.append(Batch::of(b"kk", &large)).await.map(|_| ());
    assert!(
        matches!(&refused, Err(LogError::BatchTooLarge { what: "bytes", value, max, .. })
            if *max == Batch::BYTES_MAX && *value == max + 1),
        "{refused:?}"
    );
    let end = Batch::RECORDS_MAX as u64 + 2;
    assert_eq!(appender.append(Batch::of(b"", b"")).await.unwrap().await.unwrap(), end - 1);
    assert_eq!(log.bounds(&place).await.unwrap().end, end);
    let records = read_to(&mut *reader(log, &place, end - 2).await, end).await;
    assert!(records[0].key == "k" && records[0].value == large);
    assert!(records[1].key.is_empty() && records[1].value.is_empty());
}

pub(super) async fn a_dropped_acknowledgement_takes_nothing_back(suite: &Suite<'_>, log: &dyn Log) {
    let place = Partition::new(&suite.topic(log, "dropped-ack", 1).await, 0);
    let mut appender = appender(log, &place).await;
    for number in 0..50 {
        drop(appender.append(batch(number..number + 1, 50)).await.unwrap());
    }
    drop(appender);
    let records = soon("reading", read_to(&mut *reader(log, &place, 0).await, 50)).await;
    for (number, record) in (0..).zip(&records) {
        assert_content(record, number, 50);
    }
}

/// Appends are dropped after their first poll while the queue is full; what is stored then is a sequence of
/// whole batches in the order they were given.
pub(super) async fn a_dropped_append_is_whole_or_nothing(suite: &Suite<'_>, log: &Arc<dyn Log>) {
    let place = Partition::new(&suite.topic(&**log, "dropped-append", 1).await, 0);
    let mut appender = appender(&**log, &place).await;
    let mut accepted = Vec::new();
    let mut unknown = 0;
    for number in 0..300_u64 {
        let mut batch = Batch::new();
        for _ in 0..100 {
            batch.push(b"", &[&number.to_le_bytes()[..], &[0; 2000]].concat());
        }
        match appender.append(batch).now_or_never() {
            Some(ack) => accepted.push((number, ack.unwrap())),
            None => unknown += 1,
        }
    }
    let mut offsets = Vec::new();
    for (number, ack) in accepted {
        offsets.push((number, soon("an acknowledgement", ack).await.unwrap()));
    }
    let end = appender.append(Batch::new()).await.unwrap().await.unwrap();
    assert_eq!(end % 100, 0, "a batch was stored in part");
    let records = soon("reading", read_to(&mut *reader(&**log, &place, 0).await, end)).await;
    let numbers: Vec<u64> =
        records.iter().map(|record| u64::from_le_bytes(record.value[..8].try_into().unwrap())).collect();
    for batch in numbers.chunks(100) {
        assert!(batch.iter().all(|number| *number == batch[0]), "a batch was stored in part");
    }
    let order: Vec<u64> = numbers.iter().step_by(100).copied().collect();
    assert!(order.is_sorted_by(|before, after| before < after), "batches changed places: {order:?}");
    assert!(order.len() <= offsets.len() + unknown);
    for (number, offset) in offsets {
        assert_eq!(numbers[offset as usize], number, "acknowledged at another offset");
    }
}
