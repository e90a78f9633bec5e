//! Who called what, and the outcome: records of the topic `audit`.
//!
//! Every call that may change something is one record, a refused one too: what is no GET, and what is asked for over
//! `/ws/orders`. A record goes to the log behind the answer, which does not wait for it unless [`QUEUE_MAX`] wait; so
//! a crash may take the records of the last moments with it, never what they tell of: that is in `orders`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use journal::{Batch, Log, LogError, Partition, Priority};
use model::UnixNanos;
use model::topic::{AUDIT, partition_for};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::unix_now;
use crate::exchange::{Caller, HEADER, Reply};
use crate::problem::Problem;
use crate::state::Shared;

/// Records that wait for the log, at most.
const QUEUE_MAX: usize = 4_096;
/// How long an answer waits for room among them.
const ROOM_WITHIN: Duration = Duration::from_secs(1);
/// Records of one append, at most.
const BATCH_MAX: usize = 512;
/// Records a second of calls that nobody's key or rate let through; more of those are only counted.
const TURNED_AWAY_PER_SECOND: u32 = 10;
/// Characters of a path that a record keeps.
const PATH_CHARS_MAX: usize = 256;
/// How often a log that is away is tried.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// One record, as the topic has it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// Format version, 1.
    v: u32,
    /// The name of the key; `nobody` without one.
    actor: String,
    /// The key's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<u32>,
    /// `POST /orders/{id}`, or `ws place`.
    action: String,
    /// What was asked for, where it says more than the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// `done`, the code of the error, or `unanswered` where the caller did not wait.
    outcome: &'static str,
    /// HTTP's number for it; 0 where there was none.
    status: u16,
    /// Offset in `orders` of the command that came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<u64>,
    /// When the call came.
    ts_event: UnixNanos,
}

/// The route that answered, for the record of the call.
#[derive(Debug, Clone)]
pub(crate) struct Route(pub(crate) Arc<str>);

/// What a refusal is called, for the record of the call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code(pub(crate) &'static str);

/// Offset of the command that came of a call, for its record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command(pub(crate) u64);

/// Whether a request with this method may change something. What WebSockets say is recorded where it is heard.
pub(crate) fn may_change(method: &Method) -> bool {
    !method.is_safe()
}

/// Takes records.
#[derive(Debug)]
pub(crate) struct Audit {
    queue: mpsc::Sender<Entry>,
    /// Somebody waited for room in vain, and none has come since: nobody waits any more, so that cancels are answered
    /// at once also where the disk is full.
    stuck: AtomicBool,
    /// A second, and what is left of its allowance.
    turned_away: Mutex<(Instant, u32)>,
    suppressed: metrics::Counter,
    lost: metrics::Counter,
}

/// A call that has begun. Dropped without an outcome, it is recorded as unanswered.
pub(crate) struct Call {
    state: Shared,
    entry: Option<Entry>,
}

impl Audit {
    /// With the queue that [`write`] empties.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Entry>) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let counter = |why| metrics::counter!("millrace_api_audit_unwritten_total", "reason" => why);
        let audit = Self {
            queue,
            stuck: AtomicBool::new(false),
            turned_away: Mutex::new((Instant::now(), TURNED_AWAY_PER_SECOND)),
            suppressed: counter("turned_away"),
            lost: counter("no_room"),
        };
        (audit, waiting)
    }

    /// Whether the record of a call that nobody's key or rate let through is to be written: a flood of them must not
    /// fill the log.
    fn admits(&self, status: u16) -> bool {
        if status != StatusCode::UNAUTHORIZED.as_u16() && status != StatusCode::TOO_MANY_REQUESTS.as_u16() {
            return true;
        }
        let mut allowance = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        if allowance.0.elapsed() >= Duration::from_secs(1) {
            *allowance = (Instant::now(), TURNED_AWAY_PER_SECOND);
        }
        let admitted = allowance.1 > 0;
        allowance.1 = allowance.1.saturating_sub(1);
        if !admitted {
            self.suppressed.increment(1);
        }
        admitted
    }

    async fn put(&self, entry: Entry) {
        let entry = match self.queue.try_send(entry) {
            Ok(()) => return self.stuck.store(false, Ordering::Relaxed),
            Err(refused) => refused.into_inner(),
        };
        if !self.stuck.load(Ordering::Relaxed) {
            let sent = tokio::time::timeout(ROOM_WITHIN, self.queue.send(entry)).await;
            if sent.is_ok_and(|sent| sent.is_ok()) {
                return;
            }
            self.stuck.store(true, Ordering::Relaxed);
            tracing::error!("records of calls are lost: the log takes none");
        }
        self.lost.increment(1);
    }
}

impl Call {
    /// A request that may change something.
    pub(crate) fn of(state: &Shared, request: &Request<impl Sized>) -> Self {
        let key = request.headers().get(HEADER);
        let caller = key.and_then(|key| Caller::with_key(state, key.as_bytes()).ok());
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        let mut call = Self::begin(state, caller.as_ref(), request.method().as_str());
        call.change(|entry| entry.path = Some(path.chars().take(PATH_CHARS_MAX).collect()));
        call
    }

    /// An operation of `/ws/orders`.
    pub(crate) fn operation(caller: &Caller, name: &str) -> Self {
        Self::begin(caller.state(), Some(caller), &format!("ws {name}"))
    }

    fn begin(state: &Shared, caller: Option<&Caller>, action: &str) -> Self {
        let entry = Entry {
            v: 1,
            actor: caller.map_or("nobody", Caller::name).to_owned(),
            account: caller.map(|caller| caller.account().0),
            action: action.to_owned(),
            path: None,
            outcome: "unanswered",
            status: 0,
            command: None,
            ts_event: unix_now(),
        };
        Self { state: Arc::clone(state), entry: Some(entry) }
    }

    fn change(&mut self, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = &mut self.entry {
            change(entry);
        }
    }

    /// Records how the request was answered; what no route took is no call.
    pub(crate) fn answered(mut self, response: &Response) -> impl Future<Output = ()> + Send + use<> {
        let (status, of) = (response.status(), response.extensions());
        let (route, code) = (of.get::<Route>().cloned(), of.get::<Code>().map(|code| code.0));
        let command = of.get::<Command>().map(|command| command.0);
        async move {
            let (Some(mut entry), Some(Route(route))) = (self.entry.take(), route) else { return };
            if entry.path.as_deref() == Some(&*route) {
                entry.path = None;
            }
            entry.action = format!("{} {route}", entry.action);
            entry.command = command;
            Self::end(&self.state.audit, entry, status, code).await;
        }
    }

    /// Records that an operation was carried out.
    pub(crate) async fn done(mut self, reply: &Reply) {
        let Some(mut entry) = self.entry.take() else { return };
        entry.command = Some(reply.command);
        Self::end(&self.state.audit, entry, reply.status, None).await;
    }

    /// Records that an operation was refused.
    pub(crate) async fn refused(mut self, problem: &Problem) {
        let Some(mut entry) = self.entry.take() else { return };
        entry.command = problem.command();
        Self::end(&self.state.audit, entry, problem.status(), Some(problem.code())).await;
    }

    async fn end(audit: &Audit, mut entry: Entry, status: StatusCode, code: Option<&'static str>) {
        entry.status = status.as_u16();
        entry.outcome = code.unwrap_or(if status.is_success() { "done" } else { "refused" });
        if audit.admits(entry.status) {
            audit.put(entry).await;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // The caller has gone, and nobody is left who could wait for room.
        if let Some(entry) = self.entry.take()
            && self.state.audit.queue.try_send(entry).is_err()
        {
            self.state.audit.lost.increment(1);
        }
    }
}

/// Writes records until `stop`, then those that wait. A log that is away for a while only delays them.
pub(crate) async fn write(mut waiting: mpsc::Receiver<Entry>, log: Arc<dyn Log>, stop: CancellationToken) {
    let (mut entries, mut partitions) = (Vec::new(), None);
    loop {
        let taken = tokio::select! {
            taken = waiting.recv_many(&mut entries, BATCH_MAX) => taken,
            () = stop.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        // After a failure they are written again, so one may be there twice.
        while let Err(error) = append(&*log, &mut partitions, &entries).await {
            if !error.is_transient() || stop.is_cancelled() {
                tracing::error!(%error, records = entries.len(), "records of calls are lost");
                break;
            }
            tracing::warn!(%error, "records of calls wait for the log");
            tokio::time::sleep(RETRY_EVERY).await;
        }
        entries.clear();
    }
}

async fn append(log: &dyn Log, partitions: &mut Option<u32>, entries: &[Entry]) -> Result<(), LogError> {
    let count = match *partitions {
        Some(count) => count,
        None => {
            let topics = log.topics().await?;
            let found = topics.iter().find(|(name, _)| &**name == AUDIT);
            let (_, count) = found.ok_or_else(|| LogError::UnknownPartition(Partition::new(AUDIT, 0)))?;
            *partitions.insert(*count)
        }
    };
    let mut batches = BTreeMap::<u32, Batch>::new();
    for entry in entries {
        let text = serde_json::to_vec(entry).expect("a record of a call is plain data");
        let key = entry.actor.as_bytes();
        batches.entry(partition_for(key, count)).or_default().push(key, &text);
    }
    let mut written = Vec::new();
    for (home, batch) in batches {
        let mut appender = log.appender(&Partition::new(AUDIT, home), Priority::Normal).await?;
        written.push(appender.append(batch).await?);
    }
    for ack in written {
        ack.await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_calls_that_are_turned_away_is_not_written() {
        let (audit, _waiting) = Audit::new();
        let written = (0..100_000).filter(|_| audit.admits(401)).count();
        assert!((10..100_000).contains(&written), "{written}");
        assert!((0..100).all(|_| audit.admits(201) && audit.admits(403)), "everything else is");
    }
}
