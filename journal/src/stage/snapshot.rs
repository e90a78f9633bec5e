//! Snapshots of a stage's state, as files.
//!
//! ```text
//! "MILLSNAP" | format u32 | logic u32 | incarnation u128 | state hash u64
//! inbox: topic str8, partition u32, offset u64
//! count u32, and that many outputs: topic str8, partition u32, position u64
//! length u64 and state | crc32 u32 of everything before
//! ```
//! All little-endian. A file `00000000000000012345.snapshot` holds the state after every record before that
//! offset. It is written beside its place, synced and renamed, so it is whole or not there.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::RestoreError;
use crate::log::{Offset, Partition};

const MAGIC: &[u8; 8] = b"MILLSNAP";
const FORMAT: u32 = 1;
const EXTENSION: &str = "snapshot";
/// Extension of one that is being written.
const UNFINISHED: &str = "writing";
/// Bytes after which a large snapshot is synced. The log syncs on the same disk meanwhile, and must not wait behind
/// hundreds of megabytes at once.
const PIECE_BYTES: usize = 4 << 20;

/// Why a snapshot could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("snapshot {path}: {error}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The bytes are not a whole snapshot.
    #[error("snapshot {path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// The core cannot take the state over.
    #[error("snapshot {path} is refused: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The core's reason.
        reason: RestoreError,
    },
    /// Written by a newer program.
    #[error("snapshot {path} has format {format}, this program knows up to {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

/// A state and the place in the logs that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Version of the logic that made it.
    pub logic_version: u32,
    /// The log it belongs to.
    pub incarnation: u128,
    /// What was folded.
    pub inbox: Partition,
    /// First record that is not in the state.
    pub offset: Offset,
    /// For every output partition, a position that nothing is before which follows from `offset` or later;
    /// all that follows from earlier records is before the partition's durable end.
    pub positions: Vec<(Partition, Offset)>,
    /// The core's hash of the state.
    pub state_hash: u64,
    /// The core's bytes.
    pub state: Vec<u8>,
}

impl Snapshot {
    /// Everything before the state's bytes.
    fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.logic_version.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.state_hash.to_le_bytes());
        put_position(&mut out, &self.inbox, self.offset);
        let count = u32::try_from(self.positions.len()).expect("a stage has few outputs");
        out.extend_from_slice(&count.to_le_bytes());
        for (partition, position) in &self.positions {
            put_position(&mut out, partition, *position);
        }
        out.extend_from_slice(&(self.state.len() as u64).to_le_bytes());
        out
    }

    /// Writes the whole file; the state, which may be large, is not copied. Returns its size.
    fn write(&self, file: &mut File) -> io::Result<u64> {
        let head = self.head();
        let mut crc = crc32fast::Hasher::new();
        for piece in std::iter::once(&head[..]).chain(self.state.chunks(PIECE_BYTES)) {
            crc.update(piece);
            file.write_all(piece)?;
            if piece.len() == PIECE_BYTES {
                file.sync_data()?;
            }
        }
        file.write_all(&crc.finalize().to_le_bytes())?;
        file.sync_all()?;
        Ok((head.len() + self.state.len() + size_of::<u32>()) as u64)
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let damaged = |what| SnapshotError::Damaged { path: path.to_owned(), what };
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len()).is_none_or(|magic| magic != MAGIC) {
            return Err(damaged("it does not begin as a snapshot does"));
        }
        let format = reader.u32().ok_or_else(|| damaged("it ends early"))?;
        if format > FORMAT {
            return Err(SnapshotError::Newer { path: path.to_owned(), format });
        }
        let (body, crc) = bytes.split_last_chunk().ok_or_else(|| damaged("it ends early"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(damaged("the checksum does not fit"));
        }
        Self::decode_body(&mut reader).ok_or_else(|| damaged("the checksum fits, the fields do not"))
    }

    fn decode_body(reader: &mut Reader<'_>) -> Option<Self> {
        let logic_version = reader.u32()?;
        let incarnation = u128::from_le_bytes(reader.array()?);
        let state_hash = reader.u64()?;
        let (inbox, offset) = reader.position()?;
        let count = reader.u32()?;
        let positions = (0..count).map(|_| reader.position()).collect::<Option<Vec<_>>>()?;
        let len = usize::try_from(reader.u64()?).ok()?;
        let state = reader.take(len)?.to_vec();
        (reader.0.len() == size_of::<u32>()).then_some(Self {
            logic_version,
            incarnation,
            inbox,
            offset,
            positions,
            state_hash,
            state,
        })
    }
}

fn put_position(out: &mut Vec<u8>, partition: &Partition, offset: Offset) {
    out.push(u8::try_from(partition.topic.len()).expect("topic names are short"));
    out.extend_from_slice(partition.topic.as_bytes());
    out.extend_from_slice(&partition.index.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|bytes| bytes.try_into().ok())
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn position(&mut self) -> Option<(Partition, Offset)> {
        let [len] = self.array()?;
        let topic = std::str::from_utf8(self.take(len as usize)?).ok()?;
        Some((Partition::new(topic, self.u32()?), self.u64()?))
    }
}

/// The snapshots of one stage partition. All calls block on the disk.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    directory: PathBuf,
    keep: usize,
}

impl SnapshotStore {
    /// Opens the directory, making it where it is not there. `keep` snapshots are kept, at least one. What a process left
    /// that ended while it wrote is removed; what is being written is left to its writer, such as the thread of a stage
    /// that has failed and begins anew.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(directory: &Path, keep: usize) -> Result<Self, SnapshotError> {
        fs::create_dir_all(directory).map_err(|error| io_error(directory, error))?;
        for entry in fs::read_dir(directory).map_err(|error| io_error(directory, error))? {
            let path = entry.map_err(|error| io_error(directory, error))?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                remove_abandoned(&path).map_err(|error| io_error(&path, error))?;
            }
        }
        Ok(Self { directory: directory.to_owned(), keep: keep.max(1) })
    }

    /// Offsets of the snapshots there are, newest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn offsets(&self) -> Result<Vec<Offset>, SnapshotError> {
        let entries = fs::read_dir(&self.directory).map_err(|error| io_error(&self.directory, error))?;
        let mut offsets = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| io_error(&self.directory, error))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                offsets.extend(stem.and_then(|stem| stem.parse::<Offset>().ok()));
            }
        }
        offsets.sort_unstable_by(|one, other| other.cmp(one));
        Ok(offsets)
    }

    /// The file of the snapshot at `offset`.
    pub fn path(&self, offset: Offset) -> PathBuf {
        self.directory.join(format!("{offset:020}.{EXTENSION}"))
    }

    /// A file that nobody else writes to, in this process or another, and that is locked while it is open.
    fn create_beside(&self, offset: Offset) -> io::Result<(PathBuf, File)> {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        loop {
            let (process, count) = (process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
            let path = self.directory.join(format!("{offset:020}.{process}-{count}.{UNFINISHED}"));
            let file = match File::create_new(&path) {
                // By a process of the same number, such as the first one of another container.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            // Where a file system knows no locks, a snapshot that is being written is taken for one that was left.
            let _ = file.lock();
            // Before it was locked, it looked like one that was left.
            if file.metadata()?.nlink() > 0 {
                return Ok((path, file));
            }
        }
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// When it is not there, damaged, or in a newer form.
    pub fn read(&self, offset: Offset) -> Result<Snapshot, SnapshotError> {
        let path = self.path(offset);
        let bytes = fs::read(&path).map_err(|error| io_error(&path, error))?;
        let snapshot = Snapshot::decode(&path, &bytes)?;
        if snapshot.offset != offset {
            return Err(SnapshotError::Damaged { path, what: "its name and its content name different offsets" });
        }
        Ok(snapshot)
    }

    /// Writes a snapshot durably and drops the oldest beyond those to be kept. Returns its size in bytes.
    ///
    /// # Errors
    /// When the disk refuses; what was there stays as it was.
    pub fn write(&self, snapshot: &Snapshot) -> Result<u64, SnapshotError> {
        let path = self.path(snapshot.offset);
        let (beside, mut file) = self.create_beside(snapshot.offset).map_err(|error| io_error(&path, error))?;
        let written = snapshot.write(&mut file).and_then(|size| {
            fs::rename(&beside, &path)?;
            File::open(&self.directory)?.sync_all()?;
            Ok(size)
        });
        let size = written.map_err(|error| {
            // A part of a file is of no use to anybody; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&beside);
            io_error(&path, error)
        })?;
        // One with a later offset is none that we made of this log; it is not ours to judge here.
        let ours = self.offsets()?.into_iter().filter(|offset| *offset <= snapshot.offset);
        for old in ours.skip(self.keep) {
            let path = self.path(old);
            unless_gone(fs::remove_file(&path)).map_err(|error| io_error(&path, error))?;
        }
        Ok(size)
    }

    /// Renames a snapshot that must not be used later either, and keeps it for whoever looks into it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_aside(&self, offset: Offset) -> Result<(), SnapshotError> {
        let path = self.path(offset);
        fs::rename(&path, path.with_extension("unusable")).map_err(|error| io_error(&path, error))
    }
}

/// Removes a half-written snapshot unless its writer, who holds its lock, is there.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    unless_gone(File::open(path).and_then(|file| match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Ok(()) | Err(TryLockError::Error(_)) => fs::remove_file(path),
    }))
}

/// That a file has gone already is what its removal is for.
fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn io_error(path: &Path, error: io::Error) -> SnapshotError {
    SnapshotError::Io { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(offset: Offset) -> Snapshot {
        Snapshot {
            logic_version: 3,
            incarnation: u128::MAX / 7,
            inbox: Partition::new("ticks", 2),
            offset,
            positions: vec![(Partition::new("prices", 0), 17), (Partition::new("candles", 1), 0)],
            state_hash: 0x0123_4567_89ab_cdef,
            state: (0..1_000).map(|at| at as u8).collect(),
        }
    }

    #[test]
    fn the_newest_few_are_kept_and_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SnapshotStore::open(&directory.path().join("made/here"), 2).expect("a store");
        assert!(store.offsets().expect("it can be read").is_empty());
        for offset in [0, 5, 5, 12_345] {
            store.write(&snapshot(offset)).expect("written");
        }
        assert_eq!(store.offsets().expect("it can be read"), [12_345, 5]);
        assert_eq!(store.read(5).expect("it is there"), snapshot(5));
        let files = || fs::read_dir(directory.path().join("made/here")).expect("it can be read").count();
        assert_eq!(files(), 2);
        drop(store.create_beside(99).expect("created"));
        let store = SnapshotStore::open(&directory.path().join("made/here"), 2).expect("a store");
        assert_eq!(store.offsets().expect("it can be read"), [12_345, 5]);
        assert_eq!(files(), 2, "what was left half written is gone");
    }

    /// The thread of a stage that has failed still writes while the stage begins anew.
    #[test]
    fn a_store_that_is_opened_leaves_what_others_write() {
        let directory = tempfile::tempdir().expect("a directory");
        let begin = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    for offset in 0..100 {
                        let store = SnapshotStore::open(directory.path(), 3).expect("a store");
                        store.write(&snapshot(offset)).expect("written");
                    }
                });
            }
        });
        let store = SnapshotStore::open(directory.path(), 3).expect("a store");
        assert_eq!(store.offsets().expect("it can be read"), [99, 98, 97]);
        assert_eq!(store.read(99).expect("it is whole"), snapshot(99));
        assert_eq!(fs::read_dir(directory.path()).expect("it can be read").count(), 3, "nothing half written is left");
    }

    #[test]
    fn every_damage_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SnapshotStore::open(directory.path(), 2).expect("a store");
        store.write(&snapshot(9)).expect("written");
        let path = store.path(9);
        let whole = fs::read(&path).expect("written");
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).expect("written");
            assert!(matches!(store.read(9), Err(SnapshotError::Damaged { .. })), "cut to {len} bytes");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&path, &flipped).expect("written");
            assert!(store.read(9).is_err(), "byte {at} flipped");
        }
        let mut newer = whole;
        newer[8] = 2;
        fs::write(&path, &newer).expect("written");
        assert!(matches!(store.read(9), Err(SnapshotError::Newer { format: 2, .. })));
        store.write(&snapshot(10)).expect("written");
        fs::rename(store.path(10), &path).expect("renamed");
        assert!(matches!(store.read(9), Err(SnapshotError::Damaged { .. })), "a renamed file");
    }
}
