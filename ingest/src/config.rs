//! What to ingest, as checked values.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use model::{Channel, Instrument, Venue};

use crate::connector::{Connector, Endpoints, Plan, QuotesFrom, Rules};
use crate::decode::Listed;
use crate::venues;

/// One venue to ingest from. The fields after `instruments` have the venue's defaults after
/// [`SourceConfig::new`] and may be changed.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The source's name in `pipeline.yaml`, which its ticks carry as their venue.
    pub venue: Venue,
    /// The venue's kind.
    pub connector: &'static dyn Connector,
    /// The instruments with the venue's symbols.
    pub instruments: Vec<Listed>,
    /// Where to connect.
    pub endpoints: Endpoints,
    /// The channels wanted.
    pub channels: Vec<Channel>,
    /// Which quotes.
    pub quotes_from: QuotesFrom,
    /// How often tickers are polled.
    pub poll_every: Duration,
    /// Longest pause between attempts to connect.
    pub backoff_max: Duration,
    /// Budgets, watchdog times and pings.
    pub rules: Rules,
}

impl SourceConfig {
    /// A source of this kind with the venue's addresses, rules and symbols and every channel. `symbols` names
    /// those that differ from the venue's usual form.
    ///
    /// # Errors
    /// When no venue has this kind.
    pub fn new(
        venue: Venue,
        kind: &str,
        instruments: &[Instrument],
        symbols: &[(Instrument, String)],
    ) -> Result<Self, UnknownKind> {
        let connector = venues::by_name(kind).ok_or_else(|| UnknownKind(kind.chars().take(40).collect()))?;
        let listed = |instrument: &Instrument| {
            let own = symbols.iter().find(|(other, _)| other == instrument).map(|(_, symbol)| symbol.clone());
            let symbol = own.unwrap_or_else(|| connector.symbol(instrument)).into();
            Listed { instrument: *instrument, symbol }
        };
        let rules = connector.rules();
        Ok(Self {
            venue,
            connector,
            instruments: instruments.iter().map(listed).collect(),
            endpoints: connector.endpoints(),
            channels: connector.channels().to_vec(),
            quotes_from: connector.quotes_from(),
            poll_every: Duration::from_secs(60),
            backoff_max: Duration::from_secs(30),
            rules,
        })
    }

    /// The plan of a connection that carries these instruments.
    pub fn plan(&self, instruments: &[Listed]) -> Plan {
        Plan {
            venue: self.venue,
            instruments: instruments.into(),
            channels: self.channels.clone(),
            quotes_from: self.quotes_from,
        }
    }

    /// Whether it has a stream at all.
    pub(crate) fn connects(&self) -> bool {
        !self.endpoints.websocket.is_empty()
            && self.channels.iter().any(|channel| self.connector.streams(&self.plan(&self.instruments), *channel))
    }

    fn check(&self, errors: &mut Vec<String>) {
        let venue = self.venue;
        let mut refuse = |what: String| errors.push(format!("source {venue}: {what}"));
        if self.instruments.is_empty() {
            refuse("no instruments".into());
        }
        if self.instruments.len() > Self::INSTRUMENTS_MAX {
            refuse(format!("{} instruments, at most {}", self.instruments.len(), Self::INSTRUMENTS_MAX));
        }
        if self.channels.is_empty() {
            refuse("no channels".into());
        }
        for channel in self.channels.iter().filter(|channel| !self.connector.channels().contains(channel)) {
            refuse(format!("channel {channel:?} not allowed: {} has none", self.connector.name()));
        }
        let (mut names, mut symbols) = (BTreeSet::new(), BTreeSet::new());
        for listed in &self.instruments {
            if !names.insert(listed.instrument) {
                refuse(format!("{} is there twice", listed.instrument));
            }
            if !symbols.insert(&listed.symbol) {
                refuse(format!("symbol {:?} is there twice", listed.symbol));
            }
            // Symbols go into addresses and messages as they are.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
            if listed.symbol.is_empty() || listed.symbol.len() > 40 || !listed.symbol.bytes().all(plain) {
                refuse(format!("symbol {:?} not allowed: 1 to 40 ASCII letters, digits and -_./:", listed.symbol));
            }
        }
        let websocket = &self.endpoints.websocket;
        if !websocket.is_empty() && !websocket.starts_with("ws://") && !websocket.starts_with("wss://") {
            refuse(format!("websocket address {websocket:?} must begin with ws:// or wss://"));
        }
        let rest = &self.endpoints.rest;
        if self.connector.wants_symbol_in_rest() && !rest.contains("{symbol}") {
            refuse(format!("rest address {rest:?} must have {{symbol}} in it"));
        }
        if !rest.starts_with("http://") && !rest.starts_with("https://") {
            refuse(format!("rest address {rest:?} must begin with http:// or https://"));
        }
        if self.poll_every < Self::POLL_EVERY_MIN {
            refuse(format!("every {:?} not allowed: minimum {:?}", self.poll_every, Self::POLL_EVERY_MIN));
        }
    }

    /// Instruments of one source, at most.
    pub const INSTRUMENTS_MAX: usize = 5_000;
    /// Shortest time between polls.
    pub const POLL_EVERY_MIN: Duration = Duration::from_millis(100);
}

/// The stage's configuration.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    /// The venues.
    pub sources: Vec<SourceConfig>,
    /// Event times further from our clock are replaced by it.
    pub max_clock_skew: Duration,
    /// Ticks that wait for the log, per source, at most. From a quarter of it on, quotes are conflated; when it
    /// is full, the feed is cut.
    pub pending_max: usize,
    /// Dead letters written per source and second, at most; all are counted.
    pub dead_letters_per_second: u32,
    /// Batches of a source and partition that may wait for their acknowledgement.
    pub outstanding_max: usize,
}

impl IngestConfig {
    /// These sources with the defaults for all else.
    pub fn new(sources: Vec<SourceConfig>) -> Self {
        Self {
            sources,
            max_clock_skew: Duration::from_secs(5),
            pending_max: 32_768,
            dead_letters_per_second: 200,
            outstanding_max: 4,
        }
    }

    /// Every error, not only the first.
    ///
    /// # Errors
    /// When something cannot work.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        let mut venues = BTreeSet::new();
        for source in &self.sources {
            if !venues.insert(source.venue) {
                errors.push(format!("source {} is there twice", source.venue));
            }
            source.check(&mut errors);
        }
        for (what, value, min) in [
            ("pending_max", self.pending_max, 16),
            ("outstanding_max", self.outstanding_max, 1),
            ("dead_letters_per_second", self.dead_letters_per_second as usize, 1),
        ] {
            if value < min {
                errors.push(format!("{what} {value} not allowed: minimum {min}"));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
    }
}

/// A kind of venue that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind(String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = venues::ALL.iter().map(|venue| venue.name()).collect();
        write!(out, "{:?} is no venue type: one of {}", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownKind {}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_told_at_once() {
        let btc: Instrument = "BTC-USDT".parse().expect("an instrument");
        let venue = "binance".parse().expect("a venue");
        let mut source = SourceConfig::new(venue, "binance", &[btc, btc], &[(btc, "BTC\"USDT".into())]).expect("known");
        source.endpoints.rest = "ftp://x".into();
        source.poll_every = Duration::ZERO;
        let mut config = IngestConfig::new(vec![source.clone(), source]);
        config.outstanding_max = 0;
        let errors = config.validate().expect_err("much is wrong").0;
        assert!(errors.len() >= 10, "{errors:#?}");
        let unknown = SourceConfig::new(venue, "bitmex", &[btc], &[]).expect_err("unknown").to_string();
        assert!(unknown.contains("\"bitmex\" is no venue type: one of binance"), "{unknown}");
    }
}
