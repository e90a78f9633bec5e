//! `millrace backup` and `millrace restore`: log, snapshots and the exchange's key of a data directory, in a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};

use crate::cli::FileArgs;
use crate::config::{BackEnd, Pipeline};
use crate::control::{self, ControlDoor, Request};
use crate::{topics, trader_key};

/// The log, in a data directory and in a backup.
pub(crate) const LOG_DIR: &str = "log";
/// The stages' snapshots, likewise.
pub(crate) const SNAPSHOTS_DIR: &str = "snapshots";

/// Copies log and snapshots into a folder that does not exist yet. The program may go on running.
///
/// # Errors
/// When the folder exists, the log is damaged, or the system refuses.
pub(crate) async fn backup(to: &Path, file: &FileArgs) -> anyhow::Result<()> {
    let pipeline = embedded(&file.file)?;
    ensure!(!to.exists(), "{} exists: name a folder that does not", to.display());
    let to = std::path::absolute(to).with_context(|| format!("{} cannot be made absolute", to.display()))?;
    std::fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
    let done = match control::ask(&pipeline.data_dir, &Request::Backup(to.clone())).await {
        Ok(Some(())) => Ok(()),
        Ok(None) => alone(&pipeline, &to).await,
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Half a backup must not look like one. Only what this command made is removed.
        let _ = std::fs::remove_dir_all(&to);
    }
    done?;
    println!("backed up {} to {} and checked the copy", pipeline.data_dir.display(), to.display());
    Ok(())
}

/// Without a running program: the log is opened here.
async fn alone(pipeline: &Pipeline, to: &Path) -> anyhow::Result<()> {
    ensure!(
        topics::log_dir(&pipeline.data_dir).is_dir(),
        "{} has no log: nothing ran there yet",
        pipeline.data_dir.display()
    );
    let opened = topics::open(&pipeline.log, &pipeline.data_dir).await?;
    let embedded = opened.embedded.context("the log is not embedded")?;
    let door = ControlDoor::open(&pipeline.data_dir, Arc::clone(&embedded))?;
    let done = door.backup(to).await;
    drop(door);
    opened.log.close().await?;
    done
}

/// Puts a backup into a data directory that has no log yet.
///
/// # Errors
/// When there is a log already, the backup is damaged or none, or the system refuses.
pub(crate) async fn restore(from: &Path, file: &FileArgs) -> anyhow::Result<()> {
    let pipeline = embedded(&file.file)?;
    let data_dir = &pipeline.data_dir;
    ensure!(
        !topics::log_dir(data_dir).exists(),
        "{} holds a log already: move it away first, or name another data_dir in {}",
        data_dir.display(),
        file.file.display()
    );
    let (log_from, log_to) = (from.join(LOG_DIR), topics::log_dir(data_dir));
    ensure!(log_from.is_dir(), "{} is no backup: it has no folder {LOG_DIR}", from.display());
    std::fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    copy_snapshots(&from.join(SNAPSHOTS_DIR), &data_dir.join(SNAPSHOTS_DIR))?;
    if !trader_key::exists(data_dir) {
        trader_key::copy(from, data_dir)?;
    }
    tokio::task::spawn_blocking(move || journal::embedded::restore(&log_from, &log_to)).await??;
    println!("restored {} into {}; `millrace up` goes on from there", from.display(), data_dir.display());
    Ok(())
}

fn embedded(file: &Path) -> anyhow::Result<Pipeline> {
    let pipeline = Pipeline::load(file)?;
    ensure!(
        matches!(pipeline.log.back_end, BackEnd::Embedded { .. }),
        "{} keeps its log on a Fluvio cluster: back that up with the cluster's own means",
        file.display()
    );
    Ok(pipeline)
}

/// Copies a tree of snapshot files; whatever is being written at the moment is left out.
///
/// # Errors
/// When a file cannot be copied.
pub(crate) fn copy_snapshots(from: &Path, to: &Path) -> anyhow::Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (path, target): (PathBuf, PathBuf) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_snapshots(&path, &target)?;
            continue;
        }
        match std::fs::copy(&path, &target) {
            Ok(_) => {
                let copy = std::fs::File::open(&target).and_then(|file| file.sync_all());
                copy.with_context(|| format!("cannot sync {}", target.display()))?;
            }
            // Renamed into place or dropped by age meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot copy {}", path.display())),
        }
    }
    Ok(())
}
