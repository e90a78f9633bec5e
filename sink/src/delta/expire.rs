//! Which entries of a table's log nobody needs any more. Pure.
//!
//! The protocol's rule ("Metadata Cleanup"): take the newest commit that is older than the table's retention, and the
//! newest checkpoint at or before it. What lies before that checkpoint may go; it, its own commit and all after stay,
//! so every reader that begins at a checkpoint finds what it needs.

use std::collections::BTreeMap;
use std::time::Duration;

/// How long entries are kept where the table does not say: as the protocol has it.
const LOG_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How long a removed file is remembered where the table does not say: as the protocol has it.
pub(crate) const REMOVALS_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// What new tables ask for. A table that commits every half minute makes 2,880 entries a day.
pub(crate) const OUR_LOG_KEPT: (&str, &str) = (LOG_RETENTION, "interval 7 days");

const LOG_RETENTION: &str = "delta.logRetentionDuration";
const FILE_RETENTION: &str = "delta.deletedFileRetentionDuration";
const CLEANS_UP: &str = "delta.enableExpiredLogCleanup";

/// A file of a table's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: String,
    /// Unix milliseconds of its last change, by the store's clock.
    pub(crate) modified_ms: i64,
}

/// What an entry is, by its name: commits and checkpoints of one file, which are all that we write. What others write
/// beside them, such as checkpoints in parts, is left to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit(u64),
    Checkpoint(u64),
}

fn kind(name: &str) -> Option<Kind> {
    let (digits, rest) = name.split_at_checked(20)?;
    let version = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    match rest {
        ".json" => Some(Kind::Commit(version)),
        ".checkpoint.parquet" => Some(Kind::Checkpoint(version)),
        _ => None,
    }
}

/// What may go, with the version of the checkpoint that must stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expired<'a> {
    /// Readers begin here or later.
    pub(crate) checkpoint: u64,
    /// Entries before it, oldest version first.
    pub(crate) entries: Vec<&'a Entry>,
}

/// The entries that may go: those last changed before `before_ms`, behind a checkpoint. None where there are none.
pub(crate) fn expired(entries: &[Entry], before_ms: i64) -> Option<Expired<'_>> {
    let (mut commits, mut checkpoints) = (BTreeMap::new(), BTreeMap::new());
    for entry in entries {
        match kind(&entry.name) {
            Some(Kind::Commit(version)) => commits.insert(version, entry),
            Some(Kind::Checkpoint(version)) => checkpoints.insert(version, entry),
            None => None,
        };
    }
    // All before it are older as well, or the store's times tell nothing: a lake that was copied is as old as its copy.
    let old = commits.iter().take_while(|(_, entry)| entry.modified_ms < before_ms);
    let (newest, _) = old.last()?;
    let (checkpoint, _) = checkpoints.range(..=newest).next_back().filter(|(at, _)| commits.contains_key(at))?;
    let mut gone: Vec<(u64, &Entry)> = commits.range(..checkpoint).map(|(version, entry)| (*version, *entry)).collect();
    gone.extend(checkpoints.range(..checkpoint).map(|(version, entry)| (*version, *entry)));
    gone.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    let entries: Vec<&Entry> = gone.into_iter().map(|(_, entry)| entry).collect();
    (!entries.is_empty()).then_some(Expired { checkpoint: *checkpoint, entries })
}

/// How long a table's log entries are kept; none where its owner wants them kept for ever, or asks for what we do not
/// understand.
pub(crate) fn log_kept(configuration: &BTreeMap<String, String>) -> Option<Duration> {
    if configuration.get(CLEANS_UP).is_some_and(|value| value != "true") {
        return None;
    }
    configuration.get(LOG_RETENTION).map_or(Some(LOG_KEPT), |text| interval(text))
}

/// How long a table's removed files are remembered.
pub(crate) fn removals_kept(configuration: &BTreeMap<String, String>) -> Duration {
    let asked = configuration.get(FILE_RETENTION).and_then(|text| interval(text));
    asked.unwrap_or(REMOVALS_KEPT)
}

/// `interval 7 days`, `interval 1 week 12 hours`: what Delta's tools write.
fn interval(text: &str) -> Option<Duration> {
    let mut words = text.split_ascii_whitespace().peekable();
    words.next_if(|word| word.eq_ignore_ascii_case("interval"));
    words.peek()?;
    let mut sum = Duration::ZERO;
    while let Some(number) = words.next() {
        let number: u32 = number.parse().ok()?;
        let unit = words.next()?.to_ascii_lowercase();
        let one = match unit.strip_suffix('s').unwrap_or(&unit) {
            "week" => Duration::from_secs(7 * 86_400),
            "day" => Duration::from_secs(86_400),
            "hour" => Duration::from_secs(3_600),
            "minute" => Duration::from_secs(60),
            "second" => Duration::from_secs(1),
            "millisecond" => Duration::from_millis(1),
            _ => return None,
        };
        sum = sum.checked_add(one.checked_mul(number)?)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, modified_ms: i64) -> Entry {
        Entry { name: name.to_owned(), modified_ms }
    }

    /// Commits 0 to 9, a second apart, and checkpoints at 3 and 6.
    fn entries() -> Vec<Entry> {
        let mut all: Vec<Entry> = (0..10).map(|at| entry(&format!("{at:020}.json"), i64::from(at) * 1_000)).collect();
        all.extend([3, 6].map(|at| entry(&format!("{at:020}.checkpoint.parquet"), i64::from(at) * 1_000 + 1)));
        all.push(entry("_last_checkpoint", 6_002));
        all.push(entry("00000000000000000002.checkpoint.0000000001.0000000002.parquet", 0));
        all.push(entry("00000000000000000001.crc", 0));
        all
    }

    fn names(before_ms: i64) -> Option<(u64, Vec<String>)> {
        let entries = entries();
        let gone = expired(&entries, before_ms)?;
        let short = |entry: &&Entry| entry.name.trim_start_matches('0').to_owned();
        Some((gone.checkpoint, gone.entries.iter().map(short).collect()))
    }

    #[test]
    fn only_what_is_old_and_behind_a_checkpoint_goes() {
        assert_eq!(names(0), None, "nothing is old");
        assert_eq!(names(3_000), None, "no checkpoint is old enough");
        let three = Some((3, vec![".json".to_owned(), "1.json".into(), "2.json".into()]));
        assert_eq!(names(3_001), three, "commit 3 is old and has a checkpoint");
        assert_eq!(names(6_000), three, "commit 6 is not old");
        let (checkpoint, gone) = names(i64::MAX).expect("all are old");
        assert_eq!((checkpoint, gone.len()), (6, 7), "{gone:?}");
        assert!(gone.contains(&"3.checkpoint.parquet".to_owned()) && !gone.iter().any(|name| name.contains('6')));
    }

    #[test]
    fn times_that_contradict_the_order_keep_everything_after_them() {
        let mut all = entries();
        all[1].modified_ms = 1_000_000;
        assert_eq!(expired(&all, 500_000), None);
    }

    #[test]
    fn a_checkpoint_without_its_commit_is_no_ground() {
        let mut all = entries();
        all.retain(|entry| entry.name != format!("{:020}.json", 3));
        assert_eq!(expired(&all, 5_000), None);
    }

    #[test]
    fn intervals_are_read_as_delta_writes_them() {
        let of = |text: &str| log_kept(&BTreeMap::from([(LOG_RETENTION.to_owned(), text.to_owned())]));
        assert_eq!(of("interval 7 days"), Some(Duration::from_secs(604_800)));
        assert_eq!(of("1 week 12 hours"), Some(Duration::from_secs(604_800 + 43_200)));
        for text in ["", "interval", "7 days days", "interval -1 day", "interval 1 month", "P7D"] {
            assert_eq!(of(text), None, "{text:?}");
        }
        assert_eq!(log_kept(&BTreeMap::new()), Some(LOG_KEPT));
        let off = BTreeMap::from([(CLEANS_UP.to_owned(), "false".to_owned())]);
        assert_eq!(log_kept(&off), None);
        assert_eq!(removals_kept(&off), REMOVALS_KEPT);
    }
}
