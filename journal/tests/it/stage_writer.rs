//! Two writers of one role: whoever claims later speaks.

use std::sync::Arc;

use journal::{ClaimedWriter, Log, Partition, Priority};
use model::{Claim, Clock, Origin, Role, Tick, TickBody, TickFlags, UnixNanos};

use crate::stage_harness::{INBOX, open, read_all};

fn tick(epoch: u64, sequence: u64, body: TickBody) -> Tick {
    let role: Role = "aggregate/clock".parse().unwrap();
    let origin = Origin::Root { role, epoch, sequence };
    Tick { origin, ts_event: UnixNanos(1), ts_recv: UnixNanos(1), flags: TickFlags::default(), body }
}

async fn claim(log: &dyn Log) -> ClaimedWriter {
    let encode = |out: &mut Vec<u8>| tick(0, 0, TickBody::Claim(Claim)).encode(out);
    ClaimedWriter::claim(log, &Partition::new(INBOX, 0), Priority::Normal, 4, b"", encode).await.unwrap()
}

async fn write(writer: &mut ClaimedWriter, count: u64) {
    for _ in 0..count {
        writer.push(b"", |stamp, out| tick(stamp.epoch, stamp.sequence, TickBody::Clock(Clock)).encode(out));
    }
    writer.settle().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_later_claim_speaks() {
    let directory = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(open(directory.path()).await);
    let mut first = claim(&*log).await;
    write(&mut first, 3).await;
    let mut second = claim(&*log).await;
    write(&mut first, 2).await;
    write(&mut second, 4).await;
    write(&mut first, 1).await;
    assert_eq!((first.epoch(), second.epoch(), first.acknowledged(), second.acknowledged()), (0, 4, 6, 4));

    let mut newest = (0, 0);
    let mut accepted = Vec::new();
    for (offset, value) in read_all(&*log, &Partition::new(INBOX, 0)).await.iter().enumerate() {
        let tick = Tick::decode(value).unwrap();
        let Origin::Root { epoch, sequence, .. } = tick.origin else { panic!("{tick:?}") };
        let place = match tick.body {
            TickBody::Claim(_) => (offset as u64, 0),
            _ => (epoch, sequence),
        };
        if place > newest {
            newest = place;
            accepted.push(place);
        }
    }
    assert_eq!(accepted, [(0, 1), (0, 2), (0, 3), (4, 0), (4, 1), (4, 2), (4, 3), (4, 4)]);
}
