//! What is known of one instrument on one venue, and what it says at a moment.

use model::{Channel, ConstituentState, FeedPhase, Quote, TickFlags, Ticker, TradeId, Venue};

use super::bytes::{Malformed, Reader, put_i64, put_i128, put_option, put_text, put_trade_id, put_u64};
use super::dedup::RecentIds;
use super::exact::{ONE, as_price, div_half_even, midpoint};
use super::sums::{Bucket, Sliding, Sums, TradeEntry};
use crate::config::{PriceSource, Rules, StaleAfter, Weights};

const SECOND_NS: i64 = 1_000_000_000;
const DAY_MS: i128 = 86_400_000;
/// A 24 h volume of more base units than this is no volume.
pub(super) const VOLUME_RAW_MAX: i128 = 1 << 90;
/// Windows up to this length keep trades.
const TRADES_SPAN_MAX_NS: i64 = 60 * SECOND_NS;

/// Windows of the trades kept.
pub(super) const WINDOW_1S: usize = 0;
pub(super) const WINDOW_60S: usize = 1;
const WINDOW_PRICE: usize = 2;

/// The newest trade by event time and id.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastTrade {
    pub(super) at: i64,
    pub(super) id: TradeId,
    pub(super) price: i64,
}

/// The newest quote. Prices and quantities are zero where a side is empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastQuote {
    pub(super) at: i64,
    pub(super) sequence: u64,
    pub(super) bid: i64,
    pub(super) bid_quantity: i64,
    pub(super) ask: i64,
    pub(super) ask_quantity: i64,
    from_book: bool,
    /// False once the feed reported a fault: the venue moved on without us.
    valid: bool,
}

/// The newest ticker.
#[derive(Debug, Clone, Copy)]
struct LastTicker {
    at: i64,
    price: i64,
    volume_24h: i128,
}

/// One instrument on one venue.
#[derive(Debug)]
pub(super) struct VenueState {
    pub(super) venue: Venue,
    pub(super) trades: Sliding<TradeEntry, 3>,
    /// The price window where it is longer than trades are kept for.
    long: Option<LongWindow>,
    pub(super) ids: RecentIds,
    pub(super) last_trade: Option<LastTrade>,
    pub(super) quote: Option<LastQuote>,
    ticker: Option<LastTicker>,
    trades_phase: FeedPhase,
    /// Newest event time that the venue itself gave; the watermark waits for it.
    pub(super) newest_event: Option<i64>,
    /// The window's average and the version of the window that it belongs to; not part of the state.
    average: (u64, Option<i64>),
}

#[derive(Debug)]
struct LongWindow {
    buckets: Sliding<Bucket, 1>,
    bucket_ns: i64,
}

/// What a venue says at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    /// Its price, unconverted.
    pub(super) price: i64,
    /// What its weight comes from: base units in units of 1e-8.
    pub(super) volume: i128,
    pub(super) weight: i128,
    /// Event time of what the price comes from.
    pub(super) newest: i64,
    /// `Used`, `Stale` or `Thin`.
    pub(super) state: ConstituentState,
}

impl VenueState {
    pub(super) fn new(venue: Venue, rules: &Rules) -> Self {
        let kept = rules.window_ns <= TRADES_SPAN_MAX_NS;
        let bucket_ns = if rules.window_ns <= 3_600 * SECOND_NS { SECOND_NS } else { 60 * SECOND_NS };
        let price_span = if kept { rules.window_ns } else { TRADES_SPAN_MAX_NS };
        Self {
            venue,
            trades: Sliding::new([SECOND_NS, TRADES_SPAN_MAX_NS, price_span]),
            long: (!kept).then(|| LongWindow { buckets: Sliding::new([rules.window_ns / bucket_ns]), bucket_ns }),
            ids: RecentIds::new(rules.dedup_ids),
            last_trade: None,
            quote: None,
            ticker: None,
            trades_phase: FeedPhase::Live,
            newest_event: None,
            average: (u64::MAX, None),
        }
    }

    /// Moves the windows on.
    pub(super) fn advance(&mut self, now: i64) {
        self.trades.advance(now);
        if let Some(long) = &mut self.long {
            long.buckets.advance(now.div_euclid(long.bucket_ns));
        }
    }

    /// Goes back to `now`: what lies after it is forgotten.
    pub(super) fn rewind(&mut self, now: i64) {
        self.trades.rewind(now);
        if let Some(long) = &mut self.long {
            long.buckets.rewind(now.div_euclid(long.bucket_ns));
        }
        self.last_trade = self.last_trade.filter(|last| last.at <= now);
        self.quote = self.quote.filter(|last| last.at <= now);
        self.ticker = self.ticker.filter(|last| last.at <= now);
        self.newest_event = self.newest_event.filter(|at| *at <= now);
    }

    /// Adds a trade; the windows stand at `now`. True when an older one had to make room.
    pub(super) fn add_trade(&mut self, id: TradeId, entry: TradeEntry, kept: u32, now: i64) -> bool {
        let full = self.trades.len() >= kept as usize;
        if full {
            self.trades.displace_oldest();
        }
        self.trades.insert(entry, now);
        if let Some(long) = &mut self.long {
            let (number, current) = (entry.at.div_euclid(long.bucket_ns), now.div_euclid(long.bucket_ns));
            long.buckets.add(number, Sums::of(entry.price, entry.quantity), current);
        }
        if self.last_trade.is_none_or(|last| (entry.at, id) > (last.at, last.id)) {
            self.last_trade = Some(LastTrade { at: entry.at, id, price: entry.price });
        }
        full
    }

    /// Takes a quote unless a newer one is there. The caller has checked that it is one.
    pub(super) fn set_quote(&mut self, at: i64, quote: &Quote, flags: TickFlags) {
        if self.quote.is_some_and(|last| (at, quote.sequence) < (last.at, last.sequence)) {
            return;
        }
        self.quote = Some(LastQuote {
            at,
            sequence: quote.sequence,
            bid: quote.bid.raw(),
            bid_quantity: quote.bid_quantity.raw(),
            ask: quote.ask.raw(),
            ask_quantity: quote.ask_quantity.raw(),
            from_book: flags.any(TickFlags::FROM_BOOK),
            valid: true,
        });
    }

    /// Takes a ticker unless a newer one is there. The caller has checked that it is one.
    pub(super) fn set_ticker(&mut self, at: i64, ticker: &Ticker) {
        if self.ticker.is_none_or(|last| at >= last.at) {
            let volume_24h = ticker.volume_24h.raw();
            self.ticker = Some(LastTicker { at, price: ticker.last.raw(), volume_24h });
        }
    }

    /// Notes a feed's condition. A quote does not outlive its feed: until the next one it is unknown. Trades
    /// remain facts, but while their feed is away or silent they go stale as fast as quotes do. A gap among
    /// trades changes nothing: what is there did happen.
    pub(super) fn set_phase(&mut self, channel: Channel, phase: FeedPhase) {
        match (channel, phase) {
            (Channel::Quotes, FeedPhase::Live) | (Channel::Ticker, _) | (Channel::Trades, FeedPhase::Gap) => {}
            (Channel::Quotes, _) => {
                if let Some(quote) = &mut self.quote {
                    quote.valid = false;
                }
            }
            (Channel::Trades, phase) => self.trades_phase = phase,
        }
    }

    /// The newest quote, while it counts.
    pub(super) fn fresh_quote(&self, stale: &StaleAfter, now: i64) -> Option<&LastQuote> {
        let quote = self.quote.as_ref().filter(|quote| quote.valid)?;
        let limit = if quote.from_book { stale.books_ns } else { stale.quotes_ns };
        (now.saturating_sub(quote.at) <= limit).then_some(quote)
    }

    fn window_sums(&self) -> Sums {
        match &self.long {
            Some(long) => *long.buckets.sums(0),
            None => *self.trades.sums(WINDOW_PRICE),
        }
    }

    /// The trades of the price window; only where it keeps trades.
    pub(super) fn window_trades(&self) -> impl DoubleEndedIterator<Item = &TradeEntry> {
        self.trades.window(WINDOW_PRICE)
    }

    /// The price window's average, rounded half to even at 1e-8.
    fn window_average(&mut self) -> Option<i64> {
        let version = self.long.as_ref().map_or_else(|| self.trades.version(), |long| long.buckets.version());
        if self.average.0 != version {
            let sums = self.window_sums();
            let average = (sums.volume > 0).then(|| div_half_even(sums.notional, sums.volume)).and_then(as_price);
            self.average = (version, average);
        }
        self.average.1
    }

    fn trades_fresh(&self, stale: &StaleAfter, now: i64) -> bool {
        let limit = match self.trades_phase {
            FeedPhase::Live | FeedPhase::Gap => stale.trades_ns,
            FeedPhase::Silent | FeedPhase::Down => stale.trades_ns.min(stale.quotes_ns),
        };
        self.last_trade.is_some_and(|last| now.saturating_sub(last.at) <= limit)
    }

    /// The 24 h volume, while it counts.
    fn fresh_volume(&self, stale: &StaleAfter, now: i64) -> Option<i128> {
        let ticker = self.ticker.filter(|ticker| ticker.volume_24h > 0)?;
        (now.saturating_sub(ticker.at) <= stale.volumes_ns).then_some(ticker.volume_24h)
    }

    /// What the venue says now, by these rules; nothing when it never gave a price. The windows stand at `now`.
    pub(super) fn observe(&mut self, rules: &Rules, now: i64) -> Option<Observation> {
        let stale = &rules.stale_after;
        let sums = self.window_sums();
        let found = self.price_now(rules, now);
        let traded = if sums.volume > 0 {
            sums.volume
        } else {
            self.fresh_volume(stale, now).unwrap_or(0) * i128::from(rules.window_ns / 1_000_000) / DAY_MS
        };
        let (volume, weight) = match rules.weights() {
            Weights::TradedInWindow => (traded, traded),
            Weights::Volume24h => {
                let volume = self.fresh_volume(stale, now).unwrap_or(0);
                (volume, volume)
            }
            Weights::Equal => (traded, 1),
            Weights::Fixed => {
                let fixed = rules.fixed_weights.iter().find(|(venue, _)| *venue == self.venue);
                (traded, fixed.map_or(0, |(_, weight)| i128::from(weight.raw())))
            }
        };
        let Some((price, newest)) = found else {
            let (price, newest) = self.price_once()?;
            return Some(Observation { price, volume, weight: 0, newest, state: ConstituentState::Stale });
        };
        let needs_trades = rules.min_trades > 1 && self.last_trade.is_some();
        let thin =
            (needs_trades && sums.trades < u64::from(rules.min_trades)) || traded < i128::from(rules.min_volume.raw());
        let state = if thin { ConstituentState::Thin } else { ConstituentState::Used };
        Some(Observation { price, volume, weight, newest, state })
    }

    /// The price that counts now, and its event time.
    fn price_now(&mut self, rules: &Rules, now: i64) -> Option<(i64, i64)> {
        let stale = &rules.stale_after;
        let by_trades = match (rules.price_source, self.last_trade) {
            (PriceSource::TradeVwap, Some(last)) if self.trades_fresh(stale, now) => {
                self.window_average().map(|average| (average, last.at))
            }
            (PriceSource::LastTrade, Some(last)) if self.trades_fresh(stale, now) => Some((last.price, last.at)),
            _ => None,
        };
        by_trades.or_else(|| self.fresh_mid(rules, now)).or_else(|| {
            // A venue that gives nothing else is taken at its word; one that trades or quotes is not, since the
            // last price of a quiet venue is as old as its last trade.
            let silent_since = |at: i64| now.saturating_sub(at) > stale.volumes_ns;
            let ticker = self.ticker.filter(|ticker| now.saturating_sub(ticker.at) <= stale.tickers_ns)?;
            let only_tickers = self.last_trade.is_none_or(|last| silent_since(last.at))
                && self.quote.is_none_or(|last| silent_since(last.at));
            only_tickers.then_some((ticker.price, ticker.at))
        })
    }

    /// Halfway between fresh bid and ask no further apart than the rules allow.
    fn fresh_mid(&self, rules: &Rules, now: i64) -> Option<(i64, i64)> {
        let quote = self.fresh_quote(&rules.stale_after, now)?;
        if quote.bid <= 0 || quote.ask <= 0 {
            return None;
        }
        let mid = midpoint(quote.bid, quote.ask);
        let spread = i128::from(quote.ask) - i128::from(quote.bid);
        let allowed = i128::from(mid) * i128::from(rules.max_spread_bps.raw());
        (spread * 10_000 * ONE <= allowed).then_some((mid, quote.at))
    }

    /// The last price there was, for showing what is stale.
    fn price_once(&self) -> Option<(i64, i64)> {
        let trade = self.last_trade.map(|last| (last.price, last.at));
        let mid = self.quote.filter(|quote| quote.bid > 0 && quote.ask > 0);
        let mid = mid.map(|quote| (midpoint(quote.bid, quote.ask), quote.at));
        let ticker = self.ticker.map(|ticker| (ticker.price, ticker.at));
        [trade, mid, ticker].into_iter().flatten().max_by_key(|(_, at)| *at)
    }

    /// How unsure the venue's own price is, after Pyth: half its spread, or else the standard deviation of the
    /// newest trades in the window, 64 at most.
    pub(super) fn uncertainty(&self, stale: &StaleAfter, now: i64) -> i64 {
        if let Some(quote) = self.fresh_quote(stale, now).filter(|quote| quote.bid > 0 && quote.ask > 0) {
            return (quote.ask - quote.bid) / 2;
        }
        let (mut count, mut sum, mut squares) = (0i128, 0i128, 0i128);
        let Some(last) = self.window_trades().next_back().copied() else { return 0 };
        for trade in self.window_trades().rev().take(64) {
            // The spread is the same around any centre; around the newest the squares stay small.
            let difference = i128::from(trade.price - last.price).clamp(-(1 << 50), 1 << 50);
            count += 1;
            sum += difference;
            squares += difference * difference;
        }
        let variance = (count * squares - sum * sum).unsigned_abs();
        i64::try_from(variance.isqrt() / count.unsigned_abs()).unwrap_or(i64::MAX)
    }

    pub(super) fn save(&self, out: &mut Vec<u8>, now: i64) {
        put_text(out, self.venue.as_bytes());
        self.trades.save(out, now);
        put_option(out, self.long.as_ref(), |out, long| {
            put_i64(out, long.bucket_ns);
            long.buckets.save(out, now.div_euclid(long.bucket_ns));
        });
        self.ids.save(out);
        put_option(out, self.last_trade.as_ref(), |out, last| {
            put_i64(out, last.at);
            put_trade_id(out, last.id);
            put_i64(out, last.price);
        });
        put_option(out, self.quote.as_ref(), |out, quote| {
            put_i64(out, quote.at);
            put_u64(out, quote.sequence);
            for raw in [quote.bid, quote.bid_quantity, quote.ask, quote.ask_quantity] {
                put_i64(out, raw);
            }
            out.extend_from_slice(&[u8::from(quote.from_book), u8::from(quote.valid)]);
        });
        put_option(out, self.ticker.as_ref(), |out, ticker| {
            put_i64(out, ticker.at);
            put_i64(out, ticker.price);
            put_i128(out, ticker.volume_24h);
        });
        out.push(match self.trades_phase {
            FeedPhase::Live => 0,
            FeedPhase::Silent => 1,
            FeedPhase::Gap => 2,
            FeedPhase::Down => 3,
        });
        put_option(out, self.newest_event.as_ref(), |out, at| put_i64(out, *at));
    }

    pub(super) fn load(from: &mut Reader<'_>, rules: &Rules, now: i64) -> Result<Self, Malformed> {
        let mut state = Self::new(from.name()?, rules);
        state.trades.load(from, now)?;
        while state.trades.len() > rules.trades_kept as usize {
            state.trades.displace_oldest();
        }
        if from.bool()? {
            let bucket_ns = from.i64()?.max(1);
            let number = now.div_euclid(bucket_ns);
            match &mut state.long {
                Some(long) if long.bucket_ns == bucket_ns => long.buckets.load(from, number)?,
                // Another configuration's window: it fills anew.
                _ => Sliding::<Bucket, 1>::new([1]).load(from, number)?,
            }
        }
        state.ids.load(from)?;
        state.last_trade =
            from.option(|from| Ok(LastTrade { at: from.i64()?, id: from.trade_id()?, price: from.price()?.raw() }))?;
        state.quote = from.option(|from| {
            Ok(LastQuote {
                at: from.i64()?,
                sequence: from.u64()?,
                bid: from.price()?.raw(),
                bid_quantity: from.quantity()?.raw(),
                ask: from.price()?.raw(),
                ask_quantity: from.quantity()?.raw(),
                from_book: from.bool()?,
                valid: from.bool()?,
            })
        })?;
        state.ticker = from
            .option(|from| Ok(LastTicker { at: from.i64()?, price: from.price()?.raw(), volume_24h: from.i128()? }))?;
        if state.ticker.is_some_and(|ticker| !(0..=VOLUME_RAW_MAX).contains(&ticker.volume_24h)) {
            return Err(Malformed("a volume out of range"));
        }
        state.trades_phase = match from.u8()? {
            0 => FeedPhase::Live,
            1 => FeedPhase::Silent,
            2 => FeedPhase::Gap,
            3 => FeedPhase::Down,
            _ => return Err(Malformed("a feed phase")),
        };
        state.newest_event = from.option(Reader::i64)?;
        Ok(state)
    }
}
