//! The same records give the same state and the same bytes: live, replayed cold, and from a snapshot on.

use matcher::exchange::{Applied, Exchange, OutputTopic, Outputs};
use model::exchange::Command;

use crate::workload::Workload;

const SEEDS: u64 = 200;
const COMMANDS: u64 = 10_000;

/// Appends every record of every topic as it is published.
fn bytes_of(out: &Outputs, into: &mut Vec<u8>) {
    for topic in OutputTopic::ALL {
        for index in 0..out.len(topic) {
            out.write(topic, index, 0, into);
        }
    }
}

/// FNV-1a, continued.
fn hash(mut state: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state
}

/// One exchange that runs, one that reads the log's bytes, and from some step on one from a snapshot.
struct Three {
    seed: u64,
    step: u64,
    live: Exchange,
    cold: Exchange,
    restored: Option<Exchange>,
    ours: Outputs,
    theirs: Outputs,
    record: Vec<u8>,
}

impl Three {
    fn apply(&mut self, offset: u64, command: &Command) {
        let place = format!("seed {}, step {}", self.seed, self.step);
        self.live.apply(offset, command, &mut self.ours);
        self.record.clear();
        command.encode(&mut self.record);
        let read = Command::decode(&self.record).unwrap();
        assert_eq!(read, *command, "{place}");
        self.cold.apply(offset, &read, &mut self.theirs);
        assert_eq!(self.ours, self.theirs, "{place}: cold replay");
        if let Some(restored) = &mut self.restored {
            restored.apply(offset, command, &mut self.theirs);
            assert_eq!(self.ours, self.theirs, "{place}: from the snapshot");
        }
        self.step += 1;
    }

    fn snapshot(&mut self) {
        let snapshot = self.live.encode();
        let twin = Exchange::decode(&snapshot).unwrap();
        assert_eq!(twin.encode(), snapshot, "seed {}, step {}: a snapshot of the restored", self.seed, self.step);
        self.restored = Some(twin);
    }
}

#[test]
fn live_cold_and_restored_agree() {
    for seed in 0..SEEDS {
        let mut workload = Workload::new(seed, 6);
        let mut three = Three {
            seed,
            step: 0,
            live: Exchange::new(seed),
            cold: Exchange::new(seed),
            restored: None,
            ours: Outputs::default(),
            theirs: Outputs::default(),
            record: vec![],
        };
        for (offset, command) in workload.opening() {
            three.apply(offset, &command);
        }
        for step in 0..COMMANDS {
            if step == COMMANDS / 3 + seed * 7 % (COMMANDS / 3) {
                three.snapshot();
            }
            let (offset, command) = workload.next();
            three.apply(offset, &command);
            workload.saw(&three.ours);
        }
        let restored = three.restored.unwrap();
        restored.verify();
        assert_eq!(three.live.state_hash(), three.cold.state_hash(), "seed {seed}");
        assert_eq!(three.live.state_hash(), restored.state_hash(), "seed {seed}");
    }
}

/// State and published bytes of a few seeds, the same in every build of this version of the logic. A change here
/// is a change of the rules or of a format: both have version numbers.
#[test]
fn every_build_gives_these_hashes() {
    let expected = include_str!("../fixtures/replay.txt");
    let mut found = String::new();
    for seed in 1_000..1_005 {
        let mut workload = Workload::new(seed, 6);
        let mut exchange = Exchange::new(seed);
        let mut out = Outputs::default();
        let mut published = 0xcbf2_9ce4_8422_2325;
        let mut bytes = vec![];
        let mut all = workload.opening();
        for step in 0.. {
            let (offset, command) = match all.get(step) {
                Some(opening) => opening.clone(),
                None if step < 5_000 => workload.next(),
                None => break,
            };
            exchange.apply(offset, &command, &mut out);
            workload.saw(&out);
            bytes.clear();
            bytes_of(&out, &mut bytes);
            published = hash(published, &bytes);
        }
        all.clear();
        found += &format!("{seed} {:016x} {published:016x}\n", exchange.state_hash());
    }
    assert_eq!(found, expected, "the hashes of this build:\n{found}");
}

#[test]
fn what_was_seen_is_skipped_and_only_claimed_writers_are_heard() {
    let mut workload = Workload::new(5, 3);
    let mut exchange = Exchange::new(5);
    let mut out = Outputs::default();
    let opening = workload.opening();
    for (offset, command) in &opening[1..] {
        assert_eq!(exchange.apply(*offset, command, &mut out), Applied::Skipped, "before its claim");
    }
    let mut exchange = Exchange::new(5);
    for (offset, command) in &opening {
        // Every record but the claim twice, as a writer that retries leaves it in the log: at two offsets.
        assert_eq!(exchange.apply(*offset * 2, command, &mut out), Applied::Done);
        if *offset > 0 {
            assert_eq!(exchange.apply(*offset * 2 + 1, command, &mut out), Applied::Skipped);
            assert!(out.is_empty());
        }
    }
    assert_eq!(exchange.totals(&"BTC".parse().unwrap()).unwrap().external, 3 * 1_000 * 100_000_000);
    // A new claim ends the old epoch.
    let at = opening.len() as u64 * 2;
    assert_eq!(exchange.apply(at, &opening[0].1, &mut out), Applied::Done);
    let (_, next) = workload.next();
    assert_eq!(exchange.apply(at + 1, &next, &mut out), Applied::Skipped, "the epoch is over");
    let mut next = next;
    next.origin = model::Origin::Root { role: "test/1".parse().unwrap(), epoch: at, sequence: 1 };
    assert_eq!(exchange.apply(at + 2, &next, &mut out), Applied::Done);
    // The same offset again, as after a restart that reads too early.
    assert_eq!(exchange.apply(at + 2, &next, &mut out), Applied::Skipped);
}

#[test]
fn damaged_snapshots_are_refused_and_never_panic() {
    let mut workload = Workload::new(77, 5);
    let mut exchange = Exchange::new(77);
    let mut out = Outputs::default();
    for (offset, command) in workload.opening() {
        exchange.apply(offset, &command, &mut out);
    }
    for _ in 0..500 {
        let (offset, command) = workload.next();
        exchange.apply(offset, &command, &mut out);
    }
    let snapshot = exchange.encode();
    let mut random = fastrand::Rng::with_seed(78);
    for _ in 0..2_000 {
        let mut damaged = snapshot.clone();
        let at = random.usize(0..damaged.len());
        damaged[at] ^= 1 << random.u32(0..8);
        assert!(Exchange::decode(&damaged).is_err(), "bit flipped in byte {at}");
        // And with a checksum that fits, as an attacker would make it: any answer but a panic.
        let checksum = crc32fast::hash(&damaged[24..]);
        damaged[20..24].copy_from_slice(&checksum.to_le_bytes());
        let _ = Exchange::decode(&damaged);
    }
    for end in (0..snapshot.len()).step_by(97) {
        assert!(Exchange::decode(&snapshot[..end]).is_err(), "cut at {end}");
    }
}
