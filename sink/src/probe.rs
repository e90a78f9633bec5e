//! Whether a store keeps writers apart: of those who create one object at the same time, exactly one may win.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};

use crate::lake::{Lake, LakeError, uuid_text};
use crate::land::SinkError;

/// Writers who race for one name.
const RACERS: usize = 8;
/// Races.
const ROUNDS: usize = 4;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// Races run, each with one winner.
    pub races: usize,
    /// Median time of a race of eight.
    pub race: Duration,
}

/// Races writers for names below `_probe/`, which are deleted again.
///
/// # Errors
/// [`SinkError::UnsafeStore`] when more than one wins, or the winner's content is not what is there; an error of
/// the store when it is away.
pub async fn probe(lake: &Lake) -> Result<Probed, SinkError> {
    lake.ensure().await?;
    let store = lake.objects();
    let folder = format!("_probe/{}", uuid_text());
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let path = Path::from(format!("{folder}/{round}"));
        let begun = Instant::now();
        let racers = (0..RACERS).map(|racer| {
            let (store, path) = (&store, &path);
            async move {
                let content = vec![u8::try_from(racer).expect("few racers"); 64];
                store.put_opts(path, content.into(), PutMode::Create.into()).await
            }
        });
        let mut winners = Vec::new();
        for (racer, result) in join_all(racers).await.into_iter().enumerate() {
            match result {
                Ok(_) => winners.push(racer),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
                Err(error) => return Err(LakeError::from(error).into()),
            }
        }
        took.push(begun.elapsed());
        let content = store.get(&path).await.map_err(LakeError::from)?.bytes().await.map_err(LakeError::from)?;
        // An answer that the store lost leaves no winner; the content is whole all the same.
        let one = winners.len() <= 1;
        let kept = winners.iter().all(|winner| content.first().map(|byte| usize::from(*byte)) == Some(*winner));
        // Of no consequence where it fails.
        let _ = store.delete(&path).await;
        if !one || !kept {
            let (place, winners) = (lake.place().to_string(), winners.len());
            return Err(SinkError::UnsafeStore { place, winners, racers: RACERS });
        }
    }
    took.sort_unstable();
    Ok(Probed { races: ROUNDS, race: took[ROUNDS / 2] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::Place;

    #[tokio::test]
    async fn a_directory_keeps_writers_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&Place::Directory(folder.path().to_owned())).await.expect("opened");
        assert_eq!(probe(&lake).await.expect("a directory is safe").races, ROUNDS);
    }
}
