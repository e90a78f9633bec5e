//! The log's handle.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, RwLock, mpsc};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;

use super::backup;
use super::config::EmbeddedConfig;
use super::disk::{Disk, RealDisk};
use super::format::segment_number;
use super::identity::{IDENTITY_FILE, Identity};
use super::pack::Stored;
use super::partition::{PartitionState, lock};
use super::queue::{AppendWork, Queue, Request, Work};
use super::reader::Reader;
use super::recovery::recover;
use super::retention;
use super::room::Room;
use super::segment::Segments;
use super::shared::Shared;
use super::syncer::Syncer;
use super::writer::Writer;
use crate::batch::Batch;
use crate::error::LogError;
use crate::log::{Ack, Appender, Bounds, Log, LogReader, Offset, Partition, Priority, TopicSpec, Visibility};

const LOCK_FILE: &str = "LOCK";

/// What a batch in memory takes beside its payload, about.
const MEMORY_PER_BATCH: usize = 192;

/// A log in a directory of its own.
pub struct EmbeddedLog<D: Disk = RealDisk> {
    shared: Arc<Shared<D>>,
    running: Mutex<Option<Running<D>>>,
}

/// The threads, and the lock that lasts as long as they do.
struct Running<D: Disk> {
    writer: JoinHandle<()>,
    syncer: JoinHandle<()>,
    preparer: JoinHandle<()>,
    retention: JoinHandle<()>,
    stop_retention: mpsc::Sender<()>,
    lock: D::Lock,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, creating it where there is none.
    ///
    /// # Errors
    /// [`LogError::InUse`] when another process has it, [`LogError::Damaged`] when it cannot be used without
    /// losing acknowledged records, or the system's refusal.
    pub async fn open(dir: impl AsRef<Path>, config: EmbeddedConfig) -> Result<Self, LogError> {
        let dir = dir.as_ref().to_path_buf();
        tokio::task::spawn_blocking(move || Self::open_on(RealDisk, &dir, config))
            .await
            .map_err(|_| LogError::Closed)?
    }
}

impl<D: Disk> EmbeddedLog<D> {
    /// As [`EmbeddedLog::open`], on another file system. Blocks.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(disk: D, dir: &Path, config: EmbeddedConfig) -> Result<Self, LogError> {
        let config = config.bounded();
        disk.create_dir(dir).map_err(|error| failed("creating", dir, &error))?;
        if let Some(above) = dir.parent().filter(|above| !above.as_os_str().is_empty()) {
            disk.sync_dir(above).map_err(|error| failed("syncing", above, &error))?;
        }
        let lock_path = dir.join(LOCK_FILE);
        let lock = disk
            .lock(&lock_path)
            .map_err(|error| failed("locking", &lock_path, &error))?
            .ok_or_else(|| LogError::InUse(dir.display().to_string()))?;
        let identity = identity(&disk, dir)?;
        let found = recover(&disk, dir, identity.seal)?;
        let room = Room::new(disk.clone(), dir.to_path_buf(), config.clone(), found.spares, found.next_number);
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_bytes),
            syncer: Syncer::new(config.sync),
            segments: Segments::new(found.segments),
            room: Arc::new(room),
            durable_seq: AtomicU64::new(found.position.seq),
            catalog: RwLock::new(found.catalog),
            incarnation: identity.incarnation,
            seal: identity.seal,
            poison: OnceLock::new(),
            closed: AtomicBool::new(false),
            dir: dir.to_path_buf(),
            disk,
            config,
        });
        let writer = Writer::new(Arc::clone(&shared), found.position);
        let running =
            Running::start(&shared, writer, lock).map_err(|error| failed("starting the threads of", dir, &error))?;
        Ok(Self { shared, running: Mutex::new(Some(running)) })
    }

    /// Copies what is durable now to the directory `to`, which must hold no log yet, while this log goes on.
    /// The copy is checked. [`restore`](super::restore) puts it in place.
    ///
    /// # Errors
    /// When `to` holds a log already, the log is poisoned or damaged, or the system refuses.
    pub async fn backup(&self, to: impl AsRef<Path>) -> Result<(), LogError> {
        backup::backup_in_background(&self.shared, to.as_ref().to_path_buf()).await
    }

    /// Stops the threads after the last accepted batch; the second call finds nothing to do.
    fn shut_down(&self) {
        self.shared.queue.close();
        if let Some(running) = lock(&self.running).take() {
            running.stop(&self.shared);
        }
        self.shared.mark_closed();
    }

    async fn request(&self, work: Work) -> Result<Offset, LogError> {
        self.shared.check_writable()?;
        let permits = self.shared.queue.admit(0).await?;
        let (answer, ack) = Ack::pair();
        self.shared.queue.push(Request { work, permits, answer })?;
        ack.await
    }
}

impl<D: Disk> Running<D> {
    fn start(shared: &Arc<Shared<D>>, writer: Writer<D>, lock: D::Lock) -> std::io::Result<Self> {
        let named = |name: &str| std::thread::Builder::new().name(name.into());
        let (stop_retention, stopped) = mpsc::channel();
        let room = Arc::clone(&shared.room);
        let (of_syncer, of_retention) = (Arc::clone(shared), Arc::clone(shared));
        let guards: [_; 4] = std::array::from_fn(|_| PanicGuard(Arc::clone(shared)));
        let [of_room, syncing, writing, retaining] = guards;
        Ok(Self {
            preparer: named("log-room").spawn(move || of_room.watch(|| room.run()))?,
            syncer: named("log-sync").spawn(move || syncing.watch(|| Syncer::run(&of_syncer)))?,
            writer: named("log-write").spawn(move || writing.watch(|| writer.run()))?,
            retention: named("log-retention")
                .spawn(move || retaining.watch(|| retention::run(&of_retention, &stopped)))?,
            stop_retention,
            lock,
        })
    }

    fn stop(self, shared: &Shared<D>) {
        drop(self.stop_retention);
        // A thread that panicked has poisoned the log already.
        let _ = self.writer.join();
        shared.syncer.stop();
        let _ = self.syncer.join();
        let _ = self.retention.join();
        shared.room.stop();
        let _ = self.preparer.join();
        drop(self.lock);
    }
}

/// Shuts the log when one of its threads panics, so that nobody waits for an answer that cannot come.
struct PanicGuard<D: Disk>(Arc<Shared<D>>);

impl<D: Disk> PanicGuard<D> {
    fn watch(self, work: impl FnOnce()) {
        work();
    }
}

impl<D: Disk> Drop for PanicGuard<D> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("a thread of the log has panicked".into());
            self.0.queue.close();
            self.0.queue.abandon();
            self.0.syncer.abandon();
        }
    }
}

impl<D: Disk> Drop for EmbeddedLog<D> {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl<D: Disk> fmt::Debug for EmbeddedLog<D> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("EmbeddedLog").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

#[async_trait]
impl<D: Disk> Log for EmbeddedLog<D> {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        self.shared.check_open()?;
        if self.shared.catalog().lacks(spec)? {
            self.request(Work::Topic(spec.clone())).await?;
        }
        Ok(())
    }

    async fn topics(&self) -> Result<Vec<(Arc<str>, u32)>, LogError> {
        self.shared.check_open()?;
        Ok(self.shared.catalog().topics.iter().map(|(name, topic)| (name.clone(), topic.spec.partitions)).collect())
    }

    async fn appender(&self, to: &Partition, priority: Priority) -> Result<Box<dyn Appender>, LogError> {
        self.shared.check_open()?;
        let partition = self.shared.catalog().find(to)?;
        Ok(Box::new(EmbeddedAppender { shared: Arc::clone(&self.shared), partition, priority, failed: Arc::default() }))
    }

    async fn reader(&self, of: &Partition, from: Offset, sees: Visibility) -> Result<Box<dyn LogReader>, LogError> {
        self.shared.check_open()?;
        let partition = self.shared.catalog().find(of)?;
        Ok(Box::new(Reader::new(Arc::clone(&self.shared), partition, from, sees)?))
    }

    async fn bounds(&self, of: &Partition) -> Result<Bounds, LogError> {
        self.shared.check_open()?;
        let partition = self.shared.catalog().find(of)?;
        let end = partition.durable();
        Ok(Bounds { start: partition.start().min(end), end })
    }

    async fn trim(&self, of: &Partition, before: Offset) -> Result<(), LogError> {
        self.shared.check_open()?;
        let partition = self.shared.catalog().find(of)?;
        let start = before.min(partition.durable());
        if start > partition.start() {
            self.request(Work::Starts(vec![(partition, start)])).await?;
        }
        Ok(())
    }

    async fn hold(&self, of: &Partition, from: Offset) -> Result<(), LogError> {
        self.shared.check_open()?;
        self.shared.catalog().find(of)?.hold.store(from, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    fn incarnation(&self) -> u128 {
        self.shared.incarnation
    }

    async fn unavailable(&self) -> Option<LogError> {
        self.shared.check_writable().err().or_else(|| self.shared.room.shortage())
    }

    async fn close(&self) -> Result<(), LogError> {
        // Joining threads blocks, for as long as the last sync takes.
        let shut_down = || self.shut_down();
        match tokio::runtime::Handle::current().runtime_flavor() {
            tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(shut_down),
            _ => shut_down(),
        }
        match self.shared.poisoned() {
            Some(reason) => Err(LogError::Poisoned(reason)),
            None => Ok(()),
        }
    }
}

/// Appends to one partition.
struct EmbeddedAppender<D: Disk> {
    shared: Arc<Shared<D>>,
    partition: Arc<PartitionState>,
    priority: Priority,
    failed: Arc<AtomicBool>,
}

#[async_trait]
impl<D: Disk> Appender for EmbeddedAppender<D> {
    async fn append(&mut self, batch: Batch) -> Result<Ack, LogError> {
        self.shared.check_writable()?;
        let name = &self.partition.name;
        let within = |what, value, max| match value {
            value if value > max => Err(LogError::BatchTooLarge { partition: name.clone(), what, value, max }),
            _ => Ok(()),
        };
        within("records", batch.len(), Batch::RECORDS_MAX)?;
        within("bytes", batch.size(), Batch::BYTES_MAX)?;
        if self.failed.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(LogError::AppenderFailed(name.clone()));
        }
        let count = batch.len() as u32;
        let payload = batch.into_payload();
        let memory = payload.capacity() + MEMORY_PER_BATCH;
        let payload = Bytes::from(payload);
        let stored = if self.shared.config.pack { Stored::packed(&payload) } else { Stored::plain(payload.clone()) };
        let len = stored.bytes.len();
        let permits = self.shared.queue.admit(payload.len()).await?;
        // Nothing is awaited from here on, so a dropped call has accepted nothing.
        let ahead = self.shared.queue.unwritten.load(std::sync::atomic::Ordering::Relaxed);
        let keeps_reserve = self.priority == Priority::Normal;
        let admitted = self.shared.room.admit(len as u64, ahead, keeps_reserve);
        if let Err(refusal) = self.shared.check_writable().and(admitted) {
            self.shared.queue.release(permits);
            return Err(refusal);
        }
        self.shared.queue.count_in(len);
        let (answer, ack) = Ack::pair();
        let (partition, failed) = (Arc::clone(&self.partition), Arc::clone(&self.failed));
        let work = Work::Batch(AppendWork { partition, failed, count, payload, stored, memory });
        self.shared.queue.push(Request { work, permits, answer })?;
        Ok(ack)
    }
}

fn failed(what: &str, path: &Path, error: &dyn fmt::Display) -> LogError {
    LogError::Io { what: format!("{what} {}", path.display()), reason: error.to_string() }
}

/// Who the log in `dir` is; a new one where there is none.
fn identity<D: Disk>(disk: &D, dir: &Path) -> Result<Identity, LogError> {
    if let Some(identity) = Identity::read(disk, dir)? {
        return Ok(identity);
    }
    let path = dir.join(IDENTITY_FILE);
    let names = disk.list(dir).map_err(|error| failed("listing", dir, &error))?;
    if let Some(stray) = names.iter().find(|name| segment_number(name).is_some()) {
        let what = format!("missing, yet there is {stray}");
        return Err(LogError::Damaged { place: path.display().to_string(), what });
    }
    let identity = Identity::random();
    identity.write(disk, dir).map_err(|error| failed("writing", &path, &error))?;
    Ok(identity)
}
