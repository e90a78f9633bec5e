//! Connections, subscriptions, and the way of a frame from the market to a connection, faults included.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use model::{Instrument, UnixNanos};

use super::ConnectionId;
use super::client::{Client, Outgoing};
use super::truth::Truth;
use crate::faults::{FaultState, Verdict, spoil};
use crate::text::TimeWriter;

/// One channel of one instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stream {
    /// Index into the protocol's channels.
    pub(crate) channel: usize,
    /// Index into the market's feeds.
    pub(crate) symbol: usize,
}

/// How one written frame serves connections that want it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The same bytes for all.
    Plain,
    /// An envelope of this many bytes before and one byte after the content: some want it, some do not.
    Enveloped(usize),
    /// Each connection's own number goes in at this place.
    Numbered(usize),
}

#[derive(Debug, Clone, Copy)]
struct Subscriber {
    client: ConnectionId,
    enveloped: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hub {
    /// Nanoseconds since the start.
    pub(crate) now: u64,
    /// Faults in force.
    pub(crate) faults: FaultState,
    /// Connections by number.
    pub(crate) clients: BTreeMap<ConnectionId, Client>,
    /// What happened since it was last taken.
    pub(crate) truth: Vec<(UnixNanos, Truth)>,
    /// Connections to be dropped without a word.
    pub(crate) cuts: Vec<ConnectionId>,
    /// Frames handed to connections since the start.
    pub(crate) frames_sent: u64,
    start: UnixNanos,
    skew_nanos: i64,
    instruments: Vec<Instrument>,
    channels: &'static [&'static str],
    streams: Vec<Vec<Subscriber>>,
    queue_bytes_max: usize,
    times: TimeWriter,
    scratch: Vec<u8>,
    arena: BytesMut,
}

/// Size of the blocks that frames are cut from.
const ARENA_BYTES: usize = 64 << 10;
/// Frames held for shuffling go out after this long, full run or not.
const HELD_NANOS: u64 = 1_000_000_000;

impl Hub {
    pub(crate) fn new(
        start: UnixNanos,
        instruments: Vec<Instrument>,
        channels: &'static [&'static str],
        faults: FaultState,
        queue_bytes_max: usize,
    ) -> Self {
        let streams = vec![Vec::new(); instruments.len() * channels.len()];
        Self {
            now: 0,
            faults,
            clients: BTreeMap::new(),
            truth: Vec::new(),
            cuts: Vec::new(),
            frames_sent: 0,
            start,
            skew_nanos: 0,
            instruments,
            channels,
            streams,
            queue_bytes_max,
            times: TimeWriter::default(),
            scratch: Vec::new(),
            arena: BytesMut::new(),
        }
    }

    /// The venue's clock, in unix nanoseconds, with the skew that a fault gives it.
    pub(crate) fn clock(&self) -> i64 {
        self.true_time().plus(self.skew_nanos).0
    }

    /// A time since the start on the venue's clock.
    pub(crate) fn clock_at(&self, nanos: u64) -> i64 {
        self.start.plus(nanos as i64).plus(self.skew_nanos).0
    }

    /// The true time.
    pub(crate) fn true_time(&self) -> UnixNanos {
        self.start.plus(self.now as i64)
    }

    /// Takes the skew from the faults in force.
    pub(crate) fn refresh_skew(&mut self) {
        self.skew_nanos = self.faults.skew_nanos();
    }

    /// Listed instruments, by symbol index.
    pub(crate) fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// Keeps what happened.
    pub(crate) fn note(&mut self, what: Truth) {
        let at = self.true_time();
        self.truth.push((at, what));
    }

    /// Whether a connection reads the stream.
    pub(crate) fn is_read(&self, stream: Stream) -> bool {
        !self.streams[self.slot(stream)].is_empty()
    }

    fn slot(&self, stream: Stream) -> usize {
        stream.channel * self.instruments.len() + stream.symbol
    }

    /// Adds a subscription; false when it was there already.
    pub(crate) fn subscribe(&mut self, client: ConnectionId, stream: Stream, enveloped: bool) -> bool {
        let slot = self.slot(stream);
        let Some(known) = self.clients.get_mut(&client) else { return false };
        if known.streams.contains(&stream) {
            return false;
        }
        known.streams.push(stream);
        known.subscribed = true;
        self.streams[slot].push(Subscriber { client, enveloped });
        true
    }

    /// Ends a subscription; false when there was none.
    pub(crate) fn unsubscribe(&mut self, client: ConnectionId, stream: Stream) -> bool {
        let slot = self.slot(stream);
        self.streams[slot].retain(|subscriber| subscriber.client != client);
        let Some(known) = self.clients.get_mut(&client) else { return false };
        let before = known.streams.len();
        known.streams.retain(|other| *other != stream);
        known.streams.len() < before
    }

    /// Counts a connection among those that have subscribed, for channels that are not about an instrument.
    pub(crate) fn mark_subscribed(&mut self, client: ConnectionId) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.subscribed = true;
        }
    }

    /// A connection's subscriptions in the order in which they were made.
    pub(crate) fn subscriptions(&self, client: ConnectionId) -> &[Stream] {
        self.clients.get(&client).map_or(&[], |known| &known.streams)
    }

    /// Sends a frame to all who read the stream. `reference` is what the truth calls it: a trade id or the
    /// last sequence number. The frame is written only when somebody reads it.
    pub(crate) fn publish(
        &mut self,
        stream: Stream,
        reference: u64,
        write: impl FnOnce(&mut Vec<u8>, &mut TimeWriter) -> Shape,
    ) {
        let verdict = self.faults.judge(stream.channel, stream.symbol);
        let slot = self.slot(stream);
        if self.streams[slot].is_empty() {
            return;
        }
        let (channel, instrument) = (self.channels[stream.channel], self.instruments[stream.symbol]);
        if verdict.silent {
            return self.note(Truth::Lost { channel, instrument, reference });
        }
        let (frame, shape) = self.build(write);
        if let Some((form, replaced)) = verdict.spoilt {
            self.note(Truth::Spoilt { channel, instrument, reference, form, replaced });
        }
        let replaced = verdict.spoilt.is_some_and(|(_, replaced)| replaced);
        let lost = verdict.dropped || replaced;
        if verdict.dropped {
            self.note(Truth::Lost { channel, instrument, reference });
        } else if verdict.doubled && !replaced {
            self.note(Truth::Doubled { channel, instrument, reference });
        }
        let subscribers = std::mem::take(&mut self.streams[slot]);
        for subscriber in &subscribers {
            self.deliver(*subscriber, &frame, shape, &verdict, lost);
        }
        self.streams[slot] = subscribers;
    }

    /// Gives a data frame to one connection, as the verdict has it.
    fn deliver(&mut self, to: Subscriber, frame: &Bytes, shape: Shape, verdict: &Verdict, lost: bool) {
        let Some(client) = self.clients.get_mut(&to.client) else { return };
        let own = shaped(frame, shape, to.enveloped, client);
        if let Some((form, _)) = verdict.spoilt {
            let (bytes, binary) = spoil(&own, form);
            let bytes = Bytes::from(bytes);
            client.push(if binary { Outgoing::Binary(bytes) } else { Outgoing::Text(bytes) }, self.now);
        }
        if lost {
            return;
        }
        let copies = 1 + usize::from(verdict.doubled);
        self.frames_sent += copies as u64;
        if verdict.reorder_within > 0 {
            if client.held.is_empty() {
                client.held_since = self.now;
            }
            client.held.extend(std::iter::repeat_n(Outgoing::Text(own), copies));
            if client.held.len() >= verdict.reorder_within as usize {
                release(client, &mut self.faults, self.now);
            }
        } else {
            release(client, &mut self.faults, self.now);
            for _ in 0..copies {
                client.push(Outgoing::Text(own.clone()), self.now);
            }
        }
    }

    /// Sends a frame to one connection: an answer, a snapshot, a heartbeat. Only full silence keeps it back.
    pub(crate) fn send(&mut self, client: ConnectionId, write: impl FnOnce(&mut Vec<u8>, &mut TimeWriter) -> Shape) {
        if self.faults.all_silent() {
            return;
        }
        let (frame, shape) = self.build(write);
        let Some(known) = self.clients.get_mut(&client) else { return };
        let own = shaped(&frame, shape, true, known);
        release(known, &mut self.faults, self.now);
        known.push(Outgoing::Text(own), self.now);
        self.frames_sent += 1;
    }

    fn build(&mut self, write: impl FnOnce(&mut Vec<u8>, &mut TimeWriter) -> Shape) -> (Bytes, Shape) {
        self.scratch.clear();
        let shape = write(&mut self.scratch, &mut self.times);
        if self.arena.capacity() < self.scratch.len() {
            self.arena = BytesMut::with_capacity(ARENA_BYTES.max(self.scratch.len()));
        }
        self.arena.extend_from_slice(&self.scratch);
        (self.arena.split().freeze(), shape)
    }

    /// A frame outside every rule, to all connections: ping, oversize, shutdown notice.
    pub(crate) fn broadcast(&mut self, frame: &Outgoing) {
        for client in self.clients.values_mut() {
            client.push(frame.clone(), self.now);
        }
    }

    /// Ends a connection: with a close frame and reason when `code` is given, else by dropping it.
    pub(crate) fn end(&mut self, client: ConnectionId, code: Option<u16>, reason: &'static str) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        if known.ended {
            return;
        }
        match code {
            Some(code) => {
                let now = self.now;
                known.push(Outgoing::Close { code, reason }, now);
            }
            None => {
                known.outgoing.clear();
                self.cuts.push(client);
            }
        }
        known.ended = true;
        self.leave(client);
        self.note(Truth::Cut { connection: client, reason });
    }

    /// Forgets a connection that the socket has lost.
    pub(crate) fn remove(&mut self, client: ConnectionId) {
        self.leave(client);
        self.clients.remove(&client);
    }

    fn leave(&mut self, client: ConnectionId) {
        let Some(known) = self.clients.get_mut(&client) else { return };
        for stream in std::mem::take(&mut known.streams) {
            let slot = self.slot(stream);
            self.streams[slot].retain(|subscriber| subscriber.client != client);
        }
    }

    /// Cuts connections that do not take their frames, and lets go of frames held long enough.
    pub(crate) fn enforce_bounds(&mut self) {
        let mut full = Vec::new();
        for (id, client) in &mut self.clients {
            if !client.held.is_empty() && client.held_since + HELD_NANOS <= self.now {
                release(client, &mut self.faults, self.now);
            }
            if client.outgoing_bytes > self.queue_bytes_max && !client.ended {
                full.push(*id);
            }
        }
        for client in full {
            self.end(client, None, "does not read");
        }
    }
}

/// The bytes that one connection gets.
fn shaped(frame: &Bytes, shape: Shape, enveloped: bool, client: &mut Client) -> Bytes {
    match shape {
        Shape::Enveloped(prefix) if !enveloped => frame.slice(prefix..frame.len() - 1),
        Shape::Plain | Shape::Enveloped(_) => frame.clone(),
        Shape::Numbered(at) => {
            let mut own = Vec::with_capacity(frame.len() + 20);
            own.extend_from_slice(&frame[..at]);
            crate::text::put_u64(&mut own, client.next_number);
            own.extend_from_slice(&frame[at..]);
            client.next_number += 1;
            own.into()
        }
    }
}

/// Sends held frames in a random order (Fisher-Yates).
fn release(client: &mut Client, faults: &mut FaultState, now: u64) {
    for last in (1..client.held.len()).rev() {
        client.held.swap(last, faults.draw(last as u64 + 1) as usize);
    }
    for frame in std::mem::take(&mut client.held) {
        client.push(frame, now);
    }
}
