//! Reading and writing a table's log in an object store.

use std::sync::Arc;

use arrow::datatypes::Schema;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::action::{Action, lines, parse};
use super::checkpoint;
use super::state::State;
use crate::lake::LakeError;

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
            state.apply(version, &actions).map_err(LakeError::unusable)?;
            next = version + 1;
        }
        if !self.follow(&mut state, next).await? && next == 0 {
            return Ok(None);
        }
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
        let next = state.version + 1;
        self.follow(state, next).await.map(|_| ())
    }

    /// Applies version after version from `next` on. Says whether there was any.
    async fn follow(&self, state: &mut State, mut next: u64) -> Result<bool, LakeError> {
        let first = next;
        while let Some(bytes) = self.read(&self.version_path(next)).await? {
            let actions = parse(&bytes).map_err(|error| LakeError::Damaged {
                path: self.version_path(next).to_string(),
                what: error.to_string(),
            })?;
            state.apply(next, &actions).map_err(LakeError::unusable)?;
            next += 1;
        }
        Ok(next > first)
    }

    /// The newest checkpoint that can be read.
    async fn checkpoint(&self) -> Result<Option<(u64, Vec<Action>)>, LakeError> {
        let hint = self.read(&self.path("_last_checkpoint")).await?;
        let hinted = hint.and_then(|bytes| serde_json::from_slice::<LastCheckpoint>(&bytes).ok());
        let mut versions: Vec<u64> = hinted.into_iter().map(|last| last.version).collect();
        if versions.is_empty() {
            // Without the hint the folder tells.
            let folder = Path::from(format!("{}/_delta_log", self.folder));
            let mut listed = self.store.list(Some(&folder));
            while let Some(object) = listed.try_next().await? {
                let name = object.location.filename().and_then(|name| name.strip_suffix(".checkpoint.parquet"));
                versions.extend(name.and_then(|digits| digits.parse::<u64>().ok()));
            }
            versions.sort_unstable_by(|a, b| b.cmp(a));
        }
        for version in versions {
            if let Some(bytes) = self.read(&self.checkpoint_path(version)).await? {
                let actions = checkpoint::read(bytes)
                    .map_err(|what| LakeError::Damaged { path: self.checkpoint_path(version).to_string(), what })?;
                return Ok(Some((version, actions)));
            }
        }
        Ok(None)
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
