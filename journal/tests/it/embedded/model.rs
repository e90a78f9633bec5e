//! Random work with power cuts, against a model: after every cut the log holds a prefix of what was given to
//! it, across all topics, and at least what was acknowledged.

use futures_util::FutureExt;
use journal::embedded::EmbeddedLog;
use journal::{Ack, Appender, Batch, Log, LogError, Offset, Partition, Retention, TopicSpec};

use super::disk::FaultDisk;
use super::{appender, open, small, spec, values};

const PARTITIONS: u32 = 3;
const SEEDS: u64 = 60;
const CUTS: usize = 8;
const STEPS: usize = 120;

/// What was given to the log, in order.
#[derive(Default)]
struct Model {
    given: Vec<Given>,
    /// Least start of each partition, and where trimming was asked to go.
    trimmed: [(Offset, Offset); PARTITIONS as usize],
    next_value: u64,
}

struct Given {
    partition: u32,
    base: Offset,
    values: Vec<Vec<u8>>,
    ack: Option<Ack>,
    acknowledged: bool,
}

impl Model {
    fn end(&self, partition: u32) -> Offset {
        let last = self.given.iter().rev().find(|given| given.partition == partition);
        last.map_or(0, |given| given.base + given.values.len() as u64)
    }

    /// Takes the acknowledgements that have come.
    fn collect(&mut self, context: &str) {
        for given in &mut self.given {
            if let Some(answer) = given.ack.as_mut().and_then(|ack| ack.now_or_never()) {
                assert_eq!(answer.unwrap(), given.base, "{context}: acknowledged at another offset");
                given.ack = None;
                given.acknowledged = true;
            }
        }
    }

    /// Checks a reopened log and forgets what it lost.
    async fn check(&mut self, log: &dyn Log, context: &str) {
        let mut found = Vec::new();
        for index in 0..PARTITIONS {
            let place = Partition::new("model", index);
            let bounds = match log.bounds(&place).await {
                Err(LogError::UnknownPartition(_)) => (0, 0),
                bounds => bounds.map(|bounds| (bounds.start, bounds.end)).unwrap(),
            };
            let (least, most) = self.trimmed[index as usize];
            assert!(least <= bounds.0 && bounds.0 <= most.max(least), "{context}: {place} starts at {}", bounds.0);
            self.trimmed[index as usize].0 = bounds.0;
            found.push((bounds, if bounds.1 > bounds.0 { values(log, &place).await } else { Vec::new() }));
        }
        let kept = self.given.iter().take_while(|given| found[given.partition as usize].0.1 > given.base).count();
        let lost = self.given.split_off(kept);
        if let Some(lost) = lost.iter().find(|lost| lost.acknowledged) {
            panic!("{context}: lost acknowledged offset {} of partition {}", lost.base, lost.partition);
        }
        for (index, ((start, end), found)) in (0..).zip(found) {
            assert_eq!(end, self.end(index), "{context}: partition {index} holds more than a prefix across topics");
            let given = self.given.iter().filter(|given| given.partition == index);
            let expected: Vec<_> = given.flat_map(|given| given.values.iter().cloned()).skip(start as usize).collect();
            assert!(found == expected, "{context}: partition {index} holds other records");
        }
        for given in &mut self.given {
            given.ack = None;
            given.acknowledged = true;
        }
    }
}

struct Run {
    log: EmbeddedLog<FaultDisk>,
    appenders: Vec<Box<dyn Appender>>,
    noise: Option<Box<dyn Appender>>,
}

impl Run {
    async fn new(disk: &FaultDisk) -> Result<Self, LogError> {
        let log = open(disk, small())?;
        Ok(Self { log, appenders: Vec::new(), noise: None })
    }

    async fn prepare(&mut self) {
        // A topic that drops its records soon, so that old segments are freed and others' records carried.
        let retention = Retention { age: None, bytes: Some(100_000) };
        self.log.create_topic(&TopicSpec { retention, ..spec("noise", 1) }).await.unwrap();
        self.noise = Some(appender(&self.log, &Partition::new("noise", 0)).await);
        self.log.create_topic(&spec("model", PARTITIONS)).await.unwrap();
        for index in 0..PARTITIONS {
            self.appenders.push(appender(&self.log, &Partition::new("model", index)).await);
        }
    }

    async fn step(&mut self, model: &mut Model, random: &mut fastrand::Rng) {
        match random.u32(0..100) {
            0..80 => {
                let partition = random.u32(0..PARTITIONS);
                let count = random.usize(1..6);
                let len_max = if random.u32(0..20) == 0 { 20_000 } else { 300 };
                let mut batch = Batch::new();
                let mut given = Vec::new();
                for _ in 0..count {
                    model.next_value += 1;
                    let mut value = model.next_value.to_le_bytes().to_vec();
                    value.resize(8 + random.usize(0..len_max), model.next_value as u8);
                    batch.push(b"k", &value);
                    given.push(value);
                }
                let base = model.end(partition);
                let ack = self.appenders[partition as usize].append(batch).await.unwrap();
                model.given.push(Given { partition, base, values: given, ack: Some(ack), acknowledged: false });
            }
            80..84 => {
                let noise = self.noise.as_mut().expect("prepared");
                noise.append(Batch::of(b"", &vec![0; random.usize(0..30_000)])).await.unwrap();
            }
            84..90 => {
                if let Some(given) = model.given.last_mut()
                    && let Some(ack) = given.ack.take()
                {
                    assert_eq!(ack.await.unwrap(), given.base);
                    given.acknowledged = true;
                }
            }
            90..93 => {
                let partition = random.u32(0..PARTITIONS);
                let place = Partition::new("model", partition);
                let durable = self.log.bounds(&place).await.unwrap().end;
                let before = random.u64(0..=durable);
                let (least, most) = &mut model.trimmed[partition as usize];
                *most = before.max(*most);
                self.log.trim(&place, before).await.unwrap();
                *least = before.max(*least);
            }
            _ => tokio::time::sleep(std::time::Duration::from_micros(random.u64(0..600))).await,
        }
    }
}

async fn run_seed(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut disk = FaultDisk::new();
    let mut model = Model::default();
    for cut in 0..CUTS {
        let context = format!("seed {seed}, cut {cut}");
        let mut run = match Run::new(&disk).await {
            Ok(run) => run,
            Err(refusal) => panic!("{context}: {refusal}"),
        };
        model.check(&run.log, &context).await;
        run.prepare().await;
        disk.faults().sync_us.store([0, 0, 100, 1500][random.usize(0..4)], std::sync::atomic::Ordering::Relaxed);
        for _ in 0..random.usize(1..STEPS) {
            run.step(&mut model, &mut random).await;
        }
        model.collect(&context);
        disk = match random.u32(0..4) {
            // The process ends, in good order or killed, and the machine stays up.
            0 => {
                run.log.close().await.unwrap();
                model.collect(&context);
                disk.copy()
            }
            1 => disk.copy(),
            _ => disk.power_cut(&mut random),
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_leave_a_prefix_with_all_that_was_acknowledged() {
    // JOURNAL_SEED=n runs that one, JOURNAL_SEEDS=n the first n.
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    match number("JOURNAL_SEED") {
        Some(seed) => run_seed(seed).await,
        None => {
            for seed in 0..number("JOURNAL_SEEDS").unwrap_or(SEEDS) {
                run_seed(seed).await;
            }
        }
    }
}
