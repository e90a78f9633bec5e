//! Whether a store keeps writers apart: of those who create one object at the same time, exactly one may win.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode};

use crate::lake::{Lake, LakeError, uuid_text};
use crate::land::SinkError;

/// Writers who race for one name.
const RACERS: usize = 8;
/// Races that must be decided.
const ROUNDS: usize = 4;
/// Races run to get those, at most, on a store that fails now and then.
const ROUNDS_MAX: usize = 20;

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
    let folder = format!("_probe/{}", uuid_text());
    let mut took = Vec::new();
    let mut failure = None;
    for round in 0..ROUNDS_MAX {
        if took.len() == ROUNDS {
            break;
        }
        let begun = Instant::now();
        match race(lake, &Path::from(format!("{folder}/{round}"))).await {
            Ok(race) if race.winners > 1 || !race.kept => {
                let place = lake.place().to_string();
                return Err(SinkError::UnsafeStore { place, winners: race.winners, racers: RACERS });
            }
            Ok(_) => took.push(begun.elapsed()),
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure.filter(|_| took.len() < ROUNDS) {
        return Err(LakeError::from(error).into());
    }
    took.sort_unstable();
    Ok(Probed { races: ROUNDS, race: took[ROUNDS / 2] })
}

/// How a race ended.
struct Race {
    /// Those who were told that they won. None where the winner's answer was lost.
    winners: usize,
    /// What is there is the winner's.
    kept: bool,
}

/// One race. Answers that fail tell nothing of who won, so those that came decide; an error where they cannot.
async fn race(lake: &Lake, path: &Path) -> Result<Race, object_store::Error> {
    let store = lake.objects();
    let racers = (0..RACERS).map(|racer| {
        let store = &store;
        async move {
            let content = vec![u8::try_from(racer).expect("few racers"); 64];
            store.put_opts(path, content.into(), PutMode::Create.into()).await
        }
    });
    let (mut winners, mut losers, mut failure) = (Vec::new(), 0, None);
    for (racer, result) in join_all(racers).await.into_iter().enumerate() {
        match result {
            Ok(_) => winners.push(racer),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => losers += 1,
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure.filter(|_| winners.len() + losers < 2) {
        return Err(error);
    }
    let content = match store.get(path).await {
        Ok(found) => found.bytes().await,
        Err(error) => Err(error),
    };
    // Of no consequence where it fails.
    let _ = store.delete(path).await;
    let first = content?.first().map(|byte| usize::from(*byte));
    Ok(Race { winners: winners.len(), kept: winners.iter().all(|winner| first == Some(*winner)) })
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
