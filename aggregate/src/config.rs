//! The rules that make a composite price, checked before anything runs on them.
//!
//! [`Rules`] holds every rule of one instrument; [`Rules::set`] reads one by its name in `pipeline.yaml`, and
//! [`Rules::canonical`] writes them all in one stable text, whose hash stands in each price. [`Config`] joins the
//! instruments of one pipeline and finds the conversion rates that they need.

mod convert;
mod text;

use model::{Instrument, Interval, Price, Quantity, RulesHash, Venue, topic};

pub use convert::{Conversion, Factor};

const SECOND_NS: i64 = 1_000_000_000;

/// How the venues' prices become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Mean weighted by volume, outliers out, no venue above `max_venue_weight`. The default.
    CappedVwap,
    /// Mean weighted by volume.
    Vwap,
    /// The middle venue's price; the mean of the middle two where their number is even.
    Median,
    /// The price at which half of the weight lies below and half above.
    WeightedMedian,
    /// Mean of prices clamped to a band around the median (Deribit's index).
    CappedMedian,
    /// Mean over the window's partitions of each one's volume-weighted median trade (CF BRR, Kaiko).
    PartitionVwm,
}

/// What a venue's price is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// The volume-weighted average of its trades in the window; the mid where there were none.
    TradeVwap,
    /// Its newest trade; the mid where there is no fresh one.
    LastTrade,
    /// Halfway between its best bid and best ask.
    Mid,
}

/// What a venue's weight is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Base units traded in the window; a venue without trades there weighs its 24 h volume times window / 24 h.
    TradedInWindow,
    /// Base units traded in 24 h, as the venue says.
    Volume24h,
    /// All the same.
    Equal,
    /// As configured, venue by venue.
    Fixed,
}

/// What happens to a venue whose price lies apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlier {
    /// Nothing.
    Off,
    /// It counts at the band's edge.
    Clamp,
    /// It does not count, while `min_inliers` others do.
    Exclude,
    /// As `Exclude`, by distance in median absolute deviations instead of the band.
    Mad,
}

/// Nanoseconds of event time after which data no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaleAfter {
    /// Trades.
    pub trades_ns: i64,
    /// Quotes from a quote channel.
    pub quotes_ns: i64,
    /// Quotes from the top of a maintained book.
    pub books_ns: i64,
    /// Prices of venues that only give tickers.
    pub tickers_ns: i64,
    /// 24 h volumes.
    pub volumes_ns: i64,
    /// Conversion rates.
    pub rates_ns: i64,
}

/// When a price is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// When it moved this far, in hundredths of a percent.
    pub deviation_bps: Quantity,
    /// When nothing was published for so long, in nanoseconds.
    pub heartbeat_ns: i64,
    /// Never sooner than this after the last one, in nanoseconds; a refresh does not wait.
    pub min_interval_ns: i64,
}

/// The rules of one instrument. `None` means the method's own default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How the venues' prices become one.
    pub method: Method,
    /// What a venue's price is taken from.
    pub price_source: PriceSource,
    /// Widest spread at which a mid counts, in hundredths of a percent of it.
    pub max_spread_bps: Quantity,
    /// Length of the price window, in nanoseconds: whole seconds to 1 h, whole minutes to 24 h.
    pub window_ns: i64,
    /// How far behind the watermark a trade still counts, in nanoseconds.
    pub allowed_lateness_ns: i64,
    /// A venue this far behind the core's time no longer holds the watermark, in nanoseconds.
    pub idle_after_ns: i64,
    /// Parts of the window for [`Method::PartitionVwm`].
    pub partitions: u32,
    /// What a venue's weight is taken from; by default equal for [`Method::CappedMedian`], else traded volume.
    pub weights: Option<Weights>,
    /// The weights of [`Weights::Fixed`], by venue.
    pub fixed_weights: Vec<(Venue, Quantity)>,
    /// Largest share of one venue, from three venues on; by default 0.5 for [`Method::CappedVwap`], else 1.
    pub max_venue_weight: Option<Quantity>,
    /// What happens to outliers; by default excluded for [`Method::CappedVwap`], clamped for
    /// [`Method::CappedMedian`], else nothing.
    pub outlier: Option<Outlier>,
    /// Half width of the band around the median, as a part of it: 0.03 is 3 %.
    pub band: Quantity,
    /// Distance that [`Outlier::Mad`] allows, in median absolute deviations.
    pub mad_k: Quantity,
    /// Venues that must remain for others to be excluded.
    pub min_inliers: u32,
    /// How long an excluded venue must stay inside the band to count again, in nanoseconds.
    pub rejoin_after_ns: i64,
    /// When data no longer counts.
    pub stale_after: StaleAfter,
    /// An event time further than this from the time of receipt is replaced by it, in nanoseconds.
    pub max_clock_skew_ns: i64,
    /// Trades that a venue needs in the window.
    pub min_trades: u32,
    /// Base units that a venue needs in the window.
    pub min_volume: Quantity,
    /// Venues that a price should have.
    pub min_venues: u32,
    /// Venues within the band that make it `OK`.
    pub min_venues_ok: u32,
    /// Instruments of the same base whose venues count too, converted.
    pub convert: Vec<Instrument>,
    /// Convert one to one instead of by rate.
    pub assume_par: bool,
    /// When a price is published.
    pub publish: Publish,
    /// Published prices are multiples of this; `None` is 0.01, or finer where the price is below 1000.
    pub tick: Option<Price>,
    /// Candles written to the topic.
    pub candles: Vec<Interval>,
    /// Trade ids remembered per venue, to know a trade that comes twice.
    pub dedup_ids: u32,
    /// Trades kept per venue, at most: a flood shortens the window rather than filling the memory.
    pub trades_kept: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            method: Method::CappedVwap,
            price_source: PriceSource::TradeVwap,
            max_spread_bps: whole(50),
            window_ns: 60 * SECOND_NS,
            allowed_lateness_ns: 2 * SECOND_NS,
            idle_after_ns: 5 * SECOND_NS,
            partitions: 12,
            weights: None,
            fixed_weights: Vec::new(),
            max_venue_weight: None,
            outlier: None,
            band: hundredths(3),
            mad_k: whole(5),
            min_inliers: 2,
            rejoin_after_ns: 60 * SECOND_NS,
            stale_after: StaleAfter {
                trades_ns: 60 * SECOND_NS,
                quotes_ns: 10 * SECOND_NS,
                books_ns: 30 * SECOND_NS,
                tickers_ns: 60 * SECOND_NS,
                volumes_ns: 600 * SECOND_NS,
                rates_ns: 60 * SECOND_NS,
            },
            max_clock_skew_ns: 5 * SECOND_NS,
            min_trades: 1,
            min_volume: Quantity::ZERO,
            min_venues: 2,
            min_venues_ok: 3,
            convert: Vec::new(),
            assume_par: false,
            publish: Publish { deviation_bps: whole(1), heartbeat_ns: SECOND_NS, min_interval_ns: SECOND_NS / 10 },
            tick: None,
            candles: Interval::ALL.to_vec(),
            dedup_ids: 4_096,
            trades_kept: 131_072,
        }
    }
}

const fn whole(count: i64) -> Quantity {
    hundredths(count * 100)
}

const fn hundredths(count: i64) -> Quantity {
    Quantity::from_raw(count * 1_000_000).expect("small constants are in range")
}

impl Rules {
    /// Instruments in `convert`, at most.
    pub const CONVERT_MAX: usize = 3;

    /// The weights in force.
    pub fn weights(&self) -> Weights {
        self.weights.unwrap_or(match self.method {
            Method::CappedMedian => Weights::Equal,
            _ => Weights::TradedInWindow,
        })
    }

    /// The largest share of one venue in force.
    pub fn max_venue_weight(&self) -> Quantity {
        self.max_venue_weight.unwrap_or(match self.method {
            Method::CappedVwap => hundredths(50),
            _ => Quantity::ONE,
        })
    }

    /// The outlier rule in force.
    pub fn outlier(&self) -> Outlier {
        self.outlier.unwrap_or(match self.method {
            Method::CappedVwap => Outlier::Exclude,
            Method::CappedMedian => Outlier::Clamp,
            _ => Outlier::Off,
        })
    }

    /// The tick that a price of this size is published to.
    pub fn tick_for(&self, price: Price) -> Price {
        self.tick.unwrap_or_else(|| {
            let mut tick = 1_000_000;
            while tick > 1 && price.raw() / 100_000 < tick {
                tick /= 10;
            }
            Price::from_raw(tick).expect("at most 0.01")
        })
    }

    /// Stable hash of the rules and of the instrument that they price.
    pub fn hash(&self, instrument: Instrument) -> RulesHash {
        RulesHash(topic::fnv1a(format!("instrument: {instrument}\n{}", self.canonical()).as_bytes()))
    }
}

/// One mistake in the rules: which rule, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{instrument}: {rule}: {what}")]
pub struct RuleProblem {
    /// The instrument whose rules are wrong.
    pub instrument: Instrument,
    /// The rule's name, as [`Rules::set`] knows it.
    pub rule: &'static str,
    /// What is wrong and what would be right.
    pub what: String,
}

/// One instrument of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    /// What is priced.
    pub instrument: Instrument,
    /// By which rules.
    pub rules: Rules,
    /// How each of `rules.convert` is converted, in the same order.
    pub conversions: Vec<Conversion>,
    /// Hash of the rules, as it stands in each price.
    pub hash: RulesHash,
}

/// The instruments that a pipeline prices, ordered by name, with rules that fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    priced: Vec<Priced>,
    hash: u64,
}

impl Config {
    /// Instruments in a pipeline, at most.
    pub const INSTRUMENTS_MAX: usize = 4_096;

    /// Checks all rules and joins them.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn new(mut instruments: Vec<(Instrument, Rules)>) -> Result<Self, Vec<RuleProblem>> {
        instruments.sort_by_key(|(instrument, _)| *instrument);
        let mut problems = Vec::new();
        for (at, (instrument, rules)) in instruments.iter().enumerate() {
            let mut complain = |rule, what| problems.push(RuleProblem { instrument: *instrument, rule, what });
            if at > 0 && instruments[at - 1].0 == *instrument {
                complain("instruments", "named twice".to_owned());
            }
            if at == Self::INSTRUMENTS_MAX {
                complain("instruments", format!("{} instruments, at most {at}", instruments.len()));
            }
            rules.check(&mut complain);
        }
        let mut priced: Vec<Priced> = Vec::with_capacity(instruments.len());
        for (instrument, rules) in &instruments {
            let conversions = convert::resolve(*instrument, rules, &instruments, &mut problems);
            priced.push(Priced {
                instrument: *instrument,
                rules: rules.clone(),
                conversions,
                hash: rules.hash(*instrument),
            });
        }
        convert::check_rates(&priced, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let text: String = priced.iter().map(|one| format!("{}: {}\n", one.instrument, one.hash)).collect();
        Ok(Self { priced, hash: topic::fnv1a(text.as_bytes()) })
    }

    /// All of them under the same rules.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn uniform(instruments: &[Instrument], rules: &Rules) -> Result<Self, Vec<RuleProblem>> {
        Self::new(instruments.iter().map(|instrument| (*instrument, rules.clone())).collect())
    }

    /// The instruments, ordered by name.
    pub fn priced(&self) -> &[Priced] {
        &self.priced
    }

    /// Stable hash of everything that the core obeys: what a `Configure` record carries.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The instruments whose prices are conversion rates, ordered by name.
    pub fn rates(&self) -> Vec<Instrument> {
        let mut rates: Vec<Instrument> =
            self.priced.iter().flat_map(|one| one.conversions.iter().flat_map(Conversion::rates)).collect();
        rates.sort();
        rates.dedup();
        rates
    }

    /// The priced instruments that need `rate`: its `Rate` records belong in their partitions of `ticks`.
    pub fn consumers_of(&self, rate: Instrument) -> impl Iterator<Item = Instrument> {
        self.priced
            .iter()
            .filter(move |one| one.conversions.iter().flat_map(Conversion::rates).any(|needed| needed == rate))
            .map(|one| one.instrument)
    }
}
