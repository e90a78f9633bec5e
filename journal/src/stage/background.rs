//! A thread beside a stage for what may take its time: snapshots.

use std::io;
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

/// How much nicer than the stage the thread is. A snapshot of a million orders takes seconds of a core, for which callers
/// should not wait; with nothing at all a busy machine would leave the replica ever further behind.
const NICE: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends once this is gone and its work is done.
#[derive(Debug)]
pub(super) struct Background(Sender<Job>);

impl Background {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        std::thread::Builder::new().name("snapshots".into()).spawn(move || {
            // On Linux this is the thread's own. A system that refuses has snapshots that get in the way.
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::debug!(%error, "snapshots have the priority of everything else");
            }
            for job in waiting {
                job();
            }
        })?;
        Ok(Self(jobs))
    }

    /// Has `work` done after what it was given before. Nothing comes back where that panics.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        let job = move || drop(done.send(work()));
        // A thread that is gone has panicked, which the dropped sender tells.
        let _ = self.0.send(Box::new(job));
        result
    }
}
