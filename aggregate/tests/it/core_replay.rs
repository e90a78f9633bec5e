//! The same records give the same bytes: live, replayed cold from the log's bytes, and from a snapshot.

use std::sync::Arc;

use aggregate::config::Config;
use aggregate::core::{Aggregator, RestoreError, Stamp};
use model::Tick;

use crate::core_support::{
    Chaos, Feeder, MILLI, PINNED, Run, SECOND, START, config, instrument, pinned_run, random_config, rules, trade,
};

const RECORDS: usize = 10_000;
const SEEDS: u64 = 200;

/// Number of outputs of a seed, after checking that every way leads to the same.
fn replay(seed: u64) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let config: Arc<Config> = random_config(&mut random);
    let mut chaos = Chaos::new(seed, &config);
    let stop = random.usize(0..RECORDS);
    let mut live = Run::new(Aggregator::new(Arc::clone(&config)));
    let mut log: Vec<Vec<u8>> = Vec::with_capacity(RECORDS);
    let mut snapshot = None;
    for offset in 0..RECORDS {
        if offset == stop {
            snapshot = Some((live.core.snapshot(), live.hash));
        }
        let tick = chaos.tick();
        let mut bytes = Vec::new();
        tick.encode(&mut bytes);
        log.push(bytes);
        live.apply(offset as u64, &tick);
    }
    let decoded = |offset: usize| Tick::decode(&log[offset]).unwrap();

    let mut cold = Run::new(Aggregator::new(Arc::clone(&config)));
    (0..RECORDS).for_each(|offset| cold.apply(offset as u64, &decoded(offset)));
    assert_eq!(cold.core.state_hash(), live.core.state_hash(), "seed {seed}: state after a cold replay");
    assert_eq!((cold.hash, cold.outputs), (live.hash, live.outputs), "seed {seed}: outputs of a cold replay");

    let (snapshot, hash) = snapshot.unwrap();
    let core =
        Aggregator::restore(Arc::clone(&config), &snapshot).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert_eq!(core.snapshot(), snapshot, "seed {seed}: a restored state is the same state");
    let mut tail = Run::new(core);
    tail.hash = hash;
    // The log is read from a little before the snapshot's position: what it has seen changes nothing.
    (stop.saturating_sub(50)..RECORDS).for_each(|offset| tail.apply(offset as u64, &decoded(offset)));
    assert_eq!(tail.core.state_hash(), live.core.state_hash(), "seed {seed}: state after snapshot at {stop} and tail");
    assert_eq!(tail.hash, live.hash, "seed {seed}: outputs after snapshot at {stop} and tail");
    live.outputs
}

#[test]
fn live_cold_and_snapshot_runs_are_the_same() {
    let outputs: usize = std::thread::scope(|scope| {
        let halves = [0, 1]
            .map(|half| scope.spawn(move || (0..SEEDS).filter(|seed| seed % 2 == half).map(replay).sum::<usize>()));
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("{SEEDS} seeds of {RECORDS} records, {outputs} outputs: 0 differences");
    assert!(outputs > SEEDS as usize * 1_000, "only {outputs} outputs: the feed tests nothing");
}

/// The benchmark makes the same run in a release build.
#[test]
fn one_run_is_pinned() {
    let (state, outputs) = pinned_run();
    assert_eq!((state, outputs), PINNED, "0x{state:016x}, 0x{outputs:016x}");
}

#[test]
fn damaged_and_foreign_snapshots_are_refused() {
    let ours = config(&[("BTC-USDT", rules(&[])), ("USDT-USD", rules(&[]))]);
    let mut run = Run::new(Aggregator::new(Arc::clone(&ours)));
    let mut chaos = Chaos::new(1, &ours);
    (0..3_000).for_each(|offset| run.apply(offset, &chaos.tick()));
    let good = run.core.snapshot();
    assert_eq!(Aggregator::restore(Arc::clone(&ours), &good).unwrap().state_hash(), run.core.state_hash());
    let mut random = fastrand::Rng::with_seed(3);
    for cut in [0, 1, 4, 27, 28, 31, good.len() - 5, good.len() - 1] {
        let cut_off = Aggregator::restore(Arc::clone(&ours), &good[..cut]);
        assert!(matches!(cut_off, Err(RestoreError::Damaged { .. })), "cut to {cut}");
    }
    for _ in 0..2_000 {
        let mut bad = good.clone();
        let at = random.usize(0..bad.len());
        bad[at] ^= 1 << random.u8(0..8);
        assert!(Aggregator::restore(Arc::clone(&ours), &bad).is_err(), "bit flipped in byte {at}");
        // And with a checksum that was made to fit: refused or read, never a panic.
        let end = bad.len() - 4;
        let check = crc32fast::hash(&bad[..end]);
        bad[end..].copy_from_slice(&check.to_le_bytes());
        if let Ok(mut core) = Aggregator::restore(Arc::clone(&ours), &bad) {
            let mut out = Vec::new();
            (3_000..3_100).for_each(|offset| core.apply(Stamp { partition: 0, offset }, &chaos.tick(), &mut out));
        }
    }
    let other = config(&[("BTC-USDT", rules(&[("band", "2%")])), ("USDT-USD", rules(&[]))]);
    assert!(matches!(Aggregator::restore(other, &good), Err(RestoreError::Config { .. })));
}

/// A changed configuration takes over the state: no window, candle or sequence begins anew that need not.
#[test]
fn another_configuration_adopts_the_state() {
    let old =
        config(&[("BTC-USDT", rules(&[])), ("ETH-USDT", rules(&[])), ("SOL-USDT", rules(&[("window.size", "5m")]))]);
    let new = config(&[
        ("BTC-USDT", rules(&[("band", "2%"), ("convert", "BTC-USD"), ("assume_par", "true"), ("trades_kept", "5")])),
        ("SOL-USDT", rules(&[("window.size", "1h")])),
        ("XRP-USDT", rules(&[])),
    ]);
    let mut feeder = Feeder::new(old);
    for id in 0..300 {
        let of = ["BTC-USDT", "ETH-USDT", "SOL-USDT"][id as usize % 3];
        feeder.push(START + id as i64 * 100 * MILLI, trade(["a", "b"][id as usize % 2], of, id, ("100", "1")));
    }
    let before = feeder.prices().rfind(|price| price.instrument == instrument("BTC-USDT")).unwrap().clone();
    let mut adopted = feeder;
    adopted.core = Aggregator::adopt(new, &adopted.core.snapshot()).unwrap();
    adopted.out.clear();
    adopted.push(START + 40 * SECOND, trade("a", "BTC-USDT", 1_000, ("101", "1")));
    adopted.push(START + 40 * SECOND, trade("c", "XRP-USDT", 1_000, ("1", "1")));
    adopted.push(START + 40 * SECOND, trade("a", "SOL-USDT", 1_000, ("100", "1")));
    let after = adopted.prices().next().unwrap();
    assert_eq!(after.sequence, before.sequence + 1);
    assert_eq!(after.vwap.last().unwrap().volume.to_string(), "101", "the windows go on");
    assert!(after.config != before.config);
    assert_eq!(adopted.prices().count(), 3);
    adopted.push(START + 41 * SECOND, trade("b", "BTC-USDT", 297, ("101", "1")));
    assert_eq!(adopted.core.counters().duplicates, 1, "ids are remembered");
}
