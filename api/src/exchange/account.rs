//! What the log says of each account that has a key: its executions and postings as they come, and its orders
//! that are done.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use journal::{Log, LogError, Offset, Partition, Record, Visibility};
use model::exchange::{AccountId, Execution, OrderRef};
use model::topic;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::history::{Head, History};
use crate::config::Limits;
use crate::hub::{Begin, Consumer, Readers, follow_topic};
use crate::tape::Tape;

/// What an account is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// What became of its commands and orders.
    Executions,
    /// Each change of its balances.
    Ledger,
}

impl Report {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Executions, Self::Ledger];

    /// The topic that carries it.
    pub(crate) const fn topic(self) -> &'static str {
        match self {
            Self::Executions => topic::EXECUTIONS,
            Self::Ledger => topic::LEDGER,
        }
    }

    /// Records from before the start that are looked at: for executions those in which finished orders are found.
    const fn look_back(self) -> u64 {
        match self {
            Self::Executions => 100_000,
            Self::Ledger => 10_000,
        }
    }

    /// A record as a client is sent it; its offset is its position.
    pub(crate) fn render(self, offset: Offset, value: &[u8]) -> Utf8Bytes {
        let content = String::from_utf8_lossy(value);
        format!(r#"{{"channel":"{}","position":{offset},"data":{content}}}"#, self.topic()).into()
    }
}

/// One account.
#[derive(Debug)]
pub(crate) struct AccountFeed {
    account: AccountId,
    key: Box<[u8]>,
    tapes: [Tape<Bytes>; 2],
    history: Mutex<History>,
    /// Sequence of the newest execution that was read.
    sequence: AtomicU64,
    arrived: Notify,
}

impl AccountFeed {
    /// The newest records of one kind.
    pub(crate) fn tape(&self, report: Report) -> &Tape<Bytes> {
        &self.tapes[report as usize]
    }

    /// Whether a record of either topic is about it.
    pub(crate) fn is_about(&self, record: &Record) -> bool {
        *record.key == *self.key
    }

    /// Waits until the account's execution `sequence` has been read, at most so long.
    pub(crate) async fn reach(&self, sequence: u64, within: Duration) {
        let reached = async {
            loop {
                let arrived = self.arrived.notified();
                if self.sequence.load(Ordering::Acquire) >= sequence {
                    return;
                }
                arrived.await;
            }
        };
        // Whoever waits looks again in any case.
        let _ = tokio::time::timeout(within, reached).await;
    }

    /// The last execution of an order that is done.
    pub(crate) fn finished(&self, order: &OrderRef) -> Option<Execution> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).find(order)
    }

    fn note(&self, offset: Offset, value: &Bytes) {
        match serde_json::from_slice::<Head<'_>>(value) {
            Ok(head) => {
                self.history.lock().unwrap_or_else(PoisonError::into_inner).note(&head, value);
                self.sequence.store(head.sequence, Ordering::Release);
            }
            Err(error) => tracing::warn!(%error, offset, "an execution cannot be read"),
        }
    }
}

/// All accounts that have a key.
#[derive(Debug)]
pub(crate) struct Accounts {
    by_key: FxHashMap<Box<[u8]>, Arc<AccountFeed>>,
    /// Partitions of each topic; 0 until they are known.
    partitions: [AtomicU32; 2],
}

impl Accounts {
    pub(super) fn new(accounts: impl Iterator<Item = AccountId>, limits: &Limits) -> Self {
        let feed = |account: AccountId| {
            let key: Box<[u8]> = account.to_string().into_bytes().into();
            let feed = AccountFeed {
                account,
                key: key.clone(),
                tapes: std::array::from_fn(|_| Tape::keeping(limits.reports_kept_max)),
                history: Mutex::new(History::new(limits.orders_kept_max)),
                sequence: AtomicU64::new(0),
                arrived: Notify::new(),
            };
            (key, Arc::new(feed))
        };
        Self { by_key: accounts.map(feed).collect(), partitions: Default::default() }
    }

    /// One of them.
    pub(crate) fn of(&self, account: AccountId) -> Option<&Arc<AccountFeed>> {
        self.by_key.get(account.to_string().as_bytes())
    }

    /// The partition of an account's records; none until the topic has been found.
    pub(crate) fn partition(&self, feed: &AccountFeed, report: Report) -> Option<Partition> {
        let count = self.partitions[report as usize].load(Ordering::Acquire);
        (count > 0).then(|| Partition::new(report.topic(), topic::partition_for(&feed.key, count)))
    }

    /// Starts reading the topics; ends at `cancel`.
    pub(crate) fn follow(self: &Arc<Self>, log: &Arc<dyn Log>, readers: &Arc<Readers>, cancel: &CancellationToken) {
        for report in Report::ALL {
            let accounts = Arc::clone(self);
            tokio::spawn(follow_topic(
                Arc::clone(log),
                report.topic(),
                Arc::clone(readers),
                cancel.clone(),
                move |index, count| {
                    accounts.partitions[report as usize].store(count, Ordering::Release);
                    let here = accounts.by_key.values();
                    let here = here.filter(|feed| topic::partition_for(&feed.key, count) == index).cloned();
                    Reports { report, accounts: here.map(|feed| (feed.key.clone(), feed)).collect(), next: 0 }
                },
            ));
        }
    }
}

/// Reads a partition of one of the topics.
struct Reports {
    report: Report,
    accounts: FxHashMap<Box<[u8]>, Arc<AccountFeed>>,
    next: Offset,
}

impl Reports {
    fn begin_at(&mut self, offset: Offset) {
        self.next = offset;
        for feed in self.accounts.values() {
            feed.tape(self.report).begin(offset);
        }
    }
}

#[async_trait]
impl Consumer for Reports {
    /// Clients keep positions, so they see only what will still be there after a crash.
    const SEES: Visibility = Visibility::Durable;

    async fn begin(&mut self, log: &dyn Log, partition: &Partition) -> Result<Begin, LogError> {
        let bounds = log.bounds(partition).await?;
        let from = bounds.end.saturating_sub(self.report.look_back()).max(bounds.start);
        self.begin_at(from);
        Ok(Begin { from, past_end: bounds.end })
    }

    fn take(&mut self, records: &[Record], _past: bool) {
        let Some(first) = records.first() else { return };
        if first.offset != self.next {
            // Records were lost to retention, or the log is another one.
            self.begin_at(first.offset);
        }
        self.next = first.offset + records.len() as u64;
        let mut touched: Vec<&Arc<AccountFeed>> = Vec::new();
        for record in records {
            let Some(feed) = self.accounts.get(&*record.key) else { continue };
            // A copy: the record shares a large buffer, which would live as long as the tape keeps it.
            let value = Bytes::copy_from_slice(&record.value);
            if self.report == Report::Executions {
                feed.note(record.offset, &value);
            }
            feed.tape(self.report).push(record.offset, value);
            if !touched.iter().any(|known| known.account == feed.account) {
                touched.push(feed);
            }
        }
        for feed in touched {
            feed.tape(self.report).wake();
            feed.arrived.notify_waiters();
        }
    }
}
