//! A disk in memory that can fail: refused syncs and writes, a full disk, slow syncs, short writes, and a power
//! cut that keeps an arbitrary part of what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use journal::embedded::{Disk, DiskFile};

/// What a power cut keeps or loses at once.
const SECTOR: usize = 512;

/// The disk; clones are the same disk.
#[derive(Clone)]
pub(crate) struct FaultDisk(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    faults: Faults,
}

/// Faults, switched while the log runs.
#[derive(Default)]
pub(crate) struct Faults {
    /// Syncs of files fail.
    pub sync_fails: AtomicBool,
    /// Syncs of files panic: a fault of the program, not of the disk.
    pub sync_panics: AtomicBool,
    /// Writes fail.
    pub write_fails: AtomicBool,
    /// Reads fail.
    pub read_fails: AtomicBool,
    /// Bytes that all files together may have; 0 is no limit.
    pub bytes_max: AtomicU64,
    /// Microseconds that a sync of a file takes.
    pub sync_us: AtomicU64,
    /// Syncs of files wait until this is over.
    pub sync_holds: AtomicBool,
    /// Bytes that one write takes at most; 0 is no limit.
    pub write_max: AtomicU64,
    /// Syncs of files so far.
    pub syncs: AtomicU64,
}

#[derive(Default, Clone)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of the directory.
    changes: Vec<Change>,
    nodes: Vec<Node>,
    locked: BTreeSet<PathBuf>,
}

#[derive(Clone)]
enum Change {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Default, Clone)]
struct Node {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Unlink(path) => {
                names.remove(path);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl FaultDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn of(state: State) -> Self {
        Self(Arc::new(Inner { state: Mutex::new(state), faults: Faults::default() }))
    }

    /// The disk as another process would find it now, after a kill: everything written is there.
    pub(crate) fn copy(&self) -> Self {
        let mut state = self.state().clone();
        state.locked.clear();
        Self::of(state)
    }

    /// The disk as it comes back after a power cut now: what was synced, and of the rest some sectors.
    pub(crate) fn power_cut(&self, random: &mut fastrand::Rng) -> Self {
        let mut state = self.state().clone();
        state.locked.clear();
        let kept = random.usize(0..=state.changes.len());
        let mut names = std::mem::take(&mut state.durable_names);
        for change in &state.changes[..kept] {
            change.apply(&mut names);
        }
        state.changes.clear();
        for node in &mut state.nodes {
            let likelihood = [0.0, 0.1, 0.5, 0.9, 1.0][random.usize(0..5)];
            for (at, bytes) in std::mem::take(&mut node.unsynced) {
                let mut from = 0;
                while from < bytes.len() {
                    let to = ((at + from) / SECTOR * SECTOR + SECTOR - at).min(bytes.len());
                    if random.f64() < likelihood {
                        put(&mut node.durable, at + from, &bytes[from..to]);
                    }
                    from = to;
                }
            }
            node.bytes.clone_from(&node.durable);
        }
        state.durable_names = names.clone();
        state.names = names;
        Self::of(state)
    }

    /// Changes a file's bytes behind the log's back.
    pub(crate) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let node = state.names[path];
        change(&mut state.nodes[node].bytes);
        state.nodes[node].durable = state.nodes[node].bytes.clone();
    }

    pub(crate) fn read(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.nodes[state.names[path]].bytes.clone()
    }

    /// Every file and its content, without the lock file.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let named = |(path, node): (&PathBuf, &usize)| (path.clone(), state.nodes[*node].bytes.clone());
        state.names.iter().map(named).collect()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.state();
        state.names.values().map(|node| state.nodes[*node].bytes.len() as u64).sum()
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FaultDisk")
    }
}

impl Disk for FaultDisk {
    type File = FaultFile;
    type Lock = Locked;

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let named = |path: &PathBuf| Some(path.strip_prefix(dir).ok()?.to_str()?.to_owned());
        Ok(self.state().names.keys().filter_map(named).collect())
    }

    fn create(&self, path: &Path) -> io::Result<FaultFile> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.nodes.len();
        state.nodes.push(Node::default());
        state.names.insert(path.to_owned(), node);
        state.changes.push(Change::Link(path.to_owned(), node));
        Ok(FaultFile { disk: self.clone(), node })
    }

    fn open(&self, path: &Path) -> io::Result<FaultFile> {
        match self.state().names.get(path) {
            Some(node) => Ok(FaultFile { disk: self.clone(), node: *node }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let change = Change::Rename(from.to_owned(), to.to_owned());
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        change.apply(&mut state.names);
        state.changes.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.names.remove(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.changes.push(Change::Unlink(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.changes.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Locked>> {
        let free = self.state().locked.insert(path.to_owned());
        Ok(free.then(|| Locked { disk: self.clone(), path: path.to_owned() }))
    }
}

/// The lock on a path.
#[derive(Debug)]
pub(crate) struct Locked {
    disk: FaultDisk,
    path: PathBuf,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct FaultFile {
    disk: FaultDisk,
    node: usize,
}

impl DiskFile for FaultFile {
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        if self.disk.faults().read_fails.load(Ordering::Relaxed) {
            return Err(input_output_error());
        }
        let state = self.disk.state();
        let bytes = state.nodes[self.node].bytes.get(at as usize..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let faults = self.disk.faults();
        if faults.write_fails.load(Ordering::Relaxed) {
            return Err(input_output_error());
        }
        let bytes = match faults.write_max.load(Ordering::Relaxed) {
            0 => bytes,
            max => &bytes[..bytes.len().min(max as usize)],
        };
        let mut state = self.disk.state();
        let grows = (at + bytes.len() as u64).saturating_sub(state.nodes[self.node].bytes.len() as u64);
        let max = faults.bytes_max.load(Ordering::Relaxed);
        let linked: u64 = state.names.values().map(|node| state.nodes[*node].bytes.len() as u64).sum();
        if max > 0 && grows > 0 && linked + grows > max {
            return Err(io::Error::from_raw_os_error(28));
        }
        let node = &mut state.nodes[self.node];
        put(&mut node.bytes, at as usize, bytes);
        node.unsynced.push((at as usize, bytes.to_vec()));
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        let faults = self.disk.faults();
        faults.syncs.fetch_add(1, Ordering::Relaxed);
        let covered = self.disk.state().nodes[self.node].unsynced.len();
        match faults.sync_us.load(Ordering::Relaxed) {
            0 => {}
            time => std::thread::sleep(Duration::from_micros(time)),
        }
        while faults.sync_holds.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!faults.sync_panics.load(Ordering::Relaxed), "a panic on purpose");
        if faults.sync_fails.load(Ordering::Relaxed) {
            return Err(input_output_error());
        }
        let mut state = self.disk.state();
        let node = &mut state.nodes[self.node];
        for (at, bytes) in node.unsynced.drain(..covered.min(node.unsynced.len())) {
            put(&mut node.durable, at, &bytes);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().nodes[self.node].bytes.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let node = &mut state.nodes[self.node];
        node.bytes.resize(len as usize, 0);
        node.durable.truncate(len as usize);
        node.unsynced.clear();
        Ok(())
    }
}
