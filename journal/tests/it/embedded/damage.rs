//! A log cut or changed on disk: an exact prefix, or a refusal that names the place; never a panic.

use std::path::{Path, PathBuf};

use journal::{Batch, Log, LogError, Partition};

use super::disk::FaultDisk;
use super::{appender, home, open, small, spec, values};

const BATCHES: usize = 12;

/// A log of known batches, some in each partition, every one acknowledged before the next is given.
struct Image {
    disk: FaultDisk,
    /// The files that hold frames, and where frames end in each.
    files: Vec<(PathBuf, usize)>,
    /// Partition and values of each batch.
    batches: Vec<(u32, Vec<Vec<u8>>)>,
}

impl Image {
    /// `size` is that of a batch's records together, about.
    async fn new(batches: usize, size: usize, sealed: bool) -> Self {
        let disk = FaultDisk::new();
        let log = open(&disk, small()).unwrap();
        log.create_topic(&spec("damage", 3)).await.unwrap();
        let mut appenders = Vec::new();
        for index in 0..3 {
            appenders.push(appender(&log, &Partition::new("damage", index)).await);
        }
        let mut given = Vec::new();
        for number in 0..batches {
            let index = number % 3;
            let values: Vec<Vec<u8>> =
                (0..3).map(|place| vec![(number * 3 + place) as u8; size / 3 + number % 5]).collect();
            let mut batch = Batch::new();
            values.iter().for_each(|value| batch.push(b"key", value));
            appenders[index].append(batch).await.unwrap().await.unwrap();
            given.push((index as u32, values));
        }
        let disk = if sealed {
            log.close().await.unwrap();
            disk.copy()
        } else {
            disk.copy()
        };
        drop(log);
        let is_segment = |(path, bytes): (PathBuf, Vec<u8>)| {
            let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
            (path.extension()? == "seg").then(|| (path, end.next_multiple_of(8)))
        };
        let files = disk.files().into_iter().filter_map(is_segment).collect();
        Self { disk, files, batches: given }
    }

    /// Opens a changed copy. Returns how many batches it has, or the refusal.
    async fn outcome(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Result<usize, LogError> {
        let disk = self.disk.copy();
        disk.edit(path, change);
        let before = disk.files();
        let log = match open(&disk, small()) {
            Ok(log) => log,
            Err(refusal) => {
                assert!(disk.files() == before, "a refusal changed the files: {refusal}");
                return Err(refusal);
            }
        };
        let count = self.matching(&log).await;
        // It goes on from there, and what it writes is there the next time.
        if count > 0 {
            let place = Partition::new("damage", 0);
            let mut found = values(&log, &place).await;
            appender(&log, &place).await.append(Batch::of(b"", b"more")).await.unwrap().await.unwrap();
            log.close().await.unwrap();
            drop(log);
            let log = open(&disk, small()).expect("a log that was cut opens again");
            found.push(b"more".to_vec());
            assert_eq!(values(&log, &place).await, found);
        }
        Ok(count)
    }

    /// The number of batches that the log holds; panics when they are no prefix of those given.
    async fn matching(&self, log: &dyn Log) -> usize {
        if log.topics().await.unwrap().is_empty() {
            return 0;
        }
        let mut found = Vec::new();
        for index in 0..3 {
            found.push(values(log, &Partition::new("damage", index)).await);
        }
        let total: usize = found.iter().map(Vec::len).sum();
        assert_eq!(total % 3, 0, "a part of a batch");
        let count = total / 3;
        for (index, found) in (0..).zip(found) {
            let given = self.batches[..count].iter().filter(|(partition, _)| *partition == index);
            let expected: Vec<_> = given.flat_map(|(_, values)| values.clone()).collect();
            assert!(found == expected, "partition {index} holds something else than the first {count} batches");
        }
        count
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_at_every_byte_leaves_a_prefix() {
    let image = Image::new(BATCHES, 60, false).await;
    let (path, end) = image.files[0].clone();
    let mut counts = Vec::new();
    for at in 0..=end {
        match image.outcome(&path, |bytes| bytes.truncate(at)).await {
            Ok(count) => counts.push(count),
            Err(refusal) => panic!("cut at byte {at}: {refusal}"),
        }
    }
    assert!(counts.is_sorted(), "a longer file held less: {counts:?}");
    assert_eq!(counts.last(), Some(&BATCHES));
    let mut different = counts;
    different.dedup();
    assert_eq!(different.len(), BATCHES + 1, "every prefix occurs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeroed_from_every_byte_leaves_a_prefix() {
    // What a crash leaves of a file whose blocks were written before: not shorter, but zero.
    let image = Image::new(BATCHES, 60, false).await;
    let (path, end) = image.files[0].clone();
    for at in (0..=end).step_by(5) {
        let outcome = image.outcome(&path, |bytes| bytes[at..].fill(0)).await;
        assert!(outcome.is_ok(), "zero from byte {at}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_byte_is_refused_or_cut() {
    let image = Image::new(BATCHES, 60, false).await;
    let (path, end) = image.files[0].clone();
    let mut refused = 0;
    // The last frame begins here: 3 values of 20 to 24 bytes and their keys, 24 bytes of table, 64 of head.
    let last = end - (64 + 24 + 3 * (3 + 20 + (BATCHES - 1) % 5)).next_multiple_of(8);
    for at in (0..48).chain(4096..end) {
        match image.outcome(&path, |bytes| bytes[at] ^= 1 << (at % 8)).await {
            Ok(count) if at >= last => assert!(count >= BATCHES - 1, "byte {at}: {count} batches"),
            // Only padding may change unnoticed.
            Ok(count) => assert_eq!(count, BATCHES, "byte {at}: acknowledged batches were cut away"),
            Err(LogError::Damaged { place, .. }) => {
                assert!(place.contains("0000000000000001.seg byte "), "{place}");
                refused += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(refused * 10 > (last - 4096) * 9, "only {refused} were refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_refusal_names_the_frame() {
    let image = Image::new(BATCHES, 60, false).await;
    let (path, _) = image.files[0].clone();
    let bytes = image.disk.read(&path);
    let magic: [u8; 4] = bytes[4096..4100].try_into().unwrap();
    let frames: Vec<usize> = (4096..bytes.len() - 4).step_by(8).filter(|at| bytes[*at..*at + 4] == magic).collect();
    let victim = frames[frames.len() / 2];
    let refusal = image.outcome(&path, |bytes| bytes[victim + 70] ^= 0xff).await.unwrap_err();
    let LogError::Damaged { place, what } = &refusal else { panic!("{refusal}") };
    assert_eq!(*place, format!("{} byte {victim}", path.display()));
    assert!(what.contains("valid data"), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_closed_in_good_order_loses_nothing_silently() {
    let image = Image::new(BATCHES, 60, true).await;
    let (path, end) = image.files[0].clone();
    let seal = end - 64;
    for at in (4096..seal).step_by(3) {
        match image.outcome(&path, |bytes| bytes[at] ^= 0x55).await {
            Ok(count) => assert_eq!(count, BATCHES, "byte {at}"),
            Err(refusal) => assert!(matches!(refusal, LogError::Damaged { .. }), "{refusal}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_an_older_file_is_refused() {
    let image = Image::new(120, 3000, false).await;
    assert!(image.files.len() >= 4, "{:?}", image.files);
    let mut random = fastrand::Rng::with_seed(7);
    for (number, (path, end)) in image.files.iter().enumerate() {
        let last = number + 1 == image.files.len();
        for _ in 0..20 {
            let at = random.usize(4096..*end - if last { 4000 } else { 0 });
            match image.outcome(path, |bytes| bytes[at] ^= 0x10).await {
                Ok(count) => assert_eq!(count, 120, "{} byte {at}", path.display()),
                Err(refusal) => assert!(matches!(refusal, LogError::Damaged { .. }), "{refusal}"),
            }
        }
        if !last {
            let refusal = image.outcome(path, |bytes| bytes.truncate(*end - 100)).await.unwrap_err();
            assert!(matches!(&refusal, LogError::Damaged { place, .. } if place.contains(path.to_str().unwrap())));
            let refusal = image.outcome(path, |bytes| bytes[..48].fill(0)).await.unwrap_err();
            assert!(matches!(refusal, LogError::Damaged { .. }));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_and_missing_files_are_refused() {
    let image = Image::new(120, 3000, false).await;
    let disk = image.disk.copy();
    disk.edit(&home().join("IDENTITY"), |bytes| bytes[30] ^= 1);
    assert!(matches!(open(&disk, small()), Err(LogError::Damaged { place, .. }) if place.contains("IDENTITY")));
    let other = Image::new(3, 60, false).await;
    let disk = image.disk.copy();
    let foreign = other.disk.read(&other.files[0].0);
    disk.edit(&image.files[1].0, |bytes| *bytes = foreign);
    assert!(matches!(open(&disk, small()), Err(LogError::Damaged { .. })));
    let disk = image.disk.copy();
    journal::embedded::Disk::remove(&disk, &image.files[1].0).unwrap();
    let refusal = open(&disk, small()).unwrap_err();
    assert!(matches!(refusal, LogError::Damaged { .. }), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_damaged_while_open_are_never_given_to_a_reader() {
    let image = Image::new(120, 3000, false).await;
    let disk = image.disk.copy();
    let log = open(&disk, small()).unwrap();
    disk.edit(&image.files[0].0, |bytes| bytes[20_000] ^= 1);
    let mut failures = 0;
    for index in 0..3 {
        let place = Partition::new("damage", index);
        let mut reader = super::reader(&log, &place, 0).await;
        let mut records = Vec::new();
        loop {
            match reader.read(&mut records).await {
                Ok(()) if reader.position() == log.bounds(&place).await.unwrap().end => break,
                Ok(()) => {}
                Err(LogError::Damaged { place, .. }) => {
                    assert!(place.contains(".seg byte "), "{place}");
                    failures += 1;
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        let given = image.batches.iter().filter(|(partition, _)| *partition == index);
        let expected = given.flat_map(|(_, values)| values);
        assert!(records.iter().zip(expected).all(|(record, value)| record.value == value[..]));
    }
    assert_eq!(failures, 1, "one partition's record was damaged");
}
