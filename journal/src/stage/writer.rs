//! The second half of a stage, on a thread of its own: it writes what the core left unwritten, hands outputs to the log
//! and keeps account of what is durable. The fold, and who waits for its answers, go on meanwhile.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::Counter;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Unwritten;
use super::outputs::{Drained, Outputs};
use super::pipeline::{Marked, Outlet, Positions};
use crate::error::LogError;
use crate::log::{Log, Offset};

/// What waits to be written, at most, in pieces as the stage hands them over.
const WAITING_MAX: usize = 8;
/// After more bytes than this were handed over together, the next ones are gathered for [`GATHER_TIME`].
const GATHER_BYTES: usize = 32 << 10;
/// How long; who waits for answers does not wait for this.
const GATHER_TIME: Duration = Duration::from_millis(1);

/// What follows from the records of `from..next`.
pub(super) struct Handed {
    pub(super) from: Offset,
    pub(super) next: Offset,
    pub(super) written: Vec<Drained>,
    pub(super) unwritten: Option<Box<dyn Unwritten>>,
}

enum Job {
    Write(Handed),
    Mark(Offset, oneshot::Sender<Marked>),
}

/// How far the outputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Outputs of all records before this are durable.
    pub(super) durable: Offset,
    /// Hand-overs to the log that are not yet acknowledged.
    pub(super) outstanding: usize,
}

/// The thread, as the fold knows it. Dropping it ends the thread and waits for that: what is not handed to the log by
/// then never is.
pub(super) struct OutputWriter {
    thread: Option<JoinHandle<()>>,
    stop: CancellationToken,
    jobs: Option<mpsc::Sender<Job>>,
    progress: watch::Receiver<Progress>,
    ended: oneshot::Receiver<(Positions, Result<(), LogError>)>,
}

impl OutputWriter {
    /// Starts it. `log` is kept until it has ended; `outputs` takes what it writes, counted by `emitted`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        log: Arc<dyn Log>,
        stage: &str,
        outlet: Outlet,
        outputs: Outputs,
        emitted: Counter,
    ) -> io::Result<Self> {
        let progress = Progress { durable: outlet.durable(), outstanding: outlet.outstanding() };
        let ((jobs, waiting), (told, progress)) = (mpsc::channel(WAITING_MAX), watch::channel(progress));
        let (end, ended) = oneshot::channel();
        let (stop, runtime) = (CancellationToken::new(), Handle::current());
        let (reached, earliest) = (outlet.durable(), Instant::now());
        let stopped = stop.clone();
        let mut half = Half { outlet, outputs, jobs: waiting, told, emitted, reached, earliest, stopped };
        let token = stop.clone();
        let thread = std::thread::Builder::new().name(format!("{stage} outputs")).spawn(move || {
            let result = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = token.cancelled() => None,
                    result = half.run() => Some(result),
                }
            });
            if let Some(result) = result {
                // Nobody asks any more when the stage is gone.
                let _ = end.send((half.outlet.positions(), result));
            }
            drop(log);
        })?;
        Ok(Self { thread: Some(thread), stop, jobs: Some(jobs), progress, ended })
    }

    /// Waits until something can be handed over without waiting; also when nothing can any more. Cancel safe.
    pub(super) async fn room(&self) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.reserve().await;
        }
    }

    /// Hands over; whether it can still be done. If not, [`Self::finish`] says why.
    pub(super) async fn hand_over(&self, handed: Handed) -> bool {
        self.send(Job::Write(handed)).await
    }

    /// Asks for the positions of the outputs as of `offset`, the end of what was handed over last.
    pub(super) async fn mark(&self, offset: Offset) -> oneshot::Receiver<Marked> {
        let (sender, marked) = oneshot::channel();
        self.send(Job::Mark(offset, sender)).await;
        marked
    }

    async fn send(&self, job: Job) -> bool {
        match &self.jobs {
            Some(jobs) => jobs.send(job).await.is_ok(),
            None => false,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Tells of each progress from the start on.
    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits for everything that was handed over, whatever becomes of it. Afterwards nothing of this stage reaches the
    /// log. Where the outputs end, and the reason of the first failure.
    pub(super) async fn finish(&mut self) -> (Positions, Result<(), LogError>) {
        self.jobs = None;
        (&mut self.ended).await.expect("outputs are written without panic")
    }
}

impl Drop for OutputWriter {
    fn drop(&mut self) {
        self.stop.cancel();
        self.jobs = None;
        // It ends once it has to wait, or before its next job.
        if let Some(thread) = self.thread.take() {
            // A panic of it was told by `finish`, or has no one to be told to.
            let _ = thread.join();
        }
    }
}

struct Half {
    outlet: Outlet,
    outputs: Outputs,
    jobs: mpsc::Receiver<Job>,
    told: watch::Sender<Progress>,
    emitted: Counter,
    /// What follows from records before this was handed over or is in `outputs`.
    reached: Offset,
    /// Before this, what was written waits for more.
    earliest: Instant,
    stopped: CancellationToken,
}

impl Half {
    async fn run(&mut self) -> Result<(), LogError> {
        let result = self.work().await;
        let drained = self.outlet.drain().await;
        self.tell();
        match (result, drained) {
            (Ok(()), drained) => drained,
            // Something failed because something else had: that is the reason.
            (Err(LogError::AppenderFailed(_)), Err(reason)) => Err(reason),
            (error, _) => error,
        }
    }

    async fn work(&mut self) -> Result<(), LogError> {
        loop {
            self.outlet.collect()?;
            self.tell();
            tokio::select! {
                biased;
                job = self.jobs.recv(), if self.outlet.has_room() => match job {
                    None => return Ok(()),
                    Some(job) => self.take(job).await?,
                },
                result = self.outlet.oldest(), if self.outlet.outstanding() > 0 => result?,
            }
        }
    }

    /// Does a job and those that wait behind it. What they make is handed over together: small batches cost more.
    async fn take(&mut self, job: Job) -> Result<(), LogError> {
        let mut job = Some(job);
        while let Some(this) = job {
            if self.stopped.is_cancelled() {
                std::future::pending::<()>().await;
            }
            match this {
                Job::Write(handed) => self.write(handed).await?,
                Job::Mark(offset, reply) => {
                    self.hand_over().await?;
                    self.outlet.mark(offset, reply);
                }
            }
            job = self.more().await;
        }
        self.hand_over().await
    }

    /// What waits; while much is written, also what comes within a moment.
    async fn more(&mut self) -> Option<Job> {
        match self.jobs.try_recv() {
            Ok(job) => Some(job),
            Err(_) if self.outputs.size() > 0 && Instant::now() < self.earliest => {
                timeout_at(self.earliest, self.jobs.recv()).await.ok().flatten()
            }
            Err(_) => None,
        }
    }

    async fn write(&mut self, Handed { from, next, written, unwritten }: Handed) -> Result<(), LogError> {
        if !written.is_empty() {
            self.hand_over().await?;
            // More may follow from these records than what is written.
            let complete = if unwritten.is_some() { from } else { next };
            self.outlet.hand_over(written, complete).await?;
        }
        if let Some(mut unwritten) = unwritten {
            while let Some(next) = unwritten.write_next(&mut self.outputs) {
                self.reached = next;
                if self.outputs.is_full() {
                    self.hand_over().await?;
                }
            }
        }
        self.reached = next;
        Ok(())
    }

    /// Hands over what was written here, which with all that was handed over before is all up to `reached`.
    async fn hand_over(&mut self) -> Result<(), LogError> {
        if self.outputs.size() > GATHER_BYTES {
            self.earliest = Instant::now() + GATHER_TIME;
        }
        let written = self.outputs.drain().collect();
        self.emitted.increment(self.outputs.take_emitted());
        self.outlet.hand_over(written, self.reached).await?;
        self.outlet.collect()?;
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let now = Progress { durable: self.outlet.durable(), outstanding: self.outlet.outstanding() };
        self.told.send_if_modified(|told| std::mem::replace(told, now) != now);
    }
}
