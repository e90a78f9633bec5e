//! A venue's side of one connection.

use bytes::Bytes;

use super::hub::Stream;

/// Something for the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A text frame; under a fault its bytes may not be UTF-8.
    Text(Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// A ping with its payload.
    Ping(Bytes),
    /// A close frame, after which the connection ends.
    Close {
        /// WebSocket close code.
        code: u16,
        /// Why.
        reason: &'static str,
    },
}

impl Outgoing {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) | Self::Ping(bytes) => bytes.len(),
            Self::Close { .. } => 0,
        }
    }
}

/// What the venue knows of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Waiting to be taken by the socket.
    pub(crate) outgoing: Vec<Outgoing>,
    /// Bytes of data frames in `outgoing`.
    pub(crate) outgoing_bytes: usize,
    /// Frames waiting to be shuffled.
    pub(crate) held: Vec<Outgoing>,
    pub(crate) held_since: u64,
    pub(crate) streams: Vec<Stream>,
    pub(crate) opened_at: u64,
    pub(crate) pinged_at: u64,
    pub(crate) ponged_at: u64,
    /// When the client last sent a text.
    pub(crate) heard_at: u64,
    /// When the client was last sent anything.
    pub(crate) told_at: u64,
    /// Second and number of texts in it, for the venue's message limit.
    pub(crate) texts: (u64, u32),
    /// The next number of a channel that counts per connection.
    pub(crate) next_number: u64,
    /// Whether a subscription was ever asked for.
    pub(crate) subscribed: bool,
    /// Set once the connection has been ended, so that nothing more is sent.
    pub(crate) ended: bool,
}

impl Client {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            outgoing: Vec::new(),
            outgoing_bytes: 0,
            held: Vec::new(),
            held_since: 0,
            streams: Vec::new(),
            opened_at: now,
            pinged_at: now,
            ponged_at: now,
            heard_at: now,
            told_at: now,
            texts: (0, 0),
            next_number: 0,
            subscribed: false,
            ended: false,
        }
    }

    pub(crate) fn push(&mut self, frame: Outgoing, now: u64) {
        if !self.ended {
            self.outgoing_bytes += frame.size();
            self.told_at = now;
            self.outgoing.push(frame);
        }
    }
}
