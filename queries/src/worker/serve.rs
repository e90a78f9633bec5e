//! The worker: statements and tails over a Unix socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use sink::lake::{Lake, Place, S3Config, S3Keys};
use sink::tables::Table;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::protocol::{self, Described, Ends, Kind, LogEnds, Piece, Request};
use super::restrain::restrain;
use crate::engine::{Bounds, Engine, Planned};
use crate::error::{ErrorKind, SqlError};
use crate::limits::Limits;
use crate::live::LiveTables;
use crate::output::{Encoder, Format, pieces};
use crate::parameters;
use crate::statement::CopyFormat;

/// Pause between two looks at the lake.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Pause while a tail waits for room.
const ROOM_PAUSE: Duration = Duration::from_millis(20);
/// A statement whose rows nobody takes is dropped so long after its deadline. Others have failed by then.
const UNREAD_AFTER: Duration = Duration::from_millis(250);
/// What the worker may use beside its pool, its caches and its tail.
const OWN_BYTES: u64 = 256 << 20;

/// The system counts what is mapped, of which the allocator keeps more than is in use.
const MAPPED_TO_HELD: u64 = 2;

/// Where the lake lies, as it is told to the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LakePlace {
    /// A directory.
    Directory(PathBuf),
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// What every key begins with.
        prefix: String,
        /// The server, where it is not AWS.
        endpoint: Option<String>,
        /// The region.
        region: Option<String>,
        /// Credentials of this store alone.
        keys: Option<Keys>,
    },
}

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    access: String,
    secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Keys({})", self.access)
    }
}

impl From<&Place> for LakePlace {
    fn from(place: &Place) -> Self {
        match place {
            Place::Directory(path) => Self::Directory(path.clone()),
            Place::S3(config) => Self::S3 {
                bucket: config.bucket.clone(),
                prefix: config.prefix.clone(),
                endpoint: config.endpoint.clone(),
                region: config.region.clone(),
                keys: config
                    .keys
                    .as_ref()
                    .map(|keys| Keys { access: keys.access.clone(), secret: keys.secret.clone() }),
            },
        }
    }
}

impl From<LakePlace> for Place {
    fn from(place: LakePlace) -> Self {
        match place {
            LakePlace::Directory(path) => Self::Directory(path),
            LakePlace::S3 { bucket, prefix, endpoint, region, keys } => {
                let keys = keys.map(|keys| S3Keys { access: keys.access, secret: keys.secret });
                Self::S3(S3Config { bucket, prefix, endpoint, region, keys })
            }
        }
    }
}

/// What the parent tells the worker, as a line of JSON on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Where to listen.
    pub socket: PathBuf,
    /// The lake, where there is one.
    pub lake: Option<LakePlace>,
    /// Incarnation of the log whose tail comes, as 32 hex digits.
    pub log: Option<String>,
    /// The limits.
    pub limits: Limits,
}

impl Setup {
    /// Bytes of memory that the worker holds itself to.
    pub fn memory_bytes(&self) -> u64 {
        let limits = &self.limits;
        let pools = limits.memory_bytes_max + limits.metadata_cache_bytes_max + limits.tail_bytes_max;
        pools as u64 + OWN_BYTES
    }
}

/// Runs the worker. The process ends when its standard input does, which is when its parent ends.
///
/// # Errors
/// When the system does not let it restrain itself, or the socket or the lake cannot be opened.
pub async fn run(setup: Setup) -> Result<std::convert::Infallible, SqlError> {
    end_with_parent().map_err(SqlError::internal)?;
    let held = |error| SqlError::internal(format!("the worker is not held: {error}"));
    restrain(setup.memory_bytes().saturating_mul(MAPPED_TO_HELD)).map_err(held)?;
    let log = match &setup.log {
        Some(text) => Some(u128::from_str_radix(text, 16).map_err(SqlError::internal)?),
        None => None,
    };
    let engine = Engine::new(setup.limits.clone())?;
    engine.hold_process_to(setup.memory_bytes()).map_err(held)?;
    let lake = match setup.lake.clone() {
        Some(place) => Some(Lake::open(&place.into()).await.map_err(SqlError::internal)?),
        None => None,
    };
    if let Some(lake) = &lake {
        engine.register_lake(lake)?;
    }
    let tables = LiveTables::new(lake, log, setup.limits.tail_bytes_max);
    let listener = UnixListener::bind(&setup.socket).map_err(SqlError::internal)?;
    let shared = Arc::new(Shared { engine, tables });
    let refreshing = Arc::clone(&shared);
    tokio::spawn(async move { refreshing.tables.refresh_every(REFRESH_EVERY).await });
    println!("ready");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = shared.connection(stream).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted at the moment");
                tokio::time::sleep(ROOM_PAUSE).await;
            }
        }
    }
}

/// Ends this process when its standard input ends, which is when its parent does. It has a thread of its own, so that
/// no statement can be in its way.
fn end_with_parent() -> io::Result<()> {
    let waiting = || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(waiting).map(drop)
}

struct Shared {
    engine: Engine,
    tables: LiveTables,
}

impl Shared {
    async fn connection(&self, mut stream: UnixStream) -> io::Result<()> {
        match protocol::read(&mut stream).await? {
            Some((Kind::Request, payload)) => {
                let request: Request = protocol::json(&payload)?;
                let given = if request.parameters {
                    match protocol::read(&mut stream).await? {
                        Some((Kind::Parameters, payload)) => Some(payload),
                        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
                    }
                } else {
                    None
                };
                let (mut read, mut write) = stream.into_split();
                let mut byte = [0];
                let time_max = request.time_max.min(self.engine.limits().time_max);
                tokio::select! {
                    done = self.statement(&request, given, &mut write) => done,
                    // The client has gone: what the statement held is dropped here.
                    _ = read.read(&mut byte) => Ok(()),
                    // It does not take its rows: its place is for others.
                    () = tokio::time::sleep(time_max + UNREAD_AFTER) => Ok(()),
                }
            }
            Some((Kind::Tail, payload)) => {
                let name = String::from_utf8_lossy(&payload);
                let table = name.parse::<Table>().map_err(io::Error::other)?;
                self.tail(table, stream).await
            }
            Some((Kind::LogEnds, payload)) => {
                let mut payload = payload;
                loop {
                    self.tables.note_ends(&protocol::json::<LogEnds>(&payload)?);
                    match protocol::read(&mut stream).await? {
                        Some((Kind::LogEnds, next)) => payload = next,
                        _ => return Ok(()),
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// Runs a statement and says what became of it.
    async fn statement(
        &self,
        request: &Request,
        given: Option<Vec<u8>>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        match self.answer(request, given, to).await {
            Ok(()) => protocol::write(to, Kind::Done, &[]).await?,
            Err(Broken::Statement(error)) => protocol::write_json(to, Kind::Failed, &error).await?,
            Err(Broken::Connection(error)) => return Err(error),
        }
        to.flush().await
    }

    async fn answer(
        &self,
        request: &Request,
        given: Option<Vec<u8>>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Broken> {
        let bounds = Bounds { time_max: request.time_max, rows_max: request.rows_max };
        let planned = self.engine.plan(&request.sql, &self.tables, &request.caller, bounds).await?;
        protocol::write_json(to, Kind::Described, &described(&planned)?).await?;
        if request.describe {
            return Ok(());
        }
        let values = given.map(|bytes| parameters::read(&bytes)).transpose()?;
        let mut answer = self.engine.execute(planned, values).await?;
        let share = answer.share();
        let mut encoder = Encoder::new(Format::Arrow, &answer.schema())?;
        while let Some(batch) = answer.next().await {
            let mut rest = pieces(batch?)?.into_iter();
            while let Some(piece) = rest.next() {
                let bytes = encoder.encode(&piece)?;
                drop(piece);
                let mut writing = std::pin::pin!(protocol::write(to, Kind::Rows, &bytes));
                tokio::select! {
                    written = &mut writing => written?,
                    // Whoever does not read must not hold memory that others need: only this frame is brought to its end.
                    () = share.ended().cancelled() => {
                        let error = share.error();
                        drop((answer, rest, share));
                        writing.await?;
                        return Err(error.into());
                    }
                }
            }
        }
        protocol::write(to, Kind::Rows, &encoder.finish()?).await?;
        Ok(())
    }

    /// Takes in the tail of a table until its connection ends.
    async fn tail(&self, table: Table, mut stream: UnixStream) -> io::Result<()> {
        while let Err(error) = self.tables.refresh().await {
            tracing::warn!(%error, %table, "the tail waits for the lake");
            tokio::time::sleep(REFRESH_EVERY).await;
        }
        protocol::write_json(&mut stream, Kind::Tail, &self.tables.begin(table)).await?;
        let mut decoder = StreamDecoder::new();
        let Some((Kind::Begun, payload)) = protocol::read(&mut stream).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        self.tables.begun(table, &protocol::json::<Ends>(&payload)?);
        while let Some((Kind::Piece, payload)) = protocol::read(&mut stream).await? {
            let piece: Piece = protocol::json(&payload)?;
            if !piece.rows {
                continue;
            }
            while !self.tables.has_room(table) {
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            let Some((Kind::Rows, bytes)) = protocol::read(&mut stream).await? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let mut buffer = Buffer::from_vec(bytes);
            while let Some(rows) = decoder.decode(&mut buffer).map_err(io::Error::other)? {
                let pushed = self.tables.push(table, piece.partition, piece.first, piece.end, rows);
                pushed.map_err(io::Error::other)?;
            }
        }
        Ok(())
    }
}

/// What ends a statement early.
enum Broken {
    Statement(SqlError),
    Connection(io::Error),
}

impl From<SqlError> for Broken {
    fn from(error: SqlError) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A row that is too large for a frame is the statement's matter.
            io::ErrorKind::InvalidInput => Self::Statement(SqlError::new(ErrorKind::Limit, error.to_string())),
            _ => Self::Connection(error),
        }
    }
}

fn described(planned: &Planned) -> Result<Described, SqlError> {
    let copy = planned.copy.map(|format| match format {
        CopyFormat::Text => (false, false),
        CopyFormat::Csv { header } => (true, header),
    });
    Ok(Described {
        schema: parameters::schema_bytes(&planned.schema)?,
        parameters: parameters::schema_bytes(&parameters::schema(&planned.parameters))?,
        copy,
        notes: planned.notes.clone(),
    })
}
