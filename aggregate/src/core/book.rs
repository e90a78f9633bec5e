//! All that is known of one instrument: its venues, the windows over all of them, its candles, its watermark.

use model::{Instrument, Notional, Price, Quantity, Venue, Volume, Window, WindowVwap};

use super::bytes::{Malformed, Reader, put_count, put_i64};
use super::candles::{CandleSink, CandleTrade, Candles};
use super::counters::Counters;
use super::sums::{Bucket, Sliding, Sums, TradeEntry};
use super::venue::{VenueState, WINDOW_1S, WINDOW_60S};
use crate::config::Rules;

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
/// Venues of one instrument, at most.
const VENUES_MAX: usize = 32;
/// A trade that would lift the 24 h total of price times quantity above this (4 x 10^21 quote units) is
/// unusable. Any day's candle holds at most what two such windows hold, which fits Decimal128(38,16); every
/// other window is part of this one.
const NOTIONAL_24H_MAX: i128 = 40_000_000_000_000_000_000_000_000_000_000_000_000;

/// One instrument.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) instrument: Instrument,
    /// In order of appearance, so that places stay.
    pub(super) venues: Vec<VenueState>,
    /// 5 m and 1 h in one-second buckets.
    seconds: Sliding<Bucket, 2>,
    /// 24 h in one-minute buckets.
    minutes: Sliding<Bucket, 1>,
    candles: Candles,
    /// Every venue that is not idle has reached this event time.
    pub(super) watermark: i64,
}

/// What became of a trade.
pub(super) enum Outcome {
    Counted,
    Left,
}

impl Book {
    pub(super) const fn new(instrument: Instrument) -> Self {
        Self {
            instrument,
            venues: Vec::new(),
            seconds: Sliding::new([300, 3_600]),
            minutes: Sliding::new([1_440]),
            candles: Candles::new(),
            watermark: i64::MIN,
        }
    }

    /// The place of a venue, and whether it is new here; none when there is no room for it.
    pub(super) fn venue(&mut self, venue: Venue, rules: &Rules) -> Option<(usize, bool)> {
        if let Some(at) = self.venues.iter().position(|known| known.venue == venue) {
            return Some((at, false));
        }
        if self.venues.len() == VENUES_MAX {
            return None;
        }
        self.venues.push(VenueState::new(venue, rules));
        Some((self.venues.len() - 1, true))
    }

    /// Notes that a venue has reached an event time that it gave itself.
    pub(super) fn heard(&mut self, venue: usize, at: i64) {
        let newest = &mut self.venues[venue].newest_event;
        *newest = Some(newest.map_or(at, |known| known.max(at)));
    }

    /// Moves the watermark to the slowest venue that is not idle, and closes candles behind it.
    pub(super) fn advance(&mut self, rules: &Rules, now: i64, sink: &mut impl CandleSink) {
        let idle = now.saturating_sub(rules.idle_after_ns);
        let slowest = self.venues.iter().filter_map(|venue| venue.newest_event).min();
        self.watermark = self.watermark.max(slowest.map_or(idle, |slowest| slowest.max(idle)));
        self.candles.advance(self.watermark, self.floor(rules), sink);
    }

    /// Goes back to `now`: what lies after it is forgotten, once its candles are written as they stand.
    pub(super) fn rewind(&mut self, now: i64, sink: &mut impl CandleSink) {
        self.venues.iter_mut().for_each(|venue| venue.rewind(now));
        self.seconds.rewind(now.div_euclid(SECOND_NS));
        self.minutes.rewind(now.div_euclid(MINUTE_NS));
        self.candles.rewind(now, sink);
        self.watermark = i64::MIN;
    }

    /// Trades before this event time come too late.
    const fn floor(&self, rules: &Rules) -> i64 {
        self.watermark.saturating_sub(rules.allowed_lateness_ns)
    }

    /// Counts a trade, or says in `counters` why not. The caller has checked price and quantity.
    pub(super) fn trade(
        &mut self,
        venue: usize,
        trade: &CandleTrade,
        rules: &Rules,
        now: i64,
        counters: &mut Counters,
        sink: &mut impl CandleSink,
    ) -> Outcome {
        if trade.at < self.floor(rules) {
            counters.late += 1;
            return Outcome::Left;
        }
        let sums = Sums::of(trade.price, trade.quantity);
        let (second, minute) = (now.div_euclid(SECOND_NS), now.div_euclid(MINUTE_NS));
        self.minutes.advance(minute);
        if self.minutes.sums(0).notional.saturating_add(sums.notional) > NOTIONAL_24H_MAX {
            counters.unusable += 1;
            return Outcome::Left;
        }
        let state = &mut self.venues[venue];
        if !state.ids.insert(trade.id) {
            counters.duplicates += 1;
            return Outcome::Left;
        }
        self.seconds.advance(second);
        self.seconds.add(trade.at.div_euclid(SECOND_NS), sums, second);
        self.minutes.add(trade.at.div_euclid(MINUTE_NS), sums, minute);
        state.advance(now);
        let entry = TradeEntry { at: trade.at, price: trade.price, quantity: trade.quantity };
        if state.add_trade(trade.id, entry, rules.trades_kept, now) {
            counters.displaced += 1;
        }
        self.candles.add(trade, self.watermark, sink);
        counters.trades += 1;
        Outcome::Counted
    }

    /// The plain averages of every window at `now`.
    pub(super) fn averages(&mut self, now: i64) -> Vec<WindowVwap> {
        self.seconds.advance(now.div_euclid(SECOND_NS));
        self.minutes.advance(now.div_euclid(MINUTE_NS));
        let (mut second, mut minute) = (Sums::default(), Sums::default());
        for venue in &mut self.venues {
            venue.advance(now);
            second.add(*venue.trades.sums(WINDOW_1S));
            minute.add(*venue.trades.sums(WINDOW_60S));
        }
        let average = |window, sums: &Sums| {
            let volume = Volume::from_raw(sums.volume);
            WindowVwap { window, price: Notional::from_raw(sums.notional).over(volume), volume }
        };
        vec![
            average(Window::S1, &second),
            average(Window::M1, &minute),
            average(Window::M5, self.seconds.sums(0)),
            average(Window::H1, self.seconds.sums(1)),
            average(Window::H24, self.minutes.sums(0)),
        ]
    }

    /// Best bid and best ask among fresh quotes: the better price, then the larger quantity, then the name.
    pub(super) fn best(&self, rules: &Rules, now: i64) -> (Option<model::BestLevel>, Option<model::BestLevel>) {
        let (mut bid, mut ask): (Option<Level>, Option<Level>) = (None, None);
        for venue in &self.venues {
            let Some(quote) = venue.fresh_quote(&rules.stale_after, now) else { continue };
            if quote.bid > 0 {
                bid = better(
                    bid,
                    Level { rank: quote.bid, price: quote.bid, quantity: quote.bid_quantity, venue: venue.venue },
                );
            }
            if quote.ask > 0 {
                ask = better(
                    ask,
                    Level { rank: -quote.ask, price: quote.ask, quantity: quote.ask_quantity, venue: venue.venue },
                );
            }
        }
        (bid.and_then(Level::published), ask.and_then(Level::published))
    }

    pub(super) fn save(&self, out: &mut Vec<u8>, now: i64) {
        put_count(out, self.venues.len());
        for venue in &self.venues {
            venue.save(out, now);
        }
        self.seconds.save(out, now.div_euclid(SECOND_NS));
        self.minutes.save(out, now.div_euclid(MINUTE_NS));
        self.candles.save(out);
        put_i64(out, self.watermark);
    }

    pub(super) fn load(&mut self, from: &mut Reader<'_>, rules: &Rules, now: i64) -> Result<(), Malformed> {
        if !self.venues.is_empty() {
            return Err(Malformed("an instrument twice"));
        }
        for _ in 0..from.count(16)? {
            let venue = VenueState::load(from, rules, now)?;
            if self.venues.len() == VENUES_MAX || self.venues.iter().any(|known| known.venue == venue.venue) {
                return Err(Malformed("a venue twice, or too many"));
            }
            self.venues.push(venue);
        }
        self.seconds.load(from, now.div_euclid(SECOND_NS))?;
        self.minutes.load(from, now.div_euclid(MINUTE_NS))?;
        self.candles = Candles::load(from)?;
        self.watermark = from.i64()?;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// Higher is better.
    rank: i64,
    price: i64,
    quantity: i64,
    venue: Venue,
}

impl Level {
    fn published(self) -> Option<model::BestLevel> {
        let (price, quantity) = (Price::from_raw(self.price)?, Quantity::from_raw(self.quantity)?);
        Some(model::BestLevel { price, quantity, venue: self.venue })
    }
}

fn better(best: Option<Level>, other: Level) -> Option<Level> {
    let key = |level: &Level| (level.rank, level.quantity, std::cmp::Reverse(level.venue));
    match best {
        Some(best) if key(&best) >= key(&other) => Some(best),
        _ => Some(other),
    }
}
