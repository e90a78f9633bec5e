//! What parent and worker say to each other: frames of a kind, a length and a payload.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::engine::Caller;

/// Bytes of a frame, at most: a row of the largest size with what surrounds it.
const FRAME_BYTES_MAX: u32 = 32 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Parent: a [`Request`] as JSON.
    Request = b'Q',
    /// Parent: parameters of the request before it, an Arrow stream of one row.
    Parameters = b'P',
    /// Parent: this connection carries the tail of a table, its name. Worker: where it has to begin, as JSON.
    Tail = b'T',
    /// Parent: where the table's partitions begin and end as the tail starts, [`Ends`] as JSON, once.
    Begun = b'B',
    /// Parent: a [`Piece`] as JSON; rows follow in the next frame.
    Piece = b'I',
    /// Parent: this connection tells where the log ends, again and again: [`LogEnds`] as JSON.
    LogEnds = b'L',
    /// Either: a piece of an Arrow stream.
    Rows = b'R',
    /// Worker: what was planned, a [`Described`] as JSON; the answer's rows follow.
    Described = b'S',
    /// Worker: the answer is whole.
    Done = b'D',
    /// Worker: an error as JSON.
    Failed = b'E',
}

impl Kind {
    fn of(byte: u8) -> io::Result<Self> {
        const ALL: [Kind; 10] = [
            Kind::Request,
            Kind::Parameters,
            Kind::Tail,
            Kind::Begun,
            Kind::Piece,
            Kind::LogEnds,
            Kind::Rows,
            Kind::Described,
            Kind::Done,
            Kind::Failed,
        ];
        let known = ALL.into_iter().find(|kind| *kind as u8 == byte);
        known.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("frame of unknown kind {byte}")))
    }
}

/// A statement to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The statement.
    pub sql: String,
    /// On whose behalf.
    pub caller: Caller,
    /// Whether only its columns and parameters are asked for.
    pub describe: bool,
    /// Whether a frame of parameters follows.
    pub parameters: bool,
    /// Time that it has, at most the worker's own limit.
    pub time_max: Duration,
    /// Rows that it may give, at most the worker's own limit.
    pub rows_max: u64,
}

/// What was planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The answer's columns, an Arrow stream without rows.
    pub schema: Vec<u8>,
    /// The parameters' types, an Arrow stream without rows; the type is null where the statement does not tell.
    pub parameters: Vec<u8>,
    /// Set when it was `COPY (…) TO STDOUT`: whether as CSV, and whether with a header.
    pub copy: Option<(bool, bool)>,
    /// What a reader has to know of the answer.
    pub notes: Vec<String>,
}

/// Rows of the tail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// The source partition.
    pub partition: u32,
    /// Offset of the first record read for it.
    pub first: u64,
    /// Offset after the last one.
    pub end: u64,
    /// Whether a frame of rows follows; records may make none.
    pub rows: bool,
}

/// Offsets by partition: from where the tail is read, and where the log ended when it began.
pub type Ends = BTreeMap<u32, (u64, u64)>;

/// Where the log ends: by table's name, by partition.
pub type LogEnds = BTreeMap<String, BTreeMap<u32, u64>>;

/// Writes a frame.
///
/// # Errors
/// When the other side is gone, or the payload is too large.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), kind: Kind, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= FRAME_BYTES_MAX);
    let Some(length) = length else {
        let message = format!("a frame of {} bytes is not allowed: at most {FRAME_BYTES_MAX}", payload.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    let mut head = [0; 5];
    head[0] = kind as u8;
    head[1..].copy_from_slice(&length.to_le_bytes());
    to.write_all(&head).await?;
    to.write_all(payload).await
}

/// Writes a frame of JSON.
///
/// # Errors
/// As [`write`].
pub async fn write_json(to: &mut (impl AsyncWrite + Unpin), kind: Kind, value: &impl Serialize) -> io::Result<()> {
    write(to, kind, &serde_json::to_vec(value).map_err(io::Error::other)?).await
}

/// Reads a frame; `None` when the other side has ended between frames.
///
/// # Errors
/// When the other side breaks off or does not keep to the protocol.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; 5];
    if from.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).await?;
    let kind = Kind::of(head[0])?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    if length > FRAME_BYTES_MAX {
        let message = format!("a frame of {length} bytes is not allowed: at most {FRAME_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut payload = vec![0; length as usize];
    from.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}

/// The value in a frame of JSON.
///
/// # Errors
/// When it is none.
pub fn json<T: DeserializeOwned>(payload: &[u8]) -> io::Result<T> {
    serde_json::from_slice(payload).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
