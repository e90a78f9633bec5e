//! Several appenders and readers at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::{Batch, Log, Partition, Visibility};

use super::{Suite, appender, read_to, soon};

const APPENDERS: u64 = 4;
const BATCHES: u64 = 200;
const COUNT: u64 = 5;

/// Each appender's records stay in its order, each batch in one piece, and every tailer sees the same.
pub(super) async fn appenders_and_tailers(suite: &Suite<'_>, log: &Arc<dyn Log>) {
    let place = Partition::new(&suite.topic(&**log, "concurrent", 1).await, 0);
    let end = APPENDERS * BATCHES * COUNT;
    let mut tailers = Vec::new();
    for sees in [Visibility::Durable, Visibility::Written, Visibility::Durable] {
        let mut reader = log.reader(&place, 0, sees).await.unwrap();
        tailers.push(tokio::spawn(async move { read_to(&mut *reader, end).await }));
    }
    let mut writers = Vec::new();
    for number in 0..APPENDERS {
        let mut appender = appender(&**log, &place).await;
        writers.push(tokio::spawn(async move {
            let mut acks = Vec::new();
            for place in 0..BATCHES {
                let mut batch = Batch::new();
                for index in 0..COUNT {
                    let value = [number, place * COUNT + index].map(u64::to_le_bytes).concat();
                    batch.push(b"", &value);
                }
                acks.push(appender.append(batch).await.unwrap());
            }
            let mut offsets = Vec::new();
            for ack in acks {
                offsets.push(ack.await.unwrap());
            }
            (number, offsets)
        }));
    }
    let mut offsets = BTreeMap::new();
    for writer in writers {
        let (number, of_writer) = soon("appending", writer).await.unwrap();
        assert!(of_writer.is_sorted_by(|before, after| before + COUNT <= *after));
        offsets.insert(number, of_writer);
    }
    let mut seen = Vec::new();
    for tailer in tailers {
        seen.push(soon("tailing", tailer).await.unwrap());
    }
    assert!(seen.iter().all(|records| *records == seen[0]), "tailers saw different records");
    let fields = |offset: u64| {
        let value = &seen[0][offset as usize].value;
        (u64::from_le_bytes(value[..8].try_into().unwrap()), u64::from_le_bytes(value[8..].try_into().unwrap()))
    };
    for (number, of_writer) in offsets {
        for (place, first) in (0..).zip(of_writer) {
            for index in 0..COUNT {
                assert_eq!(fields(first + index), (number, place * COUNT + index));
            }
        }
    }
}

pub(super) async fn partitions_are_independent(suite: &Suite<'_>, log: &Arc<dyn Log>) {
    let name = suite.topic(&**log, "many", 16).await;
    let mut tasks = Vec::new();
    for index in 0..16_u64 {
        let (log, place) = (Arc::clone(log), Partition::new(&name, index as u32));
        tasks.push(tokio::spawn(async move {
            let mut appender = appender(&*log, &place).await;
            let mut reader = log.reader(&place, 0, Visibility::Durable).await.unwrap();
            let count = 20 + index;
            for number in 0..count {
                let batch = Batch::of(&index.to_le_bytes(), &number.to_le_bytes());
                assert_eq!(appender.append(batch).await.unwrap().await.unwrap(), number);
            }
            let records = read_to(&mut *reader, count).await;
            assert!(records.iter().all(|record| record.key == index.to_le_bytes()[..]));
            assert_eq!(log.bounds(&place).await.unwrap().end, count);
        }));
    }
    for task in tasks {
        soon("a partition", task).await.unwrap();
    }
}
