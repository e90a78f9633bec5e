//! The way in: callers' commands to the log, and back what became of them.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use journal::stage::{Phase, StageStatus};
use journal::{Log, Partition, Priority};
use model::exchange::{AccountId, ClientOrderId, CommandBody, Execution};
use model::{Role, UnixNanos};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ShellError;
use super::answers::Waiters;
use super::core::lock;
use super::hooks::Live;
use super::writer::{self, Submission};
use crate::exchange::Exchange;

/// Commands that wait to be written, at most; further callers are told to come back.
const QUEUE_MAX: usize = 16_384;

/// The two ways to the log. Commands of one way keep their order; one way does not wait for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// For what needs room in the log.
    Orders,
    /// For what makes the exchange smaller: it may use the reserve of a full disk.
    Cancels,
}

impl Lane {
    /// The way that a command takes.
    pub const fn of(body: &CommandBody) -> Self {
        use CommandBody::{Cancel, CancelAll, CancelAllAfter, Kill};
        match body {
            Cancel { .. } | CancelAll { .. } | CancelAllAfter { .. } | Kill { .. } => Self::Cancels,
            _ => Self::Orders,
        }
    }
}

/// Why a caller has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// Nothing was written: the exchange has more to do than it can.
    #[error("the exchange is busy: {QUEUE_MAX} commands wait already; nothing was done, try again")]
    Busy,
    /// Nothing was written: the log does not take it.
    #[error("nothing was done: {0}")]
    Refused(String),
    /// Nothing was written: the exchange is starting or stopping.
    #[error("the exchange does not take commands at the moment: {0}")]
    NotLive(&'static str),
    /// It may have been carried out or not: ask again with the same client order id.
    #[error("UNKNOWN: {0}; ask again with the same client order id")]
    Unknown(String),
    /// Another process took over this gateway's role: nothing was done.
    #[error("another process took over: nothing was done")]
    Superseded,
}

/// What became of a command: the executions of its own account, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The command's offset in `orders`.
    pub offset: u64,
    /// At least one: the answer itself, then what it brought about.
    pub executions: Vec<Execution>,
}

/// A command that is on its way; [`Receipt::answer`] waits for what becomes of it.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Answer, GatewayError>>);

impl Receipt {
    /// The answer, if it is there already. Only once it was not there may it be asked for again.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn try_answer(&mut self) -> Option<Result<Answer, GatewayError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(stopped())),
        }
    }

    /// Waits for the answer, at most so long.
    ///
    /// # Errors
    /// [`GatewayError::Unknown`] when it does not come in time; others as they are.
    pub async fn answer(self, within: Duration) -> Result<Answer, GatewayError> {
        match tokio::time::timeout(within, self.0).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(GatewayError::Unknown(format!("no answer within {} ms", within.as_millis()))),
        }
    }
}

fn stopped() -> GatewayError {
    GatewayError::Unknown("the exchange stopped before it answered".to_owned())
}

/// The way in, and the view of the state. Clones share one.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// Commands that need room in the log.
    normal: mpsc::Sender<Submission>,
    /// Cancels, which may use the reserve of a full disk.
    reserve: mpsc::Sender<Submission>,
    live: Live,
    status: watch::Receiver<StageStatus>,
}

impl Gateway {
    pub(super) fn start(
        log: &Arc<dyn Log>,
        partition: &Partition,
        waiters: Arc<Waiters>,
        live: Live,
        status: watch::Receiver<StageStatus>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<Result<(), ShellError>>,
    ) -> Self {
        let mut open = |role: &str, priority| {
            let (submit, submitted) = mpsc::channel(QUEUE_MAX);
            let role: Role = role.parse().expect("it is short");
            let writer = writer::Writer {
                log: Arc::clone(log),
                partition: partition.clone(),
                role,
                priority,
                waiters: Arc::clone(&waiters),
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                writer.run(submitted, stop).await;
                Ok(())
            });
            submit
        };
        let normal = open("gateway/orders", Priority::Normal);
        let reserve = open("gateway/cancels", Priority::Reserve);
        Self { normal, reserve, live, status }
    }

    /// Hands a command over without waiting for its answer. `sent_at` is when the client sent it first.
    ///
    /// # Errors
    /// When nothing was or will be written.
    pub fn submit(
        &self,
        account: AccountId,
        request: Option<ClientOrderId>,
        sent_at: UnixNanos,
        body: CommandBody,
    ) -> Result<Receipt, GatewayError> {
        match self.status.borrow().phase {
            Phase::Live => {}
            Phase::Recovering | Phase::CatchingUp => return Err(GatewayError::NotLive("it is catching up")),
            Phase::Waiting => return Err(GatewayError::NotLive("the log is away")),
            Phase::Stopped => return Err(GatewayError::NotLive("it has stopped")),
        }
        let queue = match Lane::of(&body) {
            Lane::Orders => &self.normal,
            Lane::Cancels => &self.reserve,
        };
        let (waiter, receipt) = oneshot::channel();
        match queue.try_send(Submission { account, request, sent_at, body, waiter }) {
            Ok(()) => Ok(Receipt(receipt)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(GatewayError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(GatewayError::NotLive("it is stopping")),
        }
    }

    /// Reads the state. `None` until the exchange has caught up. Keep it short: the exchange waits meanwhile.
    pub fn view<R>(&self, read: impl FnOnce(&Exchange) -> R) -> Option<R> {
        let shared = self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let exchange = lock(&shared);
        Some(read(&exchange))
    }

    /// The condition of the stage.
    pub fn status(&self) -> watch::Receiver<StageStatus> {
        self.status.clone()
    }
}
