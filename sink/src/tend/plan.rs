//! What to compact: closed hours first, then closed dates. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delta::{DataFile, Stat};

/// A compacted file is about this large, at most; rows beyond go into the next one. It is made in memory.
pub const FILE_BYTES_MAX: u64 = 32 << 20;
/// Encoded bytes of one job that sorts, about: its runs are held in memory.
const SORTED_BYTES_MAX: u64 = 16 << 20;
/// Encoded bytes of one job that merges sorted files, at most: a page of each is held in memory.
const MERGED_BYTES_MAX: u64 = 128 << 20;
/// Files of one job that sorts, at most: they are read one after the other.
const SORTED_FILES_MAX: usize = 64;
/// Files of one job that merges, at most: of each, every column takes 160 kB for zstd and a page.
const MERGED_FILES_MAX: usize = 16;
/// Files that are worth being made one.
const FILES_MIN: usize = 2;
const HOUR_US: i64 = 3_600_000_000;
const HOURS_OF_DAY: i64 = 24;

/// How far a file is compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Sorted within its hour.
    Hour,
    /// Sorted within its date.
    Date,
}

impl Level {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Hour => 1,
            Self::Date => 2,
        }
    }
}

/// Files to be made into fewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) level: Level,
    pub(crate) date: i32,
    pub(crate) log: Option<u128>,
    pub(crate) files: Vec<Arc<DataFile>>,
}

/// The hour, counted from 1970, in which a file's newest row happened. A file without that bound is never
/// compacted.
fn newest_hour(file: &DataFile) -> Option<i64> {
    match file.columns.get("ts_event")?.max {
        Some(Stat::Time(micros)) => Some(micros.div_euclid(HOUR_US)),
        _ => None,
    }
}

/// The jobs that are due when the tables' event time has reached `now_us` less what may still come late.
///
/// Files as they landed are sorted within their hour once it is closed: each file counts to the hour of its newest
/// row. When a date is closed and nothing of it is as it landed, its hours are merged. What comes late lands
/// beside them and is compacted in the next round.
pub(crate) fn jobs(files: &[Arc<DataFile>], now_us: i64) -> Vec<Job> {
    let this_hour = now_us.div_euclid(HOUR_US);
    let today = this_hour.div_euclid(HOURS_OF_DAY);
    let mut hours: BTreeMap<(i32, Option<u128>, i64), Vec<Arc<DataFile>>> = BTreeMap::new();
    let mut dates: BTreeMap<(i32, Option<u128>), Vec<Arc<DataFile>>> = BTreeMap::new();
    let mut open_dates: Vec<i32> = Vec::new();
    for file in files {
        match (file.level, newest_hour(file)) {
            (0, Some(hour)) if hour < this_hour => {
                hours.entry((file.date, file.log, hour)).or_default().push(Arc::clone(file));
                open_dates.push(file.date);
            }
            (0, _) => open_dates.push(file.date),
            (_, Some(_)) => dates.entry((file.date, file.log)).or_default().push(Arc::clone(file)),
            _ => {}
        }
    }
    let mut jobs = Vec::new();
    for ((date, log, _), files) in hours {
        let parts = split(files, SORTED_BYTES_MAX, SORTED_FILES_MAX).into_iter();
        jobs.extend(parts.map(|files| Job { level: Level::Hour, date, log, files }));
    }
    for ((date, log), files) in dates {
        let closed = i64::from(date) < today && !open_dates.contains(&date);
        let unmerged = files.iter().any(|file| file.level == Level::Hour.number());
        if !closed || !unmerged {
            continue;
        }
        // One alone is as good as it gets, and so are files that were merged before.
        let hour = Level::Hour.number();
        let worth = |part: &Vec<Arc<DataFile>>| part.len() >= FILES_MIN && part.iter().any(|file| file.level == hour);
        let parts = split(files, MERGED_BYTES_MAX, MERGED_FILES_MAX).into_iter().filter(worth);
        jobs.extend(parts.map(|files| Job { level: Level::Date, date, log, files }));
    }
    jobs
}

/// Groups files so that each group is one job's input.
fn split(mut files: Vec<Arc<DataFile>>, bytes_max: u64, files_max: usize) -> Vec<Vec<Arc<DataFile>>> {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut groups: Vec<Vec<Arc<DataFile>>> = Vec::new();
    let mut bytes = 0;
    for file in files {
        bytes += file.size;
        match groups.last_mut() {
            Some(group) if bytes <= bytes_max && group.len() < files_max => group.push(file),
            _ => {
                bytes = file.size;
                groups.push(vec![file]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::ColumnStats;

    fn file(name: &str, date: i32, hour: i64, level: u8) -> Arc<DataFile> {
        let newest = (i64::from(date) * 24 + hour) * HOUR_US + 5;
        let stats = ColumnStats { max: Some(Stat::Time(newest)), ..ColumnStats::default() };
        Arc::new(DataFile {
            path: name.into(),
            size: 1_000,
            rows: 10,
            date,
            columns: BTreeMap::from([("ts_event".into(), stats)]),
            sorted: level > 0,
            level,
            log: Some(7),
            modified_ms: 0,
        })
    }

    fn names(job: &Job) -> Vec<&str> {
        job.files.iter().map(|file| &*file.path).collect()
    }

    #[test]
    fn closed_hours_then_closed_dates() {
        let files = [file("a", 10, 3, 0), file("b", 10, 3, 0), file("c", 10, 4, 0), file("d", 10, 5, 0)];
        let at = |date: i64, hour: i64| (date * 24 + hour) * HOUR_US + 1;
        assert_eq!(jobs(&files, at(10, 3)), []);
        let due = jobs(&files, at(10, 5));
        assert_eq!(due.iter().map(names).collect::<Vec<_>>(), [vec!["a", "b"], vec!["c"]]);
        assert!(due.iter().all(|job| job.level == Level::Hour));
        let files = [file("ab", 10, 3, 1), file("c", 10, 4, 1), file("d", 10, 5, 0)];
        assert_eq!(jobs(&files, at(11, 0)).iter().map(names).collect::<Vec<_>>(), [["d"]], "hours first");
        let files = [file("ab", 10, 3, 1), file("c", 10, 4, 1), file("d", 10, 5, 1)];
        assert_eq!(jobs(&files, at(10, 23)), [], "the date is open");
        let due = jobs(&files, at(11, 0));
        assert_eq!((due.len(), due[0].level, names(&due[0])), (1, Level::Date, vec!["ab", "c", "d"]));
        assert_eq!(jobs(&[file("abcd", 10, 5, 2)], at(11, 0)), [], "done");
        let late = [file("abcd", 10, 5, 2), file("e", 10, 5, 1)];
        assert_eq!(jobs(&late, at(11, 0)).len(), 1, "what came late joins");
    }

    #[test]
    fn no_job_is_larger_than_memory() {
        let mut files: Vec<Arc<DataFile>> = Vec::new();
        for number in 0..10 {
            let mut one = (*file(&format!("f{number}"), 10, 3, 0)).clone();
            one.size = 6 << 20;
            files.push(Arc::new(one));
        }
        let due = jobs(&files, i64::MAX / 2);
        let sizes: Vec<usize> = due.iter().map(|job| job.files.len()).collect();
        assert_eq!(sizes, [2; 5], "two of six MiB each, three would be more than sixteen");
        for (level, sizes) in [(0, vec![64, 6]), (1, vec![16, 16, 16, 16, 6])] {
            let small = (0..70).map(|number| file(&format!("f{number}"), 10, 3, level)).collect::<Vec<_>>();
            let due = jobs(&small, i64::MAX / 2);
            assert_eq!(due.iter().map(|job| job.files.len()).collect::<Vec<_>>(), sizes, "level {level}");
        }
    }
}
