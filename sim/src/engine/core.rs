//! One venue: its market, its protocol, and its connections, driven by inputs and the passing of time.

use std::time::Duration;

use bytes::Bytes;
use model::UnixNanos;

use super::ConnectionId;
use super::client::{Client, Outgoing};
use super::hub::Hub;
use super::mock;
use super::rest::{RestReply, RestRequest};
use super::truth::{Truth, TruthEntry, TruthRing};
use crate::config::{Config, VenueConfig};
use crate::faults::{ChannelSet, Due, Fault, FaultError, FaultState};
use crate::market::Market;
use crate::venues::{Event, Protocol, Rules};

/// Time between two looks at timers: batched channels, heartbeats, pings, faults.
const GRID_NANOS: u64 = 10_000_000;

/// See the module. Nothing in it reads a clock: `advance` says how much time has passed since the start.
pub struct VenueCore {
    pub(crate) market: Market,
    pub(crate) hub: Hub,
    protocol: Box<dyn Protocol>,
    rules: Rules,
    name: String,
    next_grid: u64,
    next_connection: ConnectionId,
}

impl VenueCore {
    /// The venue `venue` of a configuration, beginning at `start`.
    pub fn new(config: &Config, venue: &VenueConfig, start: UnixNanos) -> Self {
        let listed: Vec<_> = config.listed_on(venue).cloned().collect();
        let name = venue.name.as_str();
        let market = Market::new(config.seed, name, &listed, venue.character, trade_ids_from(config, start));
        let instruments: Vec<_> = listed.iter().map(|listed| listed.instrument).collect();
        let protocol = venue.kind.protocol(&market);
        let faults = FaultState::new(config.seed, name, venue.faults.clone());
        let hub = Hub::new(start, instruments, protocol.channels(), faults, venue.client_queue_bytes_max);
        let mut rules = protocol.rules();
        rules.session_max = venue.session_max.or(rules.session_max);
        let mut core =
            Self { market, hub, protocol, rules, name: name.into(), next_grid: GRID_NANOS, next_connection: 0 };
        core.begin_scheduled();
        core
    }

    /// A client connects on a path with a query. It is owed an answer by the WebSocket handshake alone.
    pub fn open(&mut self, path: &str, query: &str) -> ConnectionId {
        let id = self.next_connection;
        self.next_connection += 1;
        self.hub.clients.insert(id, Client::new(self.hub.now));
        self.hub.note(Truth::Opened { connection: id });
        let request = RestRequest::new("GET", path, query, Vec::new());
        self.protocol.opened(id, &request, &mut self.hub, &self.market);
        id
    }

    /// A client sends a text frame.
    pub fn text(&mut self, id: ConnectionId, text: &[u8]) {
        let now = self.hub.now;
        let Some(client) = self.hub.clients.get_mut(&id) else { return };
        if client.ended {
            return;
        }
        client.heard_at = now;
        let second = now / 1_000_000_000;
        client.texts = if client.texts.0 == second { (second, client.texts.1 + 1) } else { (second, 1) };
        if client.texts.1 > self.rules.texts_per_second_max {
            return self.hub.end(id, Some(1008), "Too many requests");
        }
        self.protocol.text(id, text, &mut self.hub, &self.market);
    }

    /// A client answers a ping.
    pub fn pong(&mut self, id: ConnectionId) {
        if let Some(client) = self.hub.clients.get_mut(&id) {
            client.ponged_at = self.hub.now;
        }
    }

    /// A connection is gone.
    pub fn closed(&mut self, id: ConnectionId) {
        self.protocol.closed(id);
        self.hub.remove(id);
    }

    /// A REST call.
    pub fn rest(&mut self, request: &RestRequest) -> RestReply {
        if request.path.starts_with("/mock/faults") {
            return mock::serve(self, request);
        }
        let mut reply = if let Some(status) = self.hub.faults.rest_error() {
            RestReply::value(status, &serde_json::json!({ "error": "simulated failure" }))
        } else if request.path.starts_with("/mock/") {
            mock::serve(self, request)
        } else {
            self.protocol.rest(request, &self.hub, &self.market)
        };
        reply.delay_ms = self.hub.faults.rest_delay_ms();
        reply
    }

    /// Lets time pass until `until` since the start. Earlier times do nothing.
    pub fn advance(&mut self, until: Duration) {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let due = self.market.next_due().min(self.next_grid);
            if due > until {
                break;
            }
            self.hub.now = due;
            if self.next_grid == due {
                self.next_grid += GRID_NANOS;
                self.grid();
            } else if let Some((at, symbol, fill)) = self.market.next(due) {
                self.event(at, symbol, fill);
            }
        }
        self.hub.now = self.hub.now.max(until);
    }

    /// When there is something to do next, since the start.
    pub fn next_due(&self) -> Duration {
        Duration::from_nanos(self.market.next_due().min(self.next_grid))
    }

    fn event(&mut self, at: u64, symbol: usize, fill: Option<crate::market::Fill>) {
        if let Some(fill) = fill {
            let feed = &self.market.feeds[symbol];
            let trade = Truth::Trade {
                instrument: feed.config.instrument,
                id: self.protocol.trade_id(symbol, &fill),
                price: feed.price(fill.price),
                quantity: feed.quantity(fill.quantity),
                taker_side: fill.taker_side,
                block: fill.block && self.protocol.marks_blocks(),
            };
            self.hub.note(trade);
        }
        self.protocol.event(&Event { at, symbol, fill }, &mut self.hub, &self.market);
    }

    fn grid(&mut self) {
        self.begin_scheduled();
        while let Some(due) = self.hub.faults.tick(self.hub.now) {
            self.obey(due);
        }
        self.refresh_faults();
        self.protocol.tick(&mut self.hub, &self.market);
        self.keep_rules();
        self.hub.enforce_bounds();
    }

    fn begin_scheduled(&mut self) {
        while let Some(scheduled) = self.hub.faults.pop_scheduled(self.hub.now) {
            // The configuration was checked; a fault that does not fit this venue is left out.
            let _ = self.begin_fault(scheduled.fault, scheduled.lasts);
        }
    }

    /// Puts a fault in force now, for a time or until it is cleared.
    ///
    /// # Errors
    /// When a figure is outside its range, or the venue has no such channel or instrument.
    pub fn begin_fault(&mut self, fault: Fault, lasts: Option<Duration>) -> Result<(), FaultError> {
        fault.check()?;
        let scope = self.scope(&fault)?;
        self.hub.note(Truth::Fault { fault: fault.clone() });
        if let Some(due) = self.hub.faults.begin(self.hub.now, fault, lasts, scope) {
            self.obey(due);
        }
        self.refresh_faults();
        Ok(())
    }

    /// Ends the faults in force. Scheduled ones stay.
    pub fn clear_faults(&mut self) {
        self.hub.faults.clear();
        self.refresh_faults();
    }

    /// The channels and the symbol that a fault names.
    fn scope(&self, fault: &Fault) -> Result<(Option<ChannelSet>, Option<usize>), FaultError> {
        let (Fault::Silence { channel, symbol } | Fault::Drop { channel, symbol, .. }) = fault else {
            return Ok((None, None));
        };
        let known = self.protocol.channels();
        let channel = match channel {
            None => None,
            Some(name) => {
                let named = |known: &str| {
                    known
                        .strip_prefix(name.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['@', '-', '.']))
                };
                let set = (0..known.len()).filter(|at| named(known[*at])).fold(0, |set, at| set | 1 << at);
                if set == 0 {
                    return Err(FaultError::Channel {
                        channel: name.chars().take(40).collect(),
                        venue: self.name.clone(),
                        known: known.join(", "),
                    });
                }
                Some(set)
            }
        };
        let symbol = match symbol {
            None => None,
            Some(symbol) => Some(
                self.hub
                    .instruments()
                    .iter()
                    .position(|listed| listed == symbol)
                    .ok_or_else(|| FaultError::Symbol { symbol: *symbol, venue: self.name.clone() })?,
            ),
        };
        Ok((channel, symbol))
    }

    fn refresh_faults(&mut self) {
        self.hub.refresh_skew();
        let bps = self.hub.faults.outlier_bps();
        for feed in &mut self.market.feeds {
            feed.outlier_bps = bps;
        }
    }

    fn obey(&mut self, due: Due) {
        match due {
            Due::Cut { clean } => {
                let all: Vec<ConnectionId> = self.hub.clients.keys().copied().collect();
                for client in all {
                    self.hub.end(client, clean.then_some(1001), "fault: disconnect");
                }
            }
            Due::Shutdown => self.protocol.shutdown(&mut self.hub),
            Due::Oversize(bytes) => {
                let mut text = b"{\"padding\":\"".to_vec();
                text.resize((bytes as usize).max(text.len() + 2) - 2, b'x');
                text.extend_from_slice(b"\"}");
                self.hub.broadcast(&Outgoing::Text(text.into()));
                // A frame that was asked for does not count against the client's queue.
                for client in self.hub.clients.values_mut() {
                    client.outgoing_bytes = client.outgoing_bytes.saturating_sub(bytes as usize);
                }
            }
        }
    }

    /// Pings, and ends connections that break a rule of the venue.
    fn keep_rules(&mut self) {
        let (now, rules) = (self.hub.now, self.rules);
        let over = |since: u64, limit: Option<Duration>| {
            limit.is_some_and(|limit| now.saturating_sub(since) >= limit.as_nanos() as u64)
        };
        let payload = (self.hub.clock() / 1_000_000).to_string();
        let silent = self.hub.faults.all_silent();
        let mut ends = Vec::new();
        for (id, client) in self.hub.clients.iter_mut().filter(|(_, client)| !client.ended) {
            if over(client.opened_at, rules.session_max) {
                ends.push((*id, "session limit"));
            } else if !client.subscribed && over(client.opened_at, rules.subscribe_within) {
                ends.push((*id, "no subscription"));
            } else if over(client.ponged_at, rules.pong_within) && client.pinged_at > client.ponged_at {
                ends.push((*id, "pong timeout"));
            } else if over(client.heard_at.max(client.told_at), rules.idle_max) {
                ends.push((*id, "idle"));
            } else if over(client.heard_at, rules.unheard_max) {
                ends.push((*id, "no message"));
            } else if over(client.pinged_at, rules.ping_every) && !silent {
                client.pinged_at = now;
                client.push(Outgoing::Ping(Bytes::copy_from_slice(payload.as_bytes())), now);
            }
        }
        for (client, reason) in ends {
            self.hub.end(client, Some(1008), reason);
        }
    }

    /// Takes what is to be sent on a connection.
    pub fn take(&mut self, id: ConnectionId) -> Vec<Outgoing> {
        match self.hub.clients.get_mut(&id) {
            Some(client) => {
                client.outgoing_bytes = 0;
                std::mem::take(&mut client.outgoing)
            }
            None => Vec::new(),
        }
    }

    /// Connections with something to send.
    pub fn waiting(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.hub.clients.iter().filter(|(_, client)| !client.outgoing.is_empty()).map(|(id, _)| *id)
    }

    /// Takes the connections that are to be dropped without a close frame.
    pub fn take_cuts(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.hub.cuts)
    }

    /// Takes what happened since the last call; entries are numbered from 0 in each call.
    pub fn take_truth(&mut self) -> Vec<TruthEntry> {
        let mut ring = TruthRing::new(usize::MAX);
        ring.extend(self.hub.truth.drain(..));
        ring.since(0, usize::MAX).0
    }

    /// Frames handed to connections since the start.
    pub fn frames_sent(&self) -> u64 {
        self.hub.frames_sent
    }

    /// Trades made since the start, whether or not anybody was told.
    pub fn trades(&self) -> u64 {
        self.market.feeds.iter().map(|feed| feed.day.trades()).sum()
    }
}

/// What is added to trade ids. A run that begins now continues the ids of those before it, as a venue does: ids
/// rise by less than a thousand a second. A run whose start is configured repeats its ids too.
fn trade_ids_from(config: &Config, start: UnixNanos) -> u64 {
    /// 2020-09-13, so that the ids stay short.
    const SECONDS: i64 = 1_600_000_000;
    match config.start {
        Some(_) => 0,
        None => u64::try_from(start.0 / 1_000_000_000 - SECONDS).unwrap_or(0) * 1_000,
    }
}

impl std::fmt::Debug for VenueCore {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("VenueCore").field("name", &self.name).field("now", &self.hub.now).finish_non_exhaustive()
    }
}
