//! What a venue's decoder is given and what it says.

use model::{Channel, Instrument, TickBody, UnixNanos, Venue};

use crate::refusal::{DecodeError, Refusal};

/// One stream of one instrument, by the instrument's place in the connection's [`Plan`].
///
/// [`Plan`]: crate::connector::Plan
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Feed {
    /// Place in the plan's instruments.
    pub instrument: u16,
    /// Which stream.
    pub channel: Channel,
}

impl Feed {
    /// Names a stream.
    pub const fn new(instrument: u16, channel: Channel) -> Self {
        Self { instrument, channel }
    }
}

/// What kind of frame it was, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Market data, whether or not it gave a tick.
    Data,
    /// A sign of life and nothing else.
    Heartbeat,
    /// An answer to a request of ours, or a status message.
    Control,
}

/// A tick before it is stamped: see [`crate::stamp::Stamper`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// The venue's time, where it gave one.
    pub ts_event: Option<UnixNanos>,
    /// `TickFlags` bits that the decoder knows: `HISTORIC`, `OFF_BOOK`, `POLLED`.
    pub flags: u8,
    /// The content.
    pub body: TickBody,
}

/// What the supervisor must do or record beside the ticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// Records of a feed were lost.
    Gap {
        /// Where.
        feed: Feed,
        /// How many, 0 where unknown.
        missing: u64,
    },
    /// A feed that had a gap is whole again: its book was rebuilt.
    Recovered(Feed),
    /// The book of an instrument waits for its REST snapshot ([`Connector::snapshot_request`]).
    ///
    /// [`Connector::snapshot_request`]: crate::connector::Connector::snapshot_request
    NeedSnapshot(u16),
    /// Subscribe a feed anew; the venue answers with a snapshot.
    Resubscribe(Feed),
    /// The venue asks for a new connection, or this one can no longer be trusted.
    Reconnect(&'static str),
    /// The venue confirmed a subscription.
    Subscribed(Feed),
}

/// What frames decode into. Reused from frame to frame.
#[derive(Debug, Default)]
pub struct Output {
    /// Ticks in the order of the frame.
    pub ticks: Vec<Decoded>,
    /// Feeds that showed life, with or without a tick; a feed may be there more than once.
    pub seen: Vec<Feed>,
    /// What else there is to do.
    pub signals: Vec<Signal>,
    /// Records that were recognised as repeats and dropped.
    pub duplicates: u64,
}

impl Output {
    /// Forgets everything and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.ticks.clear();
        self.seen.clear();
        self.signals.clear();
        self.duplicates = 0;
    }

    /// Adds a tick without quality marks.
    #[inline]
    pub fn tick(&mut self, ts_event: Option<UnixNanos>, body: TickBody) {
        self.ticks.push(Decoded { ts_event, flags: 0, body });
    }

    /// Adds a tick with quality marks.
    #[inline]
    pub fn flagged(&mut self, ts_event: Option<UnixNanos>, flags: u8, body: TickBody) {
        self.ticks.push(Decoded { ts_event, flags, body });
    }

    /// Notes that a feed lives.
    #[inline]
    pub fn saw(&mut self, instrument: u16, channel: Channel) {
        self.seen.push(Feed { instrument, channel });
    }

    /// Adds a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.signals.push(signal);
    }

    /// Notes lost records.
    pub fn gap(&mut self, instrument: u16, channel: Channel, missing: u64) {
        self.signals.push(Signal::Gap { feed: Feed { instrument, channel }, missing });
    }
}

/// Turns one venue's frames into ticks. Pure: no clock, no I/O; the same frames give the same output.
///
/// One decoder serves one connection after another of the same plan, and replays. It owns all state of the
/// venue's scheme per instrument: sequence chains, books, trade-id windows, each of them bounded.
pub trait Decoder: Send + std::fmt::Debug {
    /// Decodes one text frame, received at `ts_recv`, onto `out`.
    ///
    /// # Errors
    /// When the frame cannot be used. It then goes to the dead letters, and what it added to `out.ticks` and
    /// `out.seen` is taken back by [`decode_frame`]; signals stay. The decoder's own state is as before the
    /// frame, or marked as broken with a `Gap` and a request for a new snapshot.
    fn decode(&mut self, frame: &[u8], ts_recv: UnixNanos, out: &mut Output) -> Result<FrameKind, DecodeError>;

    /// Takes the REST snapshot of a book that [`Signal::NeedSnapshot`] asked for.
    ///
    /// # Errors
    /// When the body cannot be used; the book goes on waiting.
    fn snapshot(
        &mut self,
        instrument: u16,
        body: &[u8],
        ts_recv: UnixNanos,
        out: &mut Output,
    ) -> Result<(), DecodeError>;

    /// A new connection begins: chains and books start over, trade-id windows stay, so that what both
    /// connections bring counts once.
    fn reset(&mut self);
}

/// Bytes of a frame, at most: no venue sends more, and what is larger is not looked at.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Decodes one frame with the promise that a refused frame leaves no tick.
///
/// # Errors
/// As [`Decoder::decode`], and for a frame over [`FRAME_BYTES_MAX`].
#[inline]
pub fn decode_frame(
    decoder: &mut dyn Decoder,
    frame: &[u8],
    ts_recv: UnixNanos,
    out: &mut Output,
) -> Result<FrameKind, DecodeError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: frame.len(), max: FRAME_BYTES_MAX }.into());
    }
    let (ticks, seen) = (out.ticks.len(), out.seen.len());
    let result = decoder.decode(frame, ts_recv, out);
    if result.is_err() {
        out.ticks.truncate(ticks);
        out.seen.truncate(seen);
    }
    result
}

/// An instrument as a venue lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Our name.
    pub instrument: Instrument,
    /// The venue's, as its stream messages spell it.
    pub symbol: Box<str>,
}

/// Finds instruments by the venue's symbol; frames mostly repeat the last one.
#[derive(Debug)]
pub struct Symbols {
    venue: Venue,
    listed: Box<[Listed]>,
    by_symbol: rustc_hash::FxHashMap<Box<[u8]>, u16>,
    last: u16,
}

impl Symbols {
    /// A table over `listed`; places are those in the slice.
    pub fn new(venue: Venue, listed: &[Listed]) -> Self {
        let by_symbol =
            listed.iter().zip(0..).map(|(listed, place)| (listed.symbol.as_bytes().into(), place)).collect();
        Self { venue, listed: listed.into(), by_symbol, last: 0 }
    }

    /// Place of the instrument with this symbol.
    ///
    /// # Errors
    /// [`Refusal::UnknownSymbol`] when it is not configured.
    #[inline]
    pub fn find(&mut self, symbol: &[u8]) -> Result<u16, DecodeError> {
        if self.listed.get(self.last as usize).is_some_and(|listed| listed.symbol.as_bytes() == symbol) {
            return Ok(self.last);
        }
        match self.by_symbol.get(symbol) {
            Some(place) => {
                self.last = *place;
                Ok(*place)
            }
            None => Err(Refusal::unknown_symbol(symbol)),
        }
    }

    /// The instrument at a place.
    #[inline]
    pub fn instrument(&self, place: u16) -> Instrument {
        self.listed[place as usize].instrument
    }

    /// The venue's symbol at a place.
    pub fn symbol(&self, place: u16) -> &str {
        &self.listed[place as usize].symbol
    }

    /// The venue, for ticks.
    #[inline]
    pub fn venue(&self) -> Venue {
        self.venue
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}
