//! Copies of a log: taken while it runs, and put back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::disk::{Disk, DiskFile, RealDisk, read_full, write_all};
use super::format::{segment_name, segment_number};
use super::identity::{IDENTITY_FILE, Identity};
use super::recovery::recover;
use super::shared::Shared;
use crate::error::LogError;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Copies what is durable now to `to`, which must not hold a log yet, and checks the copy.
pub(super) fn backup<D: Disk>(shared: &Shared<D>, to: &Path) -> Result<(), LogError> {
    prepare(&shared.disk, to)?;
    // Segments are listed first: then all of them but the newest are complete after the sync. A file in this
    // list is not used again before it is dropped, even if retention frees it meanwhile.
    let segments = shared.segments.all();
    shared.syncer.force();
    if let Some(reason) = shared.poisoned() {
        return Err(LogError::Poisoned(reason));
    }
    for segment in &segments {
        let bytes = segment.durable.load(Ordering::Acquire);
        if bytes > 0 {
            let from = shared.segment_path(segment.number);
            copy(&shared.disk, (&segment.file, &from), &to.join(segment_name(segment.number)), bytes)?;
        }
    }
    finish(&shared.disk, to, &Identity { incarnation: shared.incarnation, seal: shared.seal })
}

/// Puts a backup in place as a new log: `to` must not hold a log yet. What the log held after the backup is
/// gone, so its offsets will be given out again: the restored log is another one, with an incarnation of its
/// own. Blocks.
///
/// # Errors
/// When `from` is damaged or no backup, `to` holds a log, or the system refuses. `to` is no log then.
pub fn restore(from: &Path, to: &Path) -> Result<(), LogError> {
    restore_on(&RealDisk, from, to)
}

/// As [`restore`], on another file system.
///
/// # Errors
/// As there.
pub fn restore_on<D: Disk>(disk: &D, from: &Path, to: &Path) -> Result<(), LogError> {
    let identity = Identity::read(disk, from)?.ok_or_else(|| LogError::Io {
        what: format!("restoring from {}", from.display()),
        reason: format!("there is no {IDENTITY_FILE}, so it is not the backup of a log"),
    })?;
    prepare(disk, to)?;
    for name in list(disk, from)?.iter().filter(|name| segment_number(name).is_some()) {
        let path = from.join(name);
        let file = disk.open(&path).map_err(|error| failed("opening", &path, &error))?;
        let bytes = file.size().map_err(|error| failed("opening", &path, &error))?;
        copy(disk, (&file, &path), &to.join(name), bytes)?;
    }
    finish(disk, to, &Identity { seal: identity.seal, ..Identity::random() })
}

fn list<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<String>, LogError> {
    disk.list(dir).map_err(|error| failed("listing", dir, &error))
}

fn prepare<D: Disk>(disk: &D, to: &Path) -> Result<(), LogError> {
    disk.create_dir(to).map_err(|error| failed("creating", to, &error))?;
    match list(disk, to)?.iter().find(|name| *name == IDENTITY_FILE || segment_number(name).is_some()) {
        None => Ok(()),
        Some(name) => Err(LogError::Io {
            what: format!("copying a log to {}", to.display()),
            reason: format!("it holds {name} already"),
        }),
    }
}

fn copy<D: Disk>(disk: &D, from: (&D::File, &Path), to: &Path, bytes: u64) -> Result<(), LogError> {
    let into = disk.create(to).map_err(|error| failed("creating", to, &error))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    while at < bytes {
        let wanted = (bytes - at).min(COPY_BYTES as u64) as usize;
        let count = read_full(from.0, &mut buffer[..wanted], at).map_err(|error| failed("reading", from.1, &error))?;
        if count < wanted {
            let place = format!("{} byte {}", from.1.display(), at + count as u64);
            return Err(LogError::Damaged { place, what: format!("ends before byte {bytes}") });
        }
        write_all(&into, &buffer[..count], at).map_err(|error| failed("writing", to, &error))?;
        at += count as u64;
    }
    into.sync().map_err(|error| failed("syncing", to, &error))
}

/// Checks the copied segments and, as the last step, makes them a log.
fn finish<D: Disk>(disk: &D, to: &Path, identity: &Identity) -> Result<(), LogError> {
    disk.sync_dir(to).map_err(|error| failed("syncing", to, &error))?;
    recover(disk, to, identity.seal)?;
    identity.write(disk, to).map_err(|error| failed("writing", &to.join(IDENTITY_FILE), &error))
}

fn failed(what: &str, path: &Path, error: &dyn std::fmt::Display) -> LogError {
    LogError::Io { what: format!("{what} {}", path.display()), reason: error.to_string() }
}

/// Runs [`backup`] off the async threads.
pub(super) async fn backup_in_background<D: Disk>(shared: &Arc<Shared<D>>, to: PathBuf) -> Result<(), LogError> {
    shared.check_open()?;
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || backup(&shared, &to)).await.map_err(|_| LogError::Closed)?
}
