//! Writes callers' commands to the log, as many at once as wait.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use journal::{ClaimedWriter, Log, LogError, Partition, Priority};
use model::exchange::{AccountId, ClientOrderId, Command, CommandBody};
use model::{Origin, Role, UnixNanos};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answers::{Key, Waiter, Waiters};
use super::gateway::GatewayError;

/// Commands of one batch, at most.
const BATCH_MAX: usize = 4_096;
/// Batches that may wait for their sync.
const OUTSTANDING_MAX: usize = 8;
/// Pause before claiming anew after a failure, in which callers are refused at once.
const PAUSE: Duration = Duration::from_millis(200);

/// A command on its way in.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) account: AccountId,
    pub(super) request: Option<ClientOrderId>,
    pub(super) sent_at: UnixNanos,
    pub(super) body: CommandBody,
    pub(super) waiter: Waiter,
}

/// The writer of one role.
pub(super) struct Writer {
    pub(super) log: Arc<dyn Log>,
    pub(super) partition: Partition,
    pub(super) role: Role,
    pub(super) priority: Priority,
    pub(super) waiters: Arc<Waiters>,
}

impl Writer {
    /// Writes until `stop`. A failure of the log is the callers' to know, and never ends it.
    pub(super) async fn run(self, mut submitted: mpsc::Receiver<Submission>, stop: CancellationToken) {
        loop {
            let ended = stop.run_until_cancelled(self.write(&mut submitted)).await;
            match ended {
                None | Some(Ok(())) => return,
                Some(Err(error)) => {
                    tracing::warn!(role = %self.role, %error, "commands cannot be written");
                    let refused = GatewayError::Refused(error.to_string());
                    let until = tokio::time::Instant::now() + PAUSE;
                    loop {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep_until(until) => break,
                            next = submitted.recv() => match next {
                                Some(submission) => { let _ = submission.waiter.send(Err(refused.clone())); }
                                None => return,
                            },
                        }
                    }
                }
            }
        }
    }

    async fn write(&self, submitted: &mut mpsc::Receiver<Submission>) -> Result<(), LogError> {
        let claim = |out: &mut Vec<u8>| self.command(0, 0, AccountId::HOUSE, CommandBody::Claim).encode(out);
        let mut writer =
            ClaimedWriter::claim(&*self.log, &self.partition, self.priority, OUTSTANDING_MAX, b"", claim).await?;
        let mut waiting = Vec::with_capacity(BATCH_MAX);
        let mut keyed: Vec<(Key, Waiter)> = Vec::with_capacity(BATCH_MAX);
        while submitted.recv_many(&mut waiting, BATCH_MAX).await > 0 {
            for submission in waiting.drain(..) {
                let Submission { account, request, sent_at, body, waiter } = submission;
                let stamp = writer.push(b"", |stamp, out| {
                    let command = self.command(stamp.epoch, stamp.sequence, account, body);
                    Command { request, sent_at, ..command }.encode(out);
                });
                keyed.push(((self.role, stamp.epoch, stamp.sequence), waiter));
                if writer.is_full() {
                    self.flush(&mut writer, &mut keyed).await?;
                }
            }
            self.flush(&mut writer, &mut keyed).await?;
        }
        writer.settle().await
    }

    /// Hands a batch over; where that fails, nobody waits for ever.
    async fn flush(&self, writer: &mut ClaimedWriter, keyed: &mut Vec<(Key, Waiter)>) -> Result<(), LogError> {
        let Some(first) = keyed.first().map(|((_, _, sequence), _)| *sequence) else { return Ok(()) };
        // With nothing on its way, a full disk can only have refused this very batch.
        let alone = writer.outstanding() == 0;
        self.waiters.add(keyed.drain(..));
        let epoch = writer.epoch();
        writer.flush().await.inspect_err(|error| {
            let told = match error {
                LogError::Full(_) if alone => GatewayError::Refused(error.to_string()),
                _ => GatewayError::Unknown(error.to_string()),
            };
            self.waiters.give_up(&self.role, epoch, first, &told);
        })
    }

    fn command(&self, epoch: u64, sequence: u64, account: AccountId, body: CommandBody) -> Command {
        let now = wall_clock();
        let origin = Origin::Root { role: self.role, epoch, sequence };
        Command { origin, ts: now, account, request: None, sent_at: now, body }
    }
}

/// The time now, as records have it.
pub(super) fn wall_clock() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
