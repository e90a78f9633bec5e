//! One client's way through one account's reports: from a position in the log, then as they come.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use axum::http::StatusCode;
use bytes::Bytes;
use journal::{LogError, LogReader, Partition, Record, Visibility};
use serde::Deserialize;
use tokio::sync::Notify;

use super::account::{AccountFeed, Report};
use super::{Caller, starting};
use crate::problem::Problem;
use crate::state::StreamPlace;
use crate::tape::Taken;

/// Reports that are taken from the tape at once.
const AT_ONCE: usize = 256;

/// Where a client wants to go on.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum After {
    /// After the report with this position.
    Position(u64),
    /// `start`: from the oldest that is kept.
    Word(String),
}

/// What the next step gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Reports were added, perhaps none; there may be more at once.
    More,
    /// There is nothing new.
    Nothing,
    /// The client is slower than its reports come: those it has not taken are no longer in memory.
    Slow,
}

/// The reports of one kind of an account, as one client follows them.
pub(crate) struct Following {
    report: Report,
    feed: Arc<AccountFeed>,
    wake: Arc<Notify>,
    /// Of the next record to look at.
    position: u64,
    past: Option<Past>,
}

/// While the client is further behind than memory reaches.
struct Past {
    reader: Box<dyn LogReader>,
    records: Vec<Record>,
    _place: StreamPlace,
}

impl Following {
    /// Begins after a position; without one with what comes from here on.
    ///
    /// # Errors
    /// When the position is not or no longer there, or too many read the past.
    pub(crate) async fn begin(
        caller: &Caller,
        report: Report,
        after: Option<&After>,
        wake: &Arc<Notify>,
    ) -> Result<Self, Problem> {
        let accounts = &caller.desk().accounts;
        let feed = accounts.of(caller.account()).ok_or_else(starting)?;
        let partition = accounts.partition(feed, report).ok_or_else(starting)?;
        let tape = feed.tape(report);
        let kept_from = tape.from().ok_or_else(starting)?;
        let (position, past) = match after {
            None => (tape.to(), None),
            Some(after) => {
                let position = place(caller, &partition, after).await?;
                let past =
                    if position < kept_from { Some(read_past(caller, &partition, position).await?) } else { None };
                (position, past)
            }
        };
        tape.listen(wake);
        Ok(Self { report, feed: Arc::clone(feed), wake: Arc::clone(wake), position, past })
    }

    /// What it follows.
    pub(crate) const fn report(&self) -> Report {
        self.report
    }

    /// Position of the newest record that was looked at: going on after it gives all that follows.
    pub(crate) const fn after(&self) -> Option<u64> {
        self.position.checked_sub(1)
    }

    /// Whether [`Self::read`] has the next reports.
    pub(crate) const fn is_past(&self) -> bool {
        self.past.is_some()
    }

    /// Takes the next reports from memory.
    pub(crate) fn take(&mut self, into: &mut Vec<Utf8Bytes>) -> Step {
        if self.past.is_some() {
            return Step::Nothing;
        }
        let tape = self.feed.tape(self.report);
        let render = |position, value: &Bytes| into.push(self.report.render(position, value));
        match tape.take_with(&mut self.position, AT_ONCE, render) {
            Taken::Some => Step::More,
            Taken::Nothing => Step::Nothing,
            Taken::Outside(_) => Step::Slow,
        }
    }

    /// Takes the next reports from the log, as long as memory does not reach back far enough. Cancel safe.
    ///
    /// # Errors
    /// When the log cannot be read, or no longer has them.
    pub(crate) async fn read(&mut self, into: &mut Vec<Utf8Bytes>) -> Result<(), Problem> {
        let Some(past) = &mut self.past else { return Ok(()) };
        past.reader.read(&mut past.records).await.map_err(|error| unreadable(&error))?;
        let own = past.records.drain(..).filter(|record| self.feed.is_about(record));
        into.extend(own.map(|record| self.report.render(record.offset, &record.value)));
        self.position = past.reader.position();
        if self.feed.tape(self.report).from().is_some_and(|from| from <= self.position) {
            self.past = None;
        }
        Ok(())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.feed.tape(self.report).forget(&self.wake);
    }
}

/// The position to begin with.
async fn place(caller: &Caller, partition: &Partition, after: &After) -> Result<u64, Problem> {
    let bounds = caller.state().deps.log.bounds(partition).await.map_err(|error| unreadable(&error))?;
    match after {
        After::Word(word) if word == "start" => Ok(bounds.start),
        After::Word(_) => Err(Problem::bad_request("bad_after", "after: a position or start is needed")),
        After::Position(after) if *after >= bounds.end => {
            let message = format!("after {after} not allowed: the newest position is {}", bounds.end.saturating_sub(1));
            Err(Problem::bad_request("bad_after", message))
        }
        After::Position(after) if *after + 1 < bounds.start => Err(trimmed(bounds.start)),
        After::Position(after) => Ok(after + 1),
    }
}

async fn read_past(caller: &Caller, partition: &Partition, position: u64) -> Result<Past, Problem> {
    let place = caller.state().tail_place()?;
    let reader = caller.state().deps.log.reader(partition, position, Visibility::Durable).await;
    let reader = reader.map_err(|error| unreadable(&error))?;
    Ok(Past { reader, records: Vec::new(), _place: place })
}

fn trimmed(start: u64) -> Problem {
    let message = format!("reports before position {start} are no longer kept: read the account and go on with start");
    Problem::new(StatusCode::GONE, "trimmed", message)
}

fn unreadable(error: &LogError) -> Problem {
    match error {
        LogError::Trimmed { start, .. } => trimmed(*start),
        error => Problem::unavailable("log_unavailable", error.to_string()),
    }
}
