//! A directory as an object store whose writes last.
//!
//! Reading is `object_store`'s; its writing does not sync, and a log that is trimmed once its rows have landed
//! must be able to rely on them. So a write here is: a file aside, synced; then a link (fails where the name is
//! taken) or a rename to its name; then its folder, synced.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::lake::LakeError;

/// Files on their way; what a crash left there is nobody's.
const STAGING: &str = "_staging";

/// A directory as an object store.
#[derive(Debug)]
pub(super) struct DirectoryStore {
    root: Arc<FsPath>,
    reads: LocalFileSystem,
}

impl std::fmt::Display for DirectoryStore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.root.display())
    }
}

impl DirectoryStore {
    /// Opens the directory and makes it where it is missing.
    pub(super) fn open(root: &FsPath) -> Result<Self, LakeError> {
        let refuse = |error: io::Error| LakeError::Place { place: root.display().to_string(), what: error.to_string() };
        fs::create_dir_all(root.join(STAGING)).map_err(refuse)?;
        let root: Arc<FsPath> = root.canonicalize().map_err(refuse)?.into();
        let reads = LocalFileSystem::new_with_prefix(&root)?;
        Ok(Self { root, reads })
    }
}

fn generic(error: io::Error) -> Error {
    Error::Generic { store: "directory", source: Box::new(error) }
}

/// The write itself; `create` refuses a name that is taken.
fn write(root: &FsPath, location: &Path, payload: &PutPayload, create: bool) -> Result<()> {
    let target = location.parts().fold(root.to_owned(), |path, part| path.join(part.as_ref()));
    let folder = target.parent().map_or_else(|| root.to_owned(), FsPath::to_owned);
    make_folders(root, &folder).map_err(generic)?;
    let staged = root.join(STAGING).join(format!("{:032x}", fastrand::u128(..)));
    let made = (|| {
        let mut file = File::create_new(&staged)?;
        for part in payload {
            file.write_all(part)?;
        }
        file.sync_all()?;
        if create { fs::hard_link(&staged, &target) } else { fs::rename(&staged, &target) }
    })();
    if create || made.is_err() {
        // Of no consequence where it fails: nothing looks there.
        let _ = fs::remove_file(&staged);
    }
    match made {
        Ok(()) => sync_folder(&folder).map_err(generic),
        Err(error) if create && error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::AlreadyExists { path: location.to_string(), source: Box::new(error) })
        }
        Err(error) => Err(generic(error)),
    }
}

/// Makes the folders between the root and `folder` and syncs the one above each that is new.
fn make_folders(root: &FsPath, folder: &FsPath) -> io::Result<()> {
    let missing: Vec<PathBuf> =
        folder.ancestors().take_while(|path| *path != root && !path.is_dir()).map(FsPath::to_owned).collect();
    for path in missing.iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_folder(path.parent().unwrap_or(root))?,
        }
    }
    Ok(())
}

fn sync_folder(folder: &FsPath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotSupported { source: "a directory has no conditional update".into() });
            }
        };
        let (root, location) = (Arc::clone(&self.root), location.clone());
        tokio::task::spawn_blocking(move || write(&root, &location, &payload, create)).await??;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotSupported { source: format!("{location}: files of the lake are written whole").into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.reads.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.reads.list(prefix);
        let staging = Path::from(STAGING);
        let kept = move |found: &Result<ObjectMeta>| {
            let staged = found.as_ref().is_ok_and(|object| object.location.prefix_matches(&staging));
            std::future::ready(!staged)
        };
        listed.filter(kept).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.reads.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|path| *path != Path::from(STAGING));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotSupported { source: format!("{from}: files of the lake are never copied").into() })
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn of_many_who_create_one_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(DirectoryStore::open(folder.path()).expect("opened"));
        let path = Path::from("a/b/c.json");
        let racers = (0..16u8).map(|writer| {
            let (store, path) = (Arc::clone(&store), path.clone());
            tokio::spawn(async move {
                let put = store.put_opts(&path, vec![writer; 3].into(), PutMode::Create.into()).await;
                put.map(|_| writer)
            })
        });
        let mut winners = Vec::new();
        for racer in racers.collect::<Vec<_>>() {
            match racer.await.expect("no panic") {
                Ok(writer) => winners.push(writer),
                Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
            }
        }
        let content = store.get(&path).await.expect("there").bytes().await.expect("read");
        assert_eq!((winners.len(), &content[..]), (1, &[winners[0]; 3][..]));
        store.put(&path, vec![99].into()).await.expect("overwritten");
        let listed: Vec<_> = store.list(None).collect().await;
        assert_eq!(listed.len(), 1, "nothing staged is left or listed: {listed:?}");
        let staged = fs::read_dir(folder.path().join(STAGING)).expect("staging").count();
        assert_eq!(staged, 0);
    }
}
