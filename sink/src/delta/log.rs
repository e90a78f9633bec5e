//! Reading and writing a table's log in an object store.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::Schema;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::action::{Action, lines, parse};
use super::checkpoint;
use super::expire::Expired;
use super::state::State;
use crate::lake::{LakeError, now_ms};

/// What became of an attempt to commit.
#[derive(Debug)]
pub(crate) enum Committed {
    /// It is the version that it was meant to be.
    Yes,
    /// That version is there already: another's, or our own whose answer was lost.
    Taken,
}

/// A table's log.
#[derive(Debug, Clone)]
pub(crate) struct DeltaLog {
    store: Arc<dyn ObjectStore>,
    folder: String,
    schema: Arc<Schema>,
}

/// What `_last_checkpoint` says.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct LastCheckpoint {
    version: u64,
    size: u64,
}

impl DeltaLog {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, folder: &str, schema: Arc<Schema>) -> Self {
        Self { store, folder: folder.to_owned(), schema }
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/_delta_log/{name}", self.folder))
    }

    fn version_path(&self, version: u64) -> Path {
        self.path(&format!("{version:020}.json"))
    }

    /// An object's content; none where there is none.
    async fn read(&self, path: &Path) -> Result<Option<bytes::Bytes>, LakeError> {
        match self.store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The table as it is now; none where there is none.
    pub(crate) async fn load(&self) -> Result<Option<State>, LakeError> {
        let mut state = State::new(&self.folder, Arc::clone(&self.schema));
        let mut next = 0;
        if let Some((version, actions)) = self.checkpoint().await? {
            state.apply(version, &actions);
            next = version + 1;
        }
        if !self.follow(&mut state, next).await? && next == 0 {
            return Ok(None);
        }
        state.looked_ms = now_ms();
        state.check().map_err(LakeError::unusable)?;
        if state.metadata.is_none() || state.protocol.is_none() {
            return Err(LakeError::Damaged {
                path: self.version_path(0).to_string(),
                what: "the log begins without a protocol and metadata".to_owned(),
            });
        }
        Ok(Some(state))
    }

    /// Applies what was committed since `state`.
    pub(crate) async fn refresh(&self, state: &mut State) -> Result<(), LakeError> {
        let (next, now) = (state.version + 1, now_ms());
        let stale = state.is_stale(now);
        if !self.follow(state, next).await? && stale && self.read(&self.version_path(state.version)).await?.is_none() {
            // Not the end of the log: where we stand it was cleaned up meanwhile.
            *state = self.load().await?.ok_or_else(|| self.without_beginning(state.version))?;
        }
        state.looked_ms = now;
        state.check().map_err(LakeError::unusable)
    }

    fn without_beginning(&self, version: u64) -> LakeError {
        LakeError::Damaged {
            path: self.path("").to_string(),
            what: format!("it has version {version}, and neither all versions before it nor a checkpoint to begin at"),
        }
    }

    /// Applies version after version from `next` on. Says whether there was any.
    async fn follow(&self, state: &mut State, mut next: u64) -> Result<bool, LakeError> {
        let first = next;
        while let Some(bytes) = self.read(&self.version_path(next)).await? {
            let actions = parse(&bytes).map_err(|error| LakeError::Damaged {
                path: self.version_path(next).to_string(),
                what: error.to_string(),
            })?;
            state.apply(next, &actions);
            next += 1;
        }
        Ok(next > first)
    }

    /// The newest checkpoint that can be read. One that is damaged is passed over, where an older one or the beginning
    /// leads to the end of the log as well: entry after entry is there.
    async fn checkpoint(&self) -> Result<Option<(u64, Vec<Action>)>, LakeError> {
        let hint = self.read(&self.path("_last_checkpoint")).await?;
        let hinted = hint.and_then(|bytes| serde_json::from_slice::<LastCheckpoint>(&bytes).ok());
        let mut damaged = None;
        if let Some(last) = hinted
            && let Some(actions) = self.undamaged(last.version, &mut damaged).await?
        {
            return Ok(Some((last.version, actions)));
        }
        // Without the hint, or where what it names is of no use, the folder tells.
        let folder = Path::from(format!("{}/_delta_log", self.folder));
        let (mut checkpoints, mut entries) = (BTreeSet::new(), BTreeSet::new());
        let mut listed = self.store.list(Some(&folder));
        while let Some(object) = listed.try_next().await? {
            let Some((digits, kind)) = object.location.filename().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Ok(version) = digits.parse::<u64>() else { continue };
            match kind {
                "checkpoint.parquet" => checkpoints.insert(version),
                "json" => entries.insert(version),
                _ => false,
            };
        }
        let Some(end) = checkpoints.last().max(entries.last()).copied() else { return damaged.map_or(Ok(None), Err) };
        let leads_on = |from: u64| entries.range(from..).copied().eq(from..=end);
        for version in checkpoints.into_iter().rev().filter(|version| leads_on(version + 1)) {
            if let Some(actions) = self.undamaged(version, &mut damaged).await? {
                return Ok(Some((version, actions)));
            }
        }
        if leads_on(0) {
            return Ok(None);
        }
        // A table that has lost its beginning must not be taken for one that was never made.
        Err(damaged.unwrap_or_else(|| self.without_beginning(*entries.first().unwrap_or(&end))))
    }

    /// As [`Self::checkpoint_at`]; damage is noted, and like a checkpoint that is not there.
    async fn undamaged(&self, version: u64, damage: &mut Option<LakeError>) -> Result<Option<Vec<Action>>, LakeError> {
        match self.checkpoint_at(version).await {
            Err(error @ LakeError::Damaged { .. }) => {
                tracing::warn!(%error, "a checkpoint is passed over");
                damage.get_or_insert(error);
                Ok(None)
            }
            other => other,
        }
    }

    /// The actions of a checkpoint; none where there is none.
    async fn checkpoint_at(&self, version: u64) -> Result<Option<Vec<Action>>, LakeError> {
        let Some(bytes) = self.read(&self.checkpoint_path(version)).await? else { return Ok(None) };
        let actions = checkpoint::read(bytes)
            .map_err(|what| LakeError::Damaged { path: self.checkpoint_path(version).to_string(), what })?;
        Ok(Some(actions))
    }

    /// Deletes what has expired, oldest first, after a look at the checkpoint that readers will need then. Says how
    /// many entries went.
    pub(crate) async fn clean_up(&self, expired: &Expired<'_>) -> Result<usize, LakeError> {
        let Some(actions) = self.checkpoint_at(expired.checkpoint).await? else { return Ok(0) };
        let mut state = State::new(&self.folder, Arc::clone(&self.schema));
        state.apply(expired.checkpoint, &actions);
        if state.protocol.is_none() || state.metadata.is_none() || state.check().is_err() {
            return Ok(0);
        }
        let paths: Vec<_> = expired.entries.iter().map(|entry| Ok(self.path(&entry.name))).collect();
        let deleted = self.store.delete_stream(futures_util::stream::iter(paths).boxed());
        let gone = |count, _| async move { Ok::<usize, object_store::Error>(count + 1) };
        Ok(deleted.try_fold(0, gone).await?)
    }

    fn checkpoint_path(&self, version: u64) -> Path {
        self.path(&format!("{version:020}.checkpoint.parquet"))
    }

    /// Makes `actions` the given version, unless that version is there. On an error it is not known whether they
    /// are.
    pub(crate) async fn commit(&self, version: u64, actions: &[Action]) -> Result<Committed, LakeError> {
        let payload = PutPayload::from(lines(actions));
        match self.store.put_opts(&self.version_path(version), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(Committed::Yes),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Committed::Taken)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the state as a checkpoint, so that a reader need not begin at the beginning.
    pub(crate) async fn write_checkpoint(&self, state: &State) -> Result<(), LakeError> {
        let (bytes, size) = checkpoint::write(state)
            .map_err(|what| LakeError::Damaged { path: self.checkpoint_path(state.version).to_string(), what })?;
        self.store.put(&self.checkpoint_path(state.version), bytes.into()).await?;
        let last = LastCheckpoint { version: state.version, size };
        let text = serde_json::to_vec(&last).expect("two numbers");
        self.store.put(&self.path("_last_checkpoint"), text.into()).await?;
        Ok(())
    }
}
