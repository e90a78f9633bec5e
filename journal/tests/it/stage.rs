//! A stage that is killed, starved of its snapshots or failed by its outputs writes what one undisturbed run
//! writes: nothing twice, nothing missing, the same bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use journal::stage::{
    Hooks, Phase, SnapshotBy, SnapshotStore, Stage, StageConfig, StageError, StageStatus, WithoutSnapshot, supervise,
};
use journal::{Log, LogError, Offset, Partition};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stage_harness::{
    Fault, FaultyLog, INBOX, OUTPUTS, SumsCore, config, expected, feed, input, open, read_all, written,
};

/// As soon as the last one is written.
const ALWAYS: Duration = Duration::ZERO;
/// Not within a test.
const NEVER: Duration = Duration::from_secs(3_600);

fn inbox() -> Partition {
    Partition::new(INBOX, 0)
}

fn inputs(count: usize, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    (0..count).map(|_| input(random)).collect()
}

fn stage(log: &Arc<dyn Log>, config: &StageConfig, logic_version: u32) -> Stage<SumsCore, ()> {
    let core = move || SumsCore::new(logic_version);
    Stage::new(Arc::clone(log), config.clone(), core, ()).unwrap()
}

async fn until(status: &mut watch::Receiver<StageStatus>, what: &str, done: impl FnMut(&StageStatus) -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), status.wait_for(done)).await;
    assert!(waited.is_ok(), "{what} does not happen");
    waited.unwrap().unwrap();
}

/// Runs the stage until everything before `end` is durable, and stops it cleanly.
async fn run_to(log: &Arc<dyn Log>, config: &StageConfig, end: Offset) {
    let stage = stage(log, config, 1);
    let (stop, mut status) = (CancellationToken::new(), stage.status());
    let running = tokio::spawn(supervise(stage, stop.clone()));
    until(&mut status, "the end", |status| status.durable >= end).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_it_writes_what_an_undisturbed_run_writes() {
    for seed in 0..48 {
        let mut random = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let by = if seed % 2 == 0 { SnapshotBy::Itself } else { SnapshotBy::Replica };
        let every = if seed % 4 < 2 { ALWAYS } else { Duration::from_millis(3) };
        let config = config(directory.path(), by, every);
        let inputs = inputs(3_000, &mut random);
        let mut log: Arc<dyn Log> = Arc::new(open(directory.path()).await);
        let (mut fed, mut kills) = (0, 0);
        while fed < inputs.len() {
            let stage = stage(&log, &config, 1);
            let (stop, cleanly) = (CancellationToken::new(), random.u8(0..5) == 0);
            let running = tokio::spawn(supervise(stage, stop.clone()));
            let until = (fed + random.usize(1..400)).min(inputs.len());
            feed(&*log, &inbox(), &inputs[fed..until], &mut random).await;
            fed = until;
            tokio::time::sleep(Duration::from_micros(random.u64(0..4_000))).await;
            if cleanly {
                stop.cancel();
                running.await.unwrap().unwrap();
            } else {
                running.abort();
                let _ = running.await;
            }
            kills += 1;
            if random.u8(0..4) == 0 {
                // Dropped without being closed by anybody, as when the process ends; whoever was making a
                // snapshot then is gone as well.
                while Arc::strong_count(&log) > 1 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                drop(log);
                log = Arc::new(open(directory.path()).await);
            }
        }
        run_to(&log, &config, inputs.len() as u64).await;
        assert!(written(&*log).await == expected(&inputs), "seed {seed}: outputs differ after {kills} kills");
        let store = SnapshotStore::open(&config.snapshots.directory, 3).unwrap();
        assert_eq!(store.offsets().unwrap().first(), Some(&(inputs.len() as u64)), "seed {seed}: the last snapshot");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_outputs_are_resumed_without_gap_or_double() {
    for (seed, fault) in [Fault::AtCall, Fault::AtAck, Fault::AfterWriting].into_iter().cycle().take(9).enumerate() {
        let mut random = fastrand::Rng::with_seed(seed as u64);
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), SnapshotBy::Itself, ALWAYS);
        let inner: Arc<dyn Log> = Arc::new(open(directory.path()).await);
        let inputs = inputs(2_000, &mut random);
        let faults = Arc::new(AtomicI64::new(random.i64(1..40)));
        let (error, incarnation) = (LogError::Broker("away".into()), inner.incarnation());
        let failures = Arc::new(AtomicU64::new(0));
        let (until_fault, counted) = (Arc::clone(&faults), Arc::clone(&failures));
        let faulty =
            FaultyLog { inner: Arc::clone(&inner), until: until_fault, failures: counted, fault, error, incarnation };
        let log: Arc<dyn Log> = Arc::new(faulty);
        let stage = stage(&log, &config, 1);
        let (stop, mut status) = (CancellationToken::new(), stage.status());
        let running = tokio::spawn(supervise(stage, stop.clone()));
        for part in inputs.chunks(400) {
            feed(&*inner, &inbox(), part, &mut random).await;
            faults.store(random.i64(1..40), std::sync::atomic::Ordering::Relaxed);
        }
        until(&mut status, "the end", |status| status.durable >= inputs.len() as u64).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(written(&*inner).await == expected(&inputs), "seed {seed}, {fault:?}: outputs differ");
        let failures = failures.load(std::sync::atomic::Ordering::Relaxed);
        assert!(failures > 0, "seed {seed}, {fault:?}: nothing failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_stays_stops_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), SnapshotBy::Itself, ALWAYS);
    let inner: Arc<dyn Log> = Arc::new(open(directory.path()).await);
    let mut random = fastrand::Rng::with_seed(1);
    feed(&*inner, &inbox(), &inputs(500, &mut random), &mut random).await;
    let (error, incarnation) = (LogError::Poisoned("sync failed".into()), inner.incarnation());
    let until = Arc::new(AtomicI64::new(2));
    let log: Arc<dyn Log> = Arc::new(FaultyLog {
        inner: Arc::clone(&inner),
        until,
        failures: Arc::default(),
        fault: Fault::AtAck,
        error,
        incarnation,
    });
    let stage = stage(&log, &config, 1);
    let status = stage.status();
    let stopped = supervise(stage, CancellationToken::new()).await;
    assert!(matches!(stopped, Err(StageError::Log { error: LogError::Poisoned(_), .. })), "{stopped:?}");
    assert_eq!(status.borrow().phase, Phase::Stopped);
    assert!(status.borrow().failure.as_ref().is_some_and(|failure| failure.contains("sync failed")));
}

/// A log with the same inputs and only a part of the outputs, as if it had lost its tail.
async fn with_outputs_cut(from: &dyn Log, directory: &Path, random: &mut fastrand::Rng) -> Arc<dyn Log> {
    let inner: Arc<dyn Log> = Arc::new(open(directory).await);
    let mut partitions = vec![(inbox(), false)];
    partitions.extend(
        OUTPUTS.iter().flat_map(|(topic, count)| {
            (0..*count).map(|index| (Partition::new(topic, index), true)).collect::<Vec<_>>()
        }),
    );
    for (partition, cut) in partitions {
        let mut values = read_all(from, &partition).await;
        if cut {
            values.truncate(random.usize(0..=values.len()));
        }
        feed(&*inner, &partition, &values, random).await;
    }
    let (until, error) = (Arc::new(AtomicI64::new(-1)), LogError::Closed);
    Arc::new(FaultyLog {
        inner,
        until,
        failures: Arc::default(),
        fault: Fault::AtCall,
        error,
        incarnation: from.incarnation(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_outputs_are_written_again_from_a_snapshot_before_them() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path(), SnapshotBy::Itself, ALWAYS);
        config.snapshots.keep = 1_000;
        let inputs = inputs(600, &mut random);
        let log: Arc<dyn Log> = Arc::new(open(directory.path()).await);
        for end in [200, 400, 600] {
            feed(&*log, &inbox(), &inputs[end - 200..end], &mut random).await;
            run_to(&log, &config, end as u64).await;
        }
        let cut = with_outputs_cut(&*log, &directory.path().join("cut"), &mut random).await;
        run_to(&cut, &config, inputs.len() as u64).await;
        assert!(written(&*cut).await == expected(&inputs), "seed {seed}: outputs differ");
        let unusable = fs::read_dir(&config.snapshots.directory).unwrap().flatten();
        let set_aside = unusable.filter(|file| file.path().extension().is_some_and(|name| name == "unusable")).count();
        assert!(set_aside > 0, "seed {seed}: snapshots ahead of the log stay usable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_and_foreign_snapshots_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), SnapshotBy::Itself, NEVER);
    config.snapshots.keep = 10;
    let mut random = fastrand::Rng::with_seed(3);
    let inputs = inputs(500, &mut random);
    let log: Arc<dyn Log> = Arc::new(open(directory.path()).await);
    for end in [100, 200, 300, 400] {
        feed(&*log, &inbox(), &inputs[end - 100..end], &mut random).await;
        run_to(&log, &config, end as u64).await;
    }
    let store = SnapshotStore::open(&config.snapshots.directory, 10).unwrap();
    assert_eq!(store.offsets().unwrap(), [400, 300, 200, 100, 0]);
    let mut bytes = fs::read(store.path(400)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(store.path(400), bytes).unwrap();
    let mut foreign = store.read(300).unwrap();
    foreign.incarnation ^= 1;
    store.write(&foreign).unwrap();
    let mut newer = store.read(200).unwrap();
    newer.logic_version = 2;
    store.write(&newer).unwrap();
    let mut wrong = store.read(100).unwrap();
    wrong.state_hash ^= 1;
    store.write(&wrong).unwrap();
    let mut ahead = store.read(0).unwrap();
    ahead.offset = 900;
    store.write(&ahead).unwrap();
    feed(&*log, &inbox(), &inputs[400..], &mut random).await;
    run_to(&log, &config, 500).await;
    assert!(written(&*log).await == expected(&inputs));
    assert_eq!(store.offsets().unwrap().first(), Some(&500), "the one ahead of the log is set aside");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_known_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), SnapshotBy::Itself, NEVER);
    let mut random = fastrand::Rng::with_seed(4);
    let inputs = inputs(400, &mut random);
    let log: Arc<dyn Log> = Arc::new(open(directory.path()).await);
    feed(&*log, &inbox(), &inputs[..200], &mut random).await;
    run_to(&log, &config, 200).await;

    // A new logic starts at the end of the old one, and not where outputs of the old one follow.
    let store = SnapshotStore::open(&config.snapshots.directory, 3).unwrap();
    let at_end = fs::read(store.path(200)).unwrap();
    fs::remove_file(store.path(200)).unwrap();
    let refused = stage(&log, &config, 2).run(&CancellationToken::new()).await;
    assert!(matches!(refused, Err(StageError::LogicChanged { snapshot: 0, old: 1, new: 2, .. })), "{refused:?}");
    fs::write(store.path(200), at_end).unwrap();
    let (stop, mut new) = (CancellationToken::new(), stage(&log, &config, 2));
    stop.cancel();
    new.run(&stop).await.unwrap();
    let (stop, mut status) = (CancellationToken::new(), new.status());
    let running = tokio::spawn(supervise(new, stop.clone()));
    until(&mut status, "the new logic is live", |status| status.phase == Phase::Live).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(store.read(200).unwrap().logic_version, 2);

    // The inbox lost what outputs followed from.
    let shorter = tempfile::tempdir().unwrap();
    let inner: Arc<dyn Log> = Arc::new(open(shorter.path()).await);
    feed(&*inner, &inbox(), &inputs[..100], &mut random).await;
    let name = Partition::new(OUTPUTS[0].0, 0);
    feed(&*inner, &name, &read_all(&*log, &name).await, &mut random).await;
    config.snapshots.directory = shorter.path().join("snapshots");
    let refused = stage(&inner, &config, 1).run(&CancellationToken::new()).await;
    assert!(matches!(refused, Err(StageError::InboxTruncated { end: 100, .. })), "{refused:?}");

    // The inbox was trimmed and there is no snapshot.
    let trimmed = tempfile::tempdir().unwrap();
    let log: Arc<dyn Log> = Arc::new(open(trimmed.path()).await);
    feed(&*log, &inbox(), &inputs, &mut random).await;
    log.trim(&inbox(), 150).await.unwrap();
    config.snapshots.directory = trimmed.path().join("snapshots");
    let refused = stage(&log, &config, 1).run(&CancellationToken::new()).await;
    let start = log.bounds(&inbox()).await.unwrap().start;
    assert!(matches!(refused, Err(StageError::StateLost { start: at, .. }) if at == start), "{refused:?}");
    config.snapshots.without = WithoutSnapshot::BeginAtStart;
    run_to(&log, &config, inputs.len() as u64).await;
    assert!(written(&*log).await.iter().flatten().any(|values| !values.is_empty()));
}

#[derive(Default)]
struct Seen {
    applied: Offset,
    durable: Arc<std::sync::Mutex<Vec<Offset>>>,
    phases: Arc<std::sync::Mutex<Vec<Phase>>>,
}

impl Hooks<SumsCore> for Seen {
    fn applied(&mut self, _: &mut SumsCore, next: Offset, phase: Phase) {
        assert!(next > self.applied || (next == self.applied && phase == Phase::Live));
        self.applied = next;
        let mut phases = self.phases.lock().unwrap();
        if phases.last() != Some(&phase) {
            phases.push(phase);
        }
    }

    fn durable(&mut self, next: Offset) {
        assert!(next <= self.applied, "durable before applied");
        self.durable.lock().unwrap().push(next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_hear_of_catching_up_and_of_what_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path(), SnapshotBy::Itself, NEVER);
    let log: Arc<dyn Log> = Arc::new(open(directory.path()).await);
    let mut random = fastrand::Rng::with_seed(5);
    feed(&*log, &inbox(), &inputs(300, &mut random), &mut random).await;
    let (durable, phases) = (Arc::default(), Arc::default());
    let hooks = Seen { applied: 0, durable: Arc::clone(&durable), phases: Arc::clone(&phases) };
    let core = || SumsCore::new(1);
    let stage = Stage::new(Arc::clone(&log), config, core, hooks).unwrap();
    let (stop, mut status) = (CancellationToken::new(), stage.status());
    let running = tokio::spawn(supervise(stage, stop.clone()));
    until(&mut status, "live", |status| status.phase == Phase::Live).await;
    assert_eq!((status.borrow().end_at_start, status.borrow().oldest_snapshot), (300, Some(0)));
    feed(&*log, &inbox(), &inputs(100, &mut random), &mut random).await;
    until(&mut status, "the end", |status| status.durable == 400 && status.outstanding == 0).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(*phases.lock().unwrap(), [Phase::CatchingUp, Phase::Live]);
    let durable = durable.lock().unwrap();
    assert!(durable.is_sorted() && durable.last() == Some(&400), "{durable:?}");
}
