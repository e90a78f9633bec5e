//! Where the lake lies: a directory, or a bucket of anything that speaks S3.

mod directory;
mod s3;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;

pub use s3::{S3Config, S3Keys};

use crate::lake::LakeError;

/// Where the lake lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory; it is made where it is missing.
    Directory(PathBuf),
    /// A bucket, or a prefix in one.
    S3(S3Config),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(out, "{}", path.display()),
            Self::S3(config) => write!(out, "{config}"),
        }
    }
}

/// An open store.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) objects: Arc<dyn ObjectStore>,
    s3: Option<s3::S3Store>,
}

impl Store {
    /// Opens the store at `place`; a bucket is not asked anything yet.
    pub(crate) async fn open(place: &Place) -> Result<Self, LakeError> {
        Ok(match place {
            Place::Directory(path) => Self { objects: Arc::new(directory::DirectoryStore::open(path)?), s3: None },
            Place::S3(config) => {
                let store = s3::S3Store::open(config).await;
                Self { objects: Arc::new(store.clone()), s3: Some(store) }
            }
        })
    }

    /// Makes sure that the place can be written to: a bucket that is missing is made.
    pub(crate) async fn ensure(&self) -> Result<(), LakeError> {
        match &self.s3 {
            Some(store) => store.ensure_bucket().await,
            None => Ok(()),
        }
    }
}
