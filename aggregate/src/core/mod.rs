//! The aggregation's pure core: ticks in, composite prices, candles and conversion rates out.
//!
//! [`Aggregator`] is a fold: the same records in the same order give the same outputs and the same state, byte
//! for byte, in every build. It reads no clock. Its time is the running maximum of the event times it was given;
//! a `Clock` record moves it on when no tick comes.
//!
//! **Times.** A venue's event time that lies further than `max_clock_skew` from the time of receipt is replaced by
//! it. An instrument's watermark is the event time that all its venues have reached; a venue more than
//! `idle_after` behind the core's time is not waited for, and times that we gave ourselves do not count. Live
//! prices never wait for the watermark; candles are final when it passes their end. A trade may come up to
//! `allowed_lateness` behind it and corrects what is final; a later one is counted and left out.
//!
//! **Feeds.** A quote stops counting as soon as its feed is silent, has a gap, or is down. Trades did happen and
//! stay in the windows, but while their feed is silent or down the venue goes stale as fast as a quote would. A
//! gap among trades, and whatever happens to a ticker feed, changes nothing.
//!
//! **Windows.** The price window, 1 s and 1 m keep trades and hold what came after `now - length`. 5 m and 1 h
//! are the last 300 and 3,600 one-second buckets, the current one included, 24 h the last 1,440 one-minute
//! buckets; so is a price window above 60 s. They count the instrument's own trades, from every venue.
//!
//! **Conversion.** The venues of `convert` enter an instrument's price, not its windows, candles, or best bid and
//! ask.

mod book;
mod bytes;
mod candles;
mod counters;
mod dedup;
mod emit;
mod exact;
mod index;
mod marks;
mod methods;
mod rates;
mod snapshot;
mod sums;
mod time;
mod venue;

use std::sync::Arc;

use model::{Candle, CompositePrice, Instrument, Name, Quote, Tick, TickBody, TickFlags, Ticker, Trade, Venue, topic};
use rustc_hash::FxHashMap;

use crate::config::Config;
use book::{Book, Outcome};
use candles::CandleTrade;
pub use counters::Counters;
use emit::Emit;
use index::{Index, Occasion, Scratch, Source};
use marks::Marks;
use rates::Rates;
pub use snapshot::{LOGIC_VERSION, RestoreError};
use time::Time;
use venue::VOLUME_RAW_MAX;

/// Event times that can be used: from 1970 to 2255, so that no window reaches past what an `i64` holds.
const TIMES: std::ops::RangeInclusive<i64> = 0..=9_000_000_000_000_000_000;

/// Where an input stands in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Partition of `ticks`.
    pub partition: u32,
    /// Offset in it.
    pub offset: u64,
}

/// What the core says.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// For `prices`.
    Price(CompositePrice),
    /// For `candles`.
    Candle(Candle),
    /// A conversion rate: a record for every partition of `ticks` that [`Config::consumers_of`] names, this one
    /// included.
    Rate(Tick),
}

/// The state of one partition of `ticks`.
#[derive(Debug)]
pub struct Aggregator {
    config: Arc<Config>,
    /// The inbox's topic, as causes carry it.
    topic: Name<23>,
    /// Offset of the next record.
    position: u64,
    time: Time,
    marks: Marks,
    rates: Rates,
    /// Every instrument that is priced or converted.
    books: Vec<Book>,
    /// Every priced instrument, by name.
    indices: Vec<Index>,
    /// Which indices count each book.
    counted_by: Vec<Vec<usize>>,
    /// Whose rules each book follows: its own index, or the first that converts it.
    ruled_by: Vec<usize>,
    /// Looked up, never walked.
    book_of: FxHashMap<Instrument, usize>,
    scratch: Scratch,
    counters: Counters,
}

impl Aggregator {
    /// An empty state.
    pub fn new(config: Arc<Config>) -> Self {
        let rates = Rates::new(&config);
        let mut books: Vec<Book> = config.priced().iter().map(|priced| Book::new(priced.instrument)).collect();
        let mut book_of: FxHashMap<Instrument, usize> =
            books.iter().enumerate().map(|(at, book)| (book.instrument, at)).collect();
        let mut ruled_by: Vec<usize> = (0..books.len()).collect();
        let mut indices = Vec::with_capacity(books.len());
        for (at, priced) in config.priced().iter().enumerate() {
            let mut sources = vec![Source { book: at, converter: None }];
            for conversion in &priced.conversions {
                let book = *book_of.entry(conversion.source).or_insert_with(|| {
                    books.push(Book::new(conversion.source));
                    ruled_by.push(at);
                    books.len() - 1
                });
                sources.push(Source { book, converter: Some(rates.converter(&conversion.factor)) });
            }
            indices.push(Index::new(priced.clone(), sources));
        }
        let mut counted_by = vec![Vec::new(); books.len()];
        for (at, index) in indices.iter().enumerate() {
            index.sources.iter().for_each(|source| counted_by[source.book].push(at));
        }
        Self {
            config,
            topic: topic::name(topic::TICKS),
            position: 0,
            time: Time::default(),
            marks: Marks::default(),
            rates,
            books,
            indices,
            counted_by,
            ruled_by,
            book_of,
            scratch: Scratch::default(),
            counters: Counters::default(),
        }
    }

    /// The configuration in force.
    pub const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Offset of the next record that [`Self::apply`] takes.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The core's time: the running maximum of event times.
    pub const fn now(&self) -> model::UnixNanos {
        model::UnixNanos(self.time.now())
    }

    /// What was counted since the state was made or restored.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Folds one record of the inbox; what follows from it is appended to `out`. A record below the position, of
    /// an older epoch, or seen before, changes nothing but the position.
    pub fn apply(&mut self, stamp: Stamp, tick: &Tick, out: &mut Vec<Output>) {
        if stamp.offset < self.position {
            self.counters.repeated += 1;
            return;
        }
        self.position = stamp.offset + 1;
        self.counters.records += 1;
        let claim = matches!(tick.body, TickBody::Claim(_));
        if !self.marks.accept(&tick.origin, stamp.offset, claim) {
            self.counters.repeated += 1;
            return;
        }
        let mut emit = Emit::new(stamp, self.topic, tick, out);
        match &tick.body {
            TickBody::Claim(_) => {}
            TickBody::Clock(_) => self.clock(tick, &mut emit),
            TickBody::Configure(configure) => {
                self.counters.other_config += u64::from(configure.hash != self.config.hash());
            }
            TickBody::Rate(rate) => {
                if let Some(at) = self.move_time(tick, i64::MAX, &mut emit) {
                    self.rate(rate, at, &mut emit);
                }
            }
            TickBody::Trade(trade) => {
                let Some(book) = self.book(trade.instrument) else { return };
                if let Some(at) = self.venue_time(tick, book, &mut emit) {
                    self.trade(book, at, trade, tick.flags, &mut emit);
                }
            }
            TickBody::Quote(quote) => {
                let Some(book) = self.book(quote.instrument) else { return };
                if let Some(at) = self.venue_time(tick, book, &mut emit) {
                    self.quote(book, at, quote, tick.flags, &mut emit);
                }
            }
            TickBody::Ticker(ticker) => {
                let Some(book) = self.book(ticker.instrument) else { return };
                if let Some(at) = self.venue_time(tick, book, &mut emit) {
                    self.ticker(book, at, ticker, tick.flags, &mut emit);
                }
            }
            TickBody::FeedState(state) => {
                let Some(book) = self.book(state.instrument) else { return };
                if self.venue_time(tick, book, &mut emit).is_none() {
                    return;
                }
                let Some(place) = self.venue(book, state.venue) else { return };
                self.books[book].venues[place].set_phase(state.channel, state.phase);
                self.after(book, &mut emit);
            }
            TickBody::Refresh(refresh) => {
                let Some(book) = self.book(refresh.instrument) else { return };
                if self.move_time(tick, 0, &mut emit).is_some() {
                    self.refresh(book, refresh.id, &mut emit);
                }
            }
        }
        self.counters.prices += u64::from(emit.prices);
        self.counters.candles += u64::from(emit.candles);
        self.counters.revisions += emit.revisions;
    }

    fn book(&mut self, instrument: Instrument) -> Option<usize> {
        let book = self.book_of.get(&instrument).copied();
        self.counters.unknown += u64::from(book.is_none());
        book
    }

    /// The place of a venue in a book; it becomes a member of every index that counts the book.
    fn venue(&mut self, book: usize, venue: Venue) -> Option<usize> {
        let rules = &self.indices[self.ruled_by[book]].priced.rules;
        let Some((place, is_new)) = self.books[book].venue(venue, rules) else {
            self.counters.unknown += 1;
            return None;
        };
        if is_new {
            for index in &self.counted_by[book] {
                self.indices[*index].add_member(&self.books, book, place);
            }
        }
        Some(place)
    }

    /// Moves the core's time to a venue's record and gives the event time that counts.
    fn venue_time(&mut self, tick: &Tick, book: usize, emit: &mut Emit<'_>) -> Option<i64> {
        let skew_ns = self.indices[self.ruled_by[book]].priced.rules.max_clock_skew_ns;
        self.move_time(tick, skew_ns, emit)
    }

    /// Moves the core's time to a record's event time, which is its time of receipt where the two are further
    /// apart than allowed.
    fn move_time(&mut self, tick: &Tick, skew_ns: i64, emit: &mut Emit<'_>) -> Option<i64> {
        let (event, received) = (tick.ts_event.0, tick.ts_recv.0);
        let at = if event.abs_diff(received) > skew_ns.unsigned_abs() {
            self.counters.skewed += 1;
            received
        } else {
            event
        };
        if !TIMES.contains(&at) || !TIMES.contains(&received) {
            self.counters.unusable += 1;
            return None;
        }
        self.follow(at, received, emit);
        Some(at)
    }

    /// Moves the core's time on; back, where the clock that it followed had been ahead.
    fn follow(&mut self, at: i64, received: i64, emit: &mut Emit<'_>) {
        if !self.time.follow(at, received) {
            return;
        }
        self.counters.clock_steps += 1;
        let now = self.time.now();
        for (book, ruled_by) in self.books.iter_mut().zip(&self.ruled_by) {
            let index = &self.indices[*ruled_by];
            let of = book.instrument;
            book.rewind(now, &mut emit.candle_sink(index, now, &of));
        }
        self.indices.iter_mut().for_each(|index| index.rewind(now));
        self.rates.rewind(now);
    }

    fn clock(&mut self, tick: &Tick, emit: &mut Emit<'_>) {
        if !TIMES.contains(&tick.ts_recv.0) {
            self.counters.unusable += 1;
            return;
        }
        self.follow(tick.ts_recv.0, tick.ts_recv.0, emit);
        for book in 0..self.books.len() {
            self.advance(book, emit);
        }
        for index in 0..self.indices.len() {
            self.publish(index, None, emit);
        }
    }

    fn rate(&mut self, rate: &model::Rate, at: i64, emit: &mut Emit<'_>) {
        if !self.rates.set(rate.instrument, rate.price, at) {
            self.counters.unknown += 1;
            return;
        }
        for index in 0..self.indices.len() {
            if self.indices[index].priced.conversions.iter().flat_map(|c| c.rates()).any(|r| r == rate.instrument) {
                self.publish(index, None, emit);
            }
        }
    }

    fn trade(&mut self, book: usize, at: i64, trade: &Trade, flags: TickFlags, emit: &mut Emit<'_>) {
        if flags.any(TickFlags::OFF_BOOK | TickFlags::HISTORIC) {
            self.counters.off_book += u64::from(flags.any(TickFlags::OFF_BOOK));
            self.counters.historic += u64::from(flags.any(TickFlags::HISTORIC));
            return;
        }
        if !trade.price.is_positive() || !trade.quantity.is_positive() {
            self.counters.unusable += 1;
            return;
        }
        let Some(place) = self.venue(book, trade.venue) else { return };
        let index = &self.indices[self.ruled_by[book]];
        let (price, quantity) = (trade.price.raw(), trade.quantity.raw());
        let counted = CandleTrade { at, venue: trade.venue, id: trade.id, price, quantity };
        let rules = &index.priced.rules;
        let mut sink = emit.candle_sink(index, self.time.now(), &self.books[book].instrument);
        let outcome = self.books[book].trade(place, &counted, rules, self.time.now(), &mut self.counters, &mut sink);
        if matches!(outcome, Outcome::Counted) {
            self.heard(book, place, at, flags);
        }
        self.after(book, emit);
    }

    fn quote(&mut self, book: usize, at: i64, quote: &Quote, flags: TickFlags, emit: &mut Emit<'_>) {
        let raws = [quote.bid.raw(), quote.bid_quantity.raw(), quote.ask.raw(), quote.ask_quantity.raw()];
        if raws.iter().any(|raw| *raw < 0) {
            self.counters.unusable += 1;
            return;
        }
        if quote.bid.is_positive() && quote.ask.is_positive() && quote.bid > quote.ask {
            self.counters.crossed += 1;
            return;
        }
        let Some(place) = self.venue(book, quote.venue) else { return };
        self.books[book].venues[place].set_quote(at, quote, flags);
        self.counters.quotes += 1;
        self.heard(book, place, at, flags);
        self.after(book, emit);
    }

    fn ticker(&mut self, book: usize, at: i64, ticker: &Ticker, flags: TickFlags, emit: &mut Emit<'_>) {
        if !ticker.last.is_positive() || !(0..=VOLUME_RAW_MAX).contains(&ticker.volume_24h.raw()) {
            self.counters.unusable += 1;
            return;
        }
        let Some(place) = self.venue(book, ticker.venue) else { return };
        self.books[book].venues[place].set_ticker(at, ticker);
        self.counters.tickers += 1;
        // A polled answer says nothing of what the streams have delivered.
        self.heard(book, place, at, TickFlags(flags.0 | TickFlags::TIME_REPLACED));
        self.after(book, emit);
    }

    /// Lets the watermark see a time that the venue itself gave.
    fn heard(&mut self, book: usize, place: usize, at: i64, flags: TickFlags) {
        if !flags.any(TickFlags::TIME_REPLACED | TickFlags::POLLED) {
            self.books[book].heard(place, at);
        }
    }

    fn refresh(&mut self, book: usize, id: u64, emit: &mut Emit<'_>) {
        // A source that is only converted has no price of its own.
        let Some(index) = self.indices.get(book).map(|_| book) else {
            self.counters.unknown += 1;
            return;
        };
        self.advance(book, emit);
        self.publish(index, Some(id), emit);
        self.counters.unanswered += u64::from(!self.indices[index].has_price());
    }

    /// Closes candles and publishes what a change in a book leads to.
    fn after(&mut self, book: usize, emit: &mut Emit<'_>) {
        self.advance(book, emit);
        for at in 0..self.counted_by[book].len() {
            self.publish(self.counted_by[book][at], None, emit);
        }
    }

    fn advance(&mut self, book: usize, emit: &mut Emit<'_>) {
        let index = &self.indices[self.ruled_by[book]];
        let mut sink = emit.candle_sink(index, self.time.now(), &self.books[book].instrument);
        self.books[book].advance(&index.priced.rules, self.time.now(), &mut sink);
    }

    fn publish(&mut self, index: usize, refresh: Option<u64>, emit: &mut Emit<'_>) {
        let occasion = Occasion { now: self.time.now(), ts_recv: emit.ts_recv(), cause: emit.price_cause(), refresh };
        let index = &mut self.indices[index];
        if let Some(price) = index.publish(&mut self.books, &self.rates, &mut self.scratch, &occasion) {
            if self.rates.needs(index.instrument()) {
                emit.rate(&price);
            }
            emit.price(price);
        }
    }
}
