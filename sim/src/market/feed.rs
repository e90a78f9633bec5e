//! One instrument on one venue: its book and trades, drawn around the fair price.

use model::{Price, Quantity, Side};

use super::book::{Book, Level};
use super::day::Day;
use super::fair::FairPrice;
use super::instrument::InstrumentConfig;
use super::random::Random;

/// Price levels kept on each side.
pub(crate) const BOOK_DEPTH: usize = 100;
/// Trades among the events; each trade also changes the best quote, so an event is 1.25 ticks.
const TRADE_SHARE_PPM: u32 = 250_000;
const SECOND_NANOS: u64 = 1_000_000_000;
/// Reach of a full side from its best price, in parts per million of the price.
const REACH_PPM: i64 = 2_000;

/// How a venue differs from the fair price and from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Character {
    /// Share of the market's volume, in percent.
    pub volume_share_pct: u32,
    /// Half of the typical spread, in hundredths of a basis point.
    pub half_spread_bps_100: u32,
    /// Constant distance from the fair price, in hundredths of a basis point.
    pub bias_bps_100: i32,
    /// How late the venue follows the fair price, in milliseconds.
    pub lag_ms: u32,
}

/// A trade as the venue made it, in ticks and lots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fill {
    /// Rises by one with each trade of the instrument on the venue.
    pub(crate) id: u64,
    /// In ticks.
    pub(crate) price: i64,
    /// In lots.
    pub(crate) quantity: i64,
    /// Who took liquidity.
    pub(crate) taker_side: Side,
    /// A block trade, agreed outside the book: one in 512 where the venue marks them.
    pub(crate) block: bool,
}

/// The generator of one instrument's events.
#[derive(Debug)]
pub(crate) struct Feed {
    /// The listing.
    pub(crate) config: InstrumentConfig,
    /// The book after the last event.
    pub(crate) book: Book,
    /// 24-hour figures.
    pub(crate) day: Day,
    /// The last fills, oldest first, at most [`RECENT_MAX`].
    pub(crate) recent: std::collections::VecDeque<(u64, Fill)>,
    /// Price factor of an outlier fault, in basis points on top of 10000.
    pub(crate) outlier_bps: i32,
    character: Character,
    random: Random,
    fair: FairPrice,
    next_trade_id: u64,
    gap_mean_nanos: u64,
    trade_lots_mean: i64,
}

/// Fills kept for snapshots.
pub(crate) const RECENT_MAX: usize = 50;

impl Feed {
    /// The feed of `config` on a venue, whose trade ids begin above `trade_ids_from`.
    pub(crate) fn new(
        seed: u64,
        venue: &str,
        config: InstrumentConfig,
        character: Character,
        trade_ids_from: u64,
    ) -> Self {
        let instrument = config.instrument;
        let mut random = Random::new(seed, &["feed", venue, instrument.as_str()]);
        let fair = FairPrice::new(seed, instrument.base(), config.price.raw(), config.motion);
        let lots_24h = (i128::from(config.volume_24h.raw()) * i128::from(character.volume_share_pct.max(1)) / 100)
            as i64
            / config.lot.raw();
        let rate = u64::from(config.ticks_per_second);
        // 1.25 ticks an event, a quarter of the events trades: a fifth of the ticks are trades.
        let trades_24h = (86_400 * rate / 5).max(1) as i64;
        let next_trade_id = trade_ids_from + 100_000_000 + random.below(900_000_000);
        let mut feed = Self {
            book: Book { update_id: 10_000_000_000 + random.below(50_000_000_000), ..Book::default() },
            day: Day::new(lots_24h, config.price.raw() / config.tick.raw()),
            recent: std::collections::VecDeque::with_capacity(RECENT_MAX),
            outlier_bps: 0,
            character,
            random,
            fair,
            next_trade_id,
            gap_mean_nanos: SECOND_NANOS * 5 / 4 / rate,
            trade_lots_mean: (lots_24h / trades_24h).max(1),
            config,
        };
        feed.recenter(0);
        feed.prehistory();
        feed
    }

    /// A price in ticks as a number.
    pub(crate) fn price(&self, ticks: i64) -> Price {
        Price::from_raw(self.price_raw(ticks)).unwrap_or(Price::MAX)
    }

    /// A quantity in lots as a number.
    pub(crate) fn quantity(&self, lots: i64) -> Quantity {
        Quantity::from_raw(self.quantity_raw(lots)).unwrap_or(Quantity::MAX)
    }

    /// A price in units of 1e-8.
    pub(crate) fn price_raw(&self, ticks: i64) -> i64 {
        ticks.saturating_mul(self.config.tick.raw())
    }

    /// A quantity in units of 1e-8.
    pub(crate) fn quantity_raw(&self, lots: i64) -> i64 {
        lots.saturating_mul(self.config.lot.raw())
    }

    /// The volume of 24 hours in units of 1e-8.
    pub(crate) fn volume_raw(&self) -> i64 {
        i64::try_from(self.day.lots() * i128::from(self.config.lot.raw())).unwrap_or(i64::MAX)
    }

    /// The turnover of 24 hours in units of 1e-16.
    pub(crate) fn turnover_raw(&self) -> i128 {
        self.day.turnover() * i128::from(self.config.tick.raw()) * i128::from(self.config.lot.raw())
    }

    /// Decimal places of a price.
    pub(crate) fn price_places(&self) -> u8 {
        places(self.config.tick.raw())
    }

    /// Trades from before the start, so that snapshots of recent trades are full.
    fn prehistory(&mut self) {
        for index in 0..RECENT_MAX as u64 {
            let fill = self.draw_fill();
            // Their quantities are part of the first day's volume already; they only need to be shown.
            self.recent.push_back((index, fill));
        }
    }

    /// Nanoseconds until the next event: bursts of a quarter of the mean gap, with longer pauses between.
    pub(crate) fn gap(&mut self) -> u64 {
        let mean = self.gap_mean_nanos;
        let burst = self.random.chance_ppm(750_000);
        let bound = if burst { mean / 2 } else { mean * 13 / 2 };
        1 + self.random.below(bound.max(1))
    }

    /// One event at `nanos` since the start: the book follows the fair price, the best quote changes, and in
    /// a quarter of the events a trade takes liquidity.
    pub(crate) fn step(&mut self, nanos: u64) -> Option<Fill> {
        self.book.changes.clear();
        self.recenter(nanos);
        if self.random.chance_ppm(TRADE_SHARE_PPM) {
            let fill = self.draw_fill();
            if !fill.block {
                let maker = opposite(fill.taker_side);
                let best = self.book.side(maker)[0];
                self.book.set(maker, best.price, best.quantity - fill.quantity);
            }
            self.day.trade(nanos, fill.price, fill.quantity);
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back((nanos, fill));
            self.refill();
            return Some(fill);
        }
        self.requote();
        self.refill();
        None
    }

    fn draw_fill(&mut self) -> Fill {
        let taker_side = if self.random.chance_ppm(500_000) { Side::Buy } else { Side::Sell };
        let best = self.book.side(opposite(taker_side))[0];
        let quantity = self.random.size(self.trade_lots_mean).min(best.quantity);
        let block = self.random.below(512) == 0;
        let id = self.next_trade_id;
        self.next_trade_id += 1;
        Fill { id, price: best.price, quantity, taker_side, block }
    }

    /// Changes the quantity at a best price and, every other time, a level behind it.
    fn requote(&mut self) {
        let side = if self.random.chance_ppm(500_000) { Side::Buy } else { Side::Sell };
        let best = self.book.side(side)[0];
        let mut quantity = self.level_lots();
        if quantity == best.quantity {
            quantity += 1;
        }
        self.book.set(side, best.price, quantity);
        if self.random.chance_ppm(500_000) {
            let levels = self.book.side(side).len() as u64;
            // The product of two draws prefers levels near the best.
            let at = self.random.below(levels) * self.random.below(levels) / levels;
            let level = self.book.side(side)[at.max(1) as usize];
            let removed = self.random.chance_ppm(300_000);
            let quantity = if removed { 0 } else { self.level_lots() };
            self.book.set(side, level.price, quantity);
        }
    }

    fn level_lots(&mut self) -> i64 {
        self.random.size(self.trade_lots_mean.saturating_mul(6))
    }

    /// Moves both sides to the present fair price, so that bids end below it and asks begin above it.
    fn recenter(&mut self, nanos: u64) {
        let fair = self.fair.at(nanos.saturating_sub(u64::from(self.character.lag_ms) * 1_000_000));
        let factor = i128::from(1_000_000 + self.character.bias_bps_100) * i128::from(10_000 + self.outlier_bps);
        let centre = (i128::from(fair) * factor / 10_000_000_000) as i64 / self.config.tick.raw();
        let half = (centre.saturating_mul(i64::from(self.character.half_spread_bps_100)) / 1_000_000).max(1);
        let (highest_bid, lowest_ask) = ((centre - half).max(2), centre + half);
        for (side, limit) in [(Side::Buy, highest_bid), (Side::Sell, lowest_ask)] {
            let beyond = |level: &Level| if side == Side::Buy { level.price > limit } else { level.price < limit };
            while let Some(best) = self.book.side(side).first().copied().filter(beyond) {
                self.book.set(side, best.price, 0);
            }
            let best = self.book.side(side).first().map(|level| level.price);
            if best.is_none_or(|best| (best - limit).abs() > half) {
                let inside = self.random.below(half as u64) as i64;
                let price = if side == Side::Buy { limit - inside } else { limit + inside };
                let quantity = self.level_lots();
                self.book.set(side, price.max(1), quantity);
            }
        }
        self.refill();
    }

    /// Adds levels behind the last one, or drops the last ones, until each side has its depth.
    fn refill(&mut self) {
        for side in [Side::Buy, Side::Sell] {
            let best = self.book.side(side).first().map_or(1_000, |level| level.price);
            let reach = (best.saturating_mul(REACH_PPM) / 1_000_000).max(BOOK_DEPTH as i64);
            while self.book.side(side).len() > BOOK_DEPTH {
                let last = self.book.side(side)[BOOK_DEPTH];
                self.book.set(side, last.price, 0);
            }
            while self.book.side(side).len() < BOOK_DEPTH {
                let filled = self.book.side(side).len() as u64 + 1;
                // Gaps grow towards the far end; on average the side spans its reach.
                let gap_max = (2 * reach as u64 * filled / (BOOK_DEPTH * BOOK_DEPTH / 2) as u64).max(1);
                let gap = 1 + self.random.below(gap_max) as i64;
                let last = self.book.side(side).last().map_or(best, |level| level.price);
                let price = if side == Side::Buy { last - gap } else { last + gap };
                if price < 1 {
                    break;
                }
                let quantity = self.level_lots();
                self.book.set(side, price, quantity);
            }
        }
    }
}

/// Decimal places of the multiples of a step in units of 1e-8.
fn places(step: i64) -> u8 {
    (0..8).find(|places| step % 10i64.pow(8 - u32::from(*places)) == 0).unwrap_or(8)
}

/// The other side.
pub(crate) const fn opposite(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(name: &str) -> Feed {
        let config = InstrumentConfig::named(name.parse().expect("an instrument"));
        let character = Character { volume_share_pct: 50, half_spread_bps_100: 5, bias_bps_100: 20, lag_ms: 40 };
        Feed::new(9, "kraken", config, character, 0)
    }

    #[test]
    fn books_stay_whole() {
        for name in ["BTC-USDT", "USDT-USD", "DOGE-USDT", "TRX-USDT"] {
            let mut feed = feed(name);
            let (mut at, mut trades, mut events, mut unchanged) = (0, 0u64, 0u64, 0u64);
            while at < 120 * SECOND_NANOS {
                at += feed.gap();
                let before = feed.book.best();
                let fill = feed.step(at);
                events += 1;
                trades += u64::from(fill.is_some());
                unchanged += u64::from(feed.book.best() == before);
                let (bids, asks) = (&feed.book.bids, &feed.book.asks);
                assert_eq!((bids.len(), asks.len()), (BOOK_DEPTH, BOOK_DEPTH), "{name}");
                assert!(bids[0].price < asks[0].price, "{name} crossed at {at}");
                assert!(bids.is_sorted_by(|a, b| a.price > b.price) && asks.is_sorted_by(|a, b| a.price < b.price));
                assert!(bids.iter().chain(asks).all(|level| level.quantity > 0 && level.price > 0));
                if let Some(fill) = fill {
                    assert!(fill.quantity > 0 && fill.price > 0);
                }
            }
            // A new best level that is taken at once leaves the old one; all but a few events change the best.
            assert!(unchanged * 50 < events, "{name}: {unchanged} of {events} events changed nothing");
            let ticks = events + trades;
            let expected = u64::from(feed.config.ticks_per_second) * 120;
            assert!(ticks * 10 > expected * 8 && ticks * 10 < expected * 12, "{name}: {ticks} of {expected} ticks");
        }
    }

    #[test]
    fn an_outlier_moves_the_whole_book() {
        let mut feed = feed("BTC-USDT");
        let before = feed.book.bids[0].price;
        feed.outlier_bps = 2_000;
        feed.step(SECOND_NANOS);
        let after = feed.book.bids[0].price;
        assert!((before * 119 / 100..before * 121 / 100).contains(&after), "{before} {after}");
        feed.outlier_bps = 0;
        feed.step(2 * SECOND_NANOS);
        assert!(feed.book.bids[0].price < before * 101 / 100);
    }
}
