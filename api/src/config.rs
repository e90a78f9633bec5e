//! What the server needs to know, and the limits it keeps.

use std::net::SocketAddr;
use std::time::Duration;

use model::Instrument;

/// Configuration of the server.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where to listen. Port 0 takes a free one. Anything but loopback is refused, since this server has
    /// neither TLS nor authentication yet.
    pub listen: SocketAddr,
    /// The instruments that are served.
    pub instruments: Vec<Instrument>,
    /// The markets of our own exchange whose trades, books and phases can be subscribed to.
    pub markets: Vec<Instrument>,
    /// Host names, beside `localhost` and loopback addresses, under which browsers may call, as a proxy in
    /// front of the server has them.
    pub host_names: Vec<String>,
    /// How long a price counts as fresh when the cache cannot say; the cache's own time to live.
    pub fresh_for: Duration,
    /// The limits.
    pub limits: Limits,
}

impl ApiConfig {
    /// The defaults, for these instruments.
    pub fn new(listen: SocketAddr, instruments: Vec<Instrument>) -> Self {
        Self {
            listen,
            markets: instruments.clone(),
            instruments,
            host_names: Vec::new(),
            fresh_for: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

/// Every bound that the server keeps.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections.
    pub connections_max: usize,
    /// Open WebSockets and server-sent event streams.
    pub streams_max: usize,
    /// Open readers of raw topic records.
    pub tails_max: usize,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Bytes of a request's head, at least 8 KiB.
    pub header_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Time for a request's head to arrive, idle time between requests included.
    pub header_timeout: Duration,
    /// Time for an answer, streams excepted.
    pub request_timeout: Duration,
    /// Time that a client may take in nothing of what was sent to it.
    pub stall_timeout: Duration,
    /// Bytes of a WebSocket message from a client.
    pub message_bytes_max: usize,
    /// WebSocket frames a second from a client, in the long run.
    pub messages_per_second_max: u32,
    /// WebSocket frames that a client may send at once.
    pub messages_burst_max: u32,
    /// Subscriptions of one client: channel, asset and interval make one.
    pub subscriptions_max: usize,
    /// Time between pings to a WebSocket client; silence on an event stream is broken as often.
    pub ping_every: Duration,
    /// Time for a pong to come back.
    pub pong_within: Duration,
    /// Time between two refreshes of one asset.
    pub refresh_every: Duration,
    /// Time for a refreshed price to come out.
    pub refresh_within: Duration,
    /// Candles kept per asset and interval.
    pub candles_kept_max: usize,
    /// Candles in one answer.
    pub candles_answered_max: usize,
    /// Commands to the exchange a second from one account, in the long run. Cancels are counted by themselves.
    pub commands_per_second_max: u32,
    /// Commands to the exchange that an account may send at once.
    pub commands_burst_max: u32,
    /// Cancels a second from one account, in the long run.
    pub cancels_per_second_max: u32,
    /// Cancels that an account may send at once.
    pub cancels_burst_max: u32,
    /// Finished orders that can be looked up, for each account that has a key.
    pub orders_kept_max: usize,
    /// Reports of each kind kept in memory for each account that has a key; a client further behind is closed.
    pub reports_kept_max: usize,
    /// Commands of one WebSocket that may wait for their answers; more are taken as answers go out.
    pub commands_in_flight_max: usize,
    /// Levels of a book's side in one answer.
    pub book_levels_max: usize,
    /// Trades kept per asset for clients that lag; a client further behind is told how many it missed.
    pub trades_kept_max: usize,
    /// Time that requests get to finish when the server stops.
    pub stop_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            streams_max: 2_048,
            tails_max: 16,
            body_bytes_max: 64 << 10,
            header_bytes_max: 16 << 10,
            headers_max: 64,
            header_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(5),
            message_bytes_max: 16 << 10,
            messages_per_second_max: 20,
            messages_burst_max: 100,
            subscriptions_max: 256,
            ping_every: Duration::from_secs(15),
            pong_within: Duration::from_secs(10),
            refresh_every: Duration::from_secs(1),
            refresh_within: Duration::from_secs(5),
            candles_kept_max: 2_880,
            candles_answered_max: 1_000,
            commands_per_second_max: 50,
            commands_burst_max: 200,
            cancels_per_second_max: 500,
            cancels_burst_max: 2_000,
            orders_kept_max: 1_000,
            reports_kept_max: 4_096,
            commands_in_flight_max: 64,
            book_levels_max: 1_000,
            trades_kept_max: 1_024,
            stop_within: Duration::from_secs(5),
        }
    }
}
