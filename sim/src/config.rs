//! What is simulated. Plain values; the program builds them from `simulate:` in its configuration file.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use model::{Instrument, UnixNanos, Venue};

use crate::faults::{FaultError, ScheduledFault};
use crate::market::{Character, InstrumentConfig, InstrumentConfigError, defaults};
use crate::venues::VenueKind;

/// Who says when the next event is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// The wall clock.
    #[default]
    Real,
    /// Whoever holds the handle: time passes when [`crate::Handle::advance`] is called, and waits for
    /// clients that read slowly, so that a run repeats exactly also over sockets.
    Manual,
}

/// One simulated venue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VenueConfig {
    /// Its name; its market follows from the seed and this name.
    pub name: Venue,
    /// Whose formats it speaks.
    pub kind: VenueKind,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Instruments that it lists; empty lists all.
    pub instruments: Vec<Instrument>,
    /// How it differs from the fair price.
    pub character: Character,
    /// What goes wrong, and when.
    pub faults: Vec<ScheduledFault>,
    /// Bytes waiting for one client, at most; a client that lets more gather is cut.
    pub client_queue_bytes_max: usize,
    /// After this long a connection is ended; `None` is the venue's own rule (24 h on Binance).
    pub session_max: Option<Duration>,
}

/// A set of simulated venues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Gives the run: the same seed and configuration, the same frames.
    pub seed: u64,
    /// The time at which event times begin; `None` is now.
    pub start: Option<UnixNanos>,
    /// Who drives time.
    pub pace: Pace,
    /// What is traded.
    pub instruments: Vec<InstrumentConfig>,
    /// Where.
    pub venues: Vec<VenueConfig>,
    /// Entries of each venue's journal kept, the newest.
    pub journal_entries_max: usize,
}

/// Why a configuration cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An instrument's figures.
    #[error(transparent)]
    Instrument(#[from] InstrumentConfigError),
    /// A scheduled fault.
    #[error("fault of {venue}: {error}")]
    Fault {
        /// The venue.
        venue: Venue,
        /// What is wrong with it.
        error: FaultError,
    },
    /// A venue lists what is not simulated.
    #[error("{venue} lists {instrument}, which is not among the simulated instruments")]
    NotSimulated {
        /// The venue.
        venue: Venue,
        /// The instrument.
        instrument: Instrument,
    },
    /// Two venues or two instruments of one name.
    #[error("{0} is there twice")]
    Twice(String),
    /// A figure is outside its range.
    #[error("{field} {value} not allowed: {allowed}")]
    Range {
        /// Which figure.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The range.
        allowed: &'static str,
    },
}

impl VenueConfig {
    /// A venue with its kind's name and character, on a free port.
    pub fn new(kind: VenueKind) -> Self {
        Self {
            name: kind.name().parse().expect("names of kinds are valid"),
            kind,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            instruments: Vec::new(),
            character: kind.character(),
            faults: Vec::new(),
            client_queue_bytes_max: 8 << 20,
            session_max: None,
        }
    }

    /// The same on a port of the loopback address.
    pub fn on_port(kind: VenueKind, port: u16) -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ..Self::new(kind) }
    }
}

/// Binance, Coinbase Exchange and Kraken on ports 8081, 8082 and 8083 with ten instruments, seed 1.
impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            start: None,
            pace: Pace::Real,
            instruments: defaults(),
            venues: vec![
                VenueConfig::on_port(VenueKind::Binance, 8081),
                VenueConfig::on_port(VenueKind::Coinbase, 8082),
                VenueConfig::on_port(VenueKind::Kraken, 8083),
            ],
            journal_entries_max: 50_000,
        }
    }
}

impl Config {
    /// Spreads a total of trades and quotes per second over venues and instruments, in the proportions that
    /// the instruments have now.
    pub fn scale_to(&mut self, ticks_per_second_total: u32) {
        let now: u64 = self
            .venues
            .iter()
            .flat_map(|venue| self.listed_on(venue))
            .map(|listed| u64::from(listed.ticks_per_second))
            .sum();
        for listed in &mut self.instruments {
            let scaled = u64::from(listed.ticks_per_second) * u64::from(ticks_per_second_total) / now.max(1);
            listed.ticks_per_second = u32::try_from(scaled).unwrap_or(u32::MAX).max(1);
        }
    }

    /// The instruments that a venue lists, in the order of the configuration.
    pub(crate) fn listed_on<'a>(&'a self, venue: &'a VenueConfig) -> impl Iterator<Item = &'a InstrumentConfig> {
        self.instruments
            .iter()
            .filter(|listed| venue.instruments.is_empty() || venue.instruments.contains(&listed.instrument))
    }

    /// Every reason why the configuration cannot be simulated.
    pub fn problems(&self) -> Vec<ConfigError> {
        let mut problems: Vec<ConfigError> =
            self.instruments.iter().flat_map(InstrumentConfig::problems).map(ConfigError::from).collect();
        for (at, listed) in self.instruments.iter().enumerate() {
            if self.instruments[..at].iter().any(|earlier| earlier.instrument == listed.instrument) {
                problems.push(ConfigError::Twice(listed.instrument.to_string()));
            }
        }
        for (at, venue) in self.venues.iter().enumerate() {
            if self.venues[..at].iter().any(|earlier| earlier.name == venue.name) {
                problems.push(ConfigError::Twice(venue.name.to_string()));
            }
            self.venue_problems(venue, &mut problems);
        }
        problems
    }

    fn venue_problems(&self, venue: &VenueConfig, problems: &mut Vec<ConfigError>) {
        for instrument in &venue.instruments {
            if !self.instruments.iter().any(|listed| listed.instrument == *instrument) {
                problems.push(ConfigError::NotSimulated { venue: venue.name, instrument: *instrument });
            }
        }
        for scheduled in &venue.faults {
            if let Err(error) = scheduled.fault.check() {
                problems.push(ConfigError::Fault { venue: venue.name, error });
            }
        }
        let mut range = |ok: bool, field, value: u64, allowed| {
            if !ok {
                problems.push(ConfigError::Range { field, value, allowed });
            }
        };
        let character = venue.character;
        let share = character.volume_share_pct;
        range((1..=100).contains(&share), "volume_share_pct", share.into(), "1 to 100");
        let spread = character.half_spread_bps_100;
        range((1..=100_000).contains(&spread), "half_spread_bps_100", spread.into(), "1 to 100000");
        range(character.lag_ms <= 60_000, "lag_ms", character.lag_ms.into(), "at most 60000");
        let bias = u64::from(character.bias_bps_100.unsigned_abs());
        range(bias <= 100_000, "bias_bps_100", bias, "-100000 to 100000");
        let queue = venue.client_queue_bytes_max as u64;
        range(queue >= 65_536, "client_queue_bytes_max", queue, "at least 65536");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn the_default_is_sound_and_scales() {
        let mut config = Config::default();
        assert_eq!(config.problems(), []);
        config.scale_to(20_000);
        let total: u32 = config.instruments.iter().map(|listed| listed.ticks_per_second * 3).sum();
        assert!((19_900..=20_000).contains(&total), "{total}");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut config = Config::default();
        config.venues[1].name = config.venues[0].name;
        config.venues[2].instruments = vec!["LTC-USDT".parse().expect("an instrument")];
        config.venues[2].character.lag_ms = 100_000;
        config.venues[2].faults =
            vec![ScheduledFault { at: Duration::ZERO, lasts: None, fault: Fault::Duplicate { percent: 0 } }];
        let problems: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "binance is there twice",
                "kraken lists LTC-USDT, which is not among the simulated instruments",
                "fault of kraken: percent 0 not allowed: 1 to 100",
                "lag_ms 100000 not allowed: at most 60000",
            ]
        );
    }
}
