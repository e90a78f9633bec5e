//! One priced instrument: which venues it has, what was published last, when to publish again.

use model::{
    CompositePrice, Constituent, Instrument, Price, PriceStatus, PublishReason, Quantity, UnixNanos, Venue, Volume,
};

use super::book::Book;
use super::bytes::{Malformed, Reader, put_count, put_i64, put_option, put_text, put_u64};
use super::exact::{ONE, as_price, div_half_even};
use super::methods::{Candidate, Composite, compose, share_out, weighted_middle};
use super::rates::{Converter, Rates, Ratio};
use crate::config::{Method, Priced};

/// Where an index finds venues: a book, and how its prices are converted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) book: usize,
    /// None for the instrument's own book.
    pub(super) converter: Option<Converter>,
}

/// A venue of an index.
#[derive(Debug)]
struct Member {
    venue: Venue,
    source: usize,
    /// Place among the venues of the source's book.
    place: usize,
    /// When it last was excluded for its price.
    excluded_at: Option<i64>,
}

/// The last published price.
#[derive(Debug, Clone, Copy)]
struct Published {
    at: i64,
    raw: i64,
    status: PriceStatus,
    /// Event time of the newest venue behind the price.
    newest: i64,
}

/// One priced instrument.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) priced: Priced,
    pub(super) sources: Vec<Source>,
    /// Ordered by venue, then by instrument.
    members: Vec<Member>,
    sequence: u64,
    last: Option<Published>,
}

/// Memory that computing a price needs, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    candidates: Vec<Candidate>,
    order: Vec<usize>,
    votes: Vec<i64>,
    /// Partition, price and quantity.
    trades: Vec<(u32, i64, i128)>,
}

/// When and why a price is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion {
    pub(super) now: i64,
    pub(super) ts_recv: UnixNanos,
    pub(super) cause: model::Cause,
    /// The id of the refresh that asks.
    pub(super) refresh: Option<u64>,
}

impl Index {
    pub(super) const fn new(priced: Priced, sources: Vec<Source>) -> Self {
        Self { priced, sources, members: Vec::new(), sequence: 0, last: None }
    }

    pub(super) const fn instrument(&self) -> Instrument {
        self.priced.instrument
    }

    pub(super) const fn has_price(&self) -> bool {
        self.last.is_some()
    }

    /// Adds the venue at `place` of a book, if the index counts that book.
    pub(super) fn add_member(&mut self, books: &[Book], book: usize, place: usize) {
        let venue = books[book].venues[place].venue;
        for source in 0..self.sources.len() {
            if self.sources[source].book != book {
                continue;
            }
            let key = |member: &Member| (member.venue, books[self.sources[member.source].book].instrument);
            let at = self.members.partition_point(|member| key(member) < (venue, books[book].instrument));
            self.members.insert(at, Member { venue, source, place, excluded_at: None });
        }
    }

    /// Publishes when there is a reason to.
    pub(super) fn publish(
        &mut self,
        books: &mut [Book],
        rates: &Rates,
        scratch: &mut Scratch,
        occasion: &Occasion,
    ) -> Option<CompositePrice> {
        let (now, publish) = (occasion.now, self.priced.rules.publish);
        let since = self.last.map(|last| now.saturating_sub(last.at));
        if occasion.refresh.is_none() && since.is_some_and(|since| since < publish.min_interval_ns) {
            return None;
        }
        let composite = self.compute(books, rates, scratch, now);
        if composite.is_none() && self.last.is_none() {
            return None;
        }
        let status = composite.map_or(PriceStatus::Stale, |composite| composite.status);
        let reason = if occasion.refresh.is_some() {
            PublishReason::Refresh
        } else if self.last.is_none_or(|last| last.status != status) {
            PublishReason::Status
        } else if self.has_moved(composite) {
            PublishReason::Deviation
        } else if since.is_some_and(|since| since >= publish.heartbeat_ns) {
            PublishReason::Heartbeat
        } else {
            return None;
        };
        if let Some(composite) = &composite {
            share_out(&mut scratch.candidates, composite);
        }
        let counted = scratch.candidates.iter().filter(|candidate| candidate.counts());
        let newest = counted.map(|candidate| candidate.newest).max();
        let last = match (composite, self.last) {
            (Some(composite), last) => Published {
                at: now,
                raw: composite.price,
                status,
                newest: newest.or(last.map(|last| last.newest)).unwrap_or(now),
            },
            (None, Some(last)) => Published { at: now, status, ..last },
            (None, None) => return None,
        };
        self.last = Some(last);
        self.sequence += 1;
        Some(self.price(books, scratch, occasion, &last, reason))
    }

    fn has_moved(&self, composite: Option<Composite>) -> bool {
        let (Some(composite), Some(last)) = (composite, self.last) else { return false };
        let moved = i128::from((composite.price - last.raw).abs());
        let deviation = i128::from(self.priced.rules.publish.deviation_bps.raw());
        moved * 10_000 * ONE >= i128::from(last.raw) * deviation
    }

    /// Fills the candidates and computes the price.
    fn compute(&mut self, books: &mut [Book], rates: &Rates, scratch: &mut Scratch, now: i64) -> Option<Composite> {
        let rules = &self.priced.rules;
        scratch.candidates.clear();
        for (at, member) in self.members.iter().enumerate() {
            let source = &self.sources[member.source];
            let ratio = match &source.converter {
                None => Ratio::ONE,
                Some(converter) => match rates.ratio(converter, rules.stale_after.rates_ns, now) {
                    Some(ratio) => ratio,
                    None => continue,
                },
            };
            let venue = &mut books[source.book].venues[member.place];
            venue.advance(now);
            let Some(seen) = venue.observe(rules, now) else { continue };
            let Some(price) = ratio.apply(seen.price) else { continue };
            let mut candidate = Candidate::new(at, price, seen.volume, seen.weight, seen.newest, seen.state);
            candidate.on_probation =
                member.excluded_at.is_some_and(|excluded| now.saturating_sub(excluded) < rules.rejoin_after_ns);
            scratch.candidates.push(candidate);
        }
        let mut composite = compose(&mut scratch.candidates, &mut scratch.order, rules)?;
        for candidate in scratch.candidates.iter().filter(|candidate| candidate.excluded_now()) {
            self.members[candidate.member].excluded_at = Some(now);
        }
        if self.priced.rules.method == Method::PartitionVwm
            && let Some(price) = self.partition_mean(books, rates, scratch, now)
        {
            composite.price = price;
        }
        Some(composite)
    }

    /// The mean over the window's partitions of each one's volume-weighted median trade, all venues that count
    /// together; partitions without trades are skipped, and none is given when all are.
    fn partition_mean(&self, books: &[Book], rates: &Rates, scratch: &mut Scratch, now: i64) -> Option<i64> {
        let rules = &self.priced.rules;
        let partitions = i128::from(rules.partitions);
        let start = now.saturating_sub(rules.window_ns);
        scratch.trades.clear();
        for candidate in scratch.candidates.iter().filter(|candidate| candidate.counts()) {
            let member = &self.members[candidate.member];
            let source = &self.sources[member.source];
            let ratio = source
                .converter
                .as_ref()
                .map_or(Some(Ratio::ONE), |converter| rates.ratio(converter, rules.stale_after.rates_ns, now));
            let Some(ratio) = ratio else { continue };
            for trade in books[source.book].venues[member.place].window_trades() {
                // A partition ends with the nanosecond of its end, as the window does.
                let past = i128::from(trade.at - start) * partitions - 1;
                let partition = past / i128::from(rules.window_ns);
                if let Some(price) = ratio.apply(trade.price) {
                    scratch.trades.push((partition as u32, price, i128::from(trade.quantity)));
                }
            }
        }
        scratch.trades.sort_unstable();
        let (mut sum, mut filled) = (0i128, 0i128);
        for partition in scratch.trades.chunk_by(|a, b| a.0 == b.0) {
            sum += i128::from(weighted_middle(partition.iter().map(|(_, price, quantity)| (*price, *quantity))));
            filled += 1;
        }
        (filled > 0).then(|| div_half_even(sum, filled)).and_then(as_price)
    }

    /// The record of a publication; the scratch holds the candidates it was computed from.
    fn price(
        &self,
        books: &mut [Book],
        scratch: &mut Scratch,
        occasion: &Occasion,
        last: &Published,
        reason: PublishReason,
    ) -> CompositePrice {
        let (now, rules) = (occasion.now, &self.priced.rules);
        let raw = Price::from_raw(last.raw).unwrap_or_default();
        let confidence = (last.status != PriceStatus::Stale).then(|| self.confidence(books, scratch, last.raw, now));
        let own = self.own_book();
        let (bid, ask) = books[own].best(rules, now);
        let mid = bid.zip(ask).map(|(bid, ask)| bid.price.midpoint(ask.price));
        let constituents = scratch.candidates.iter().map(|candidate| {
            let member = &self.members[candidate.member];
            let converted = self.sources[member.source].converter.is_some();
            Constituent {
                venue: member.venue,
                instrument: converted.then(|| books[self.sources[member.source].book].instrument),
                price: Price::from_raw(candidate.price).unwrap_or_default(),
                weight: Quantity::from_raw(candidate.share).unwrap_or_default(),
                volume: Volume::from_raw(candidate.volume),
                age_ns: now.saturating_sub(candidate.newest),
                state: candidate.state,
            }
        });
        let constituents = constituents.collect();
        CompositePrice {
            v: 1,
            instrument: self.priced.instrument,
            sequence: self.sequence,
            price: raw.round_to(rules.tick_for(raw)),
            raw,
            status: last.status,
            confidence: confidence.flatten(),
            reason,
            refresh: occasion.refresh,
            age_ns: now.saturating_sub(last.newest),
            bid,
            ask,
            mid,
            vwap: books[own].averages(now),
            constituents,
            config: self.priced.hash,
            cause: occasion.cause,
            ts_event: UnixNanos(now),
            ts_recv: occasion.ts_recv,
        }
    }

    fn own_book(&self) -> usize {
        self.sources[0].book
    }

    /// After Pyth: each venue that counts votes for its price and for its price plus and minus its own
    /// uncertainty; the result is the distance to the farther quartile of the votes.
    fn confidence(&self, books: &[Book], scratch: &mut Scratch, price: i64, now: i64) -> Option<Price> {
        let votes = &mut scratch.votes;
        votes.clear();
        for candidate in scratch.candidates.iter().filter(|candidate| candidate.counts()) {
            let member = &self.members[candidate.member];
            let venue = &books[self.sources[member.source].book].venues[member.place];
            let uncertainty = venue.uncertainty(&self.priced.rules.stale_after, now);
            votes.extend([
                candidate.price.saturating_sub(uncertainty),
                candidate.price,
                candidate.price.saturating_add(uncertainty),
            ]);
        }
        votes.sort_unstable();
        let quarter = votes.len() / 4;
        let (low, high) = (*votes.get(quarter)?, *votes.get(votes.len() - 1 - quarter)?);
        let distance = price.saturating_sub(low).max(high.saturating_sub(price)).max(0);
        Some(Price::from_raw(distance).unwrap_or(Price::MAX))
    }

    /// Forgets times that have not come yet.
    pub(super) fn rewind(&mut self, now: i64) {
        for member in &mut self.members {
            member.excluded_at = member.excluded_at.filter(|at| *at <= now);
        }
        if let Some(last) = &mut self.last {
            last.at = last.at.min(now);
            last.newest = last.newest.min(now);
        }
    }

    pub(super) fn save(&self, books: &[Book], out: &mut Vec<u8>) {
        let held: Vec<&Member> = self.members.iter().filter(|member| member.excluded_at.is_some()).collect();
        put_count(out, held.len());
        for member in held {
            put_text(out, member.venue.as_bytes());
            put_text(out, books[self.sources[member.source].book].instrument.as_str().as_bytes());
            put_i64(out, member.excluded_at.unwrap_or_default());
        }
        put_u64(out, self.sequence);
        put_option(out, self.last.as_ref(), |out, last| {
            put_i64(out, last.at);
            put_i64(out, last.raw);
            out.push(match last.status {
                PriceStatus::Ok => 0,
                PriceStatus::Degraded => 1,
                PriceStatus::SingleSource => 2,
                PriceStatus::Stale => 3,
            });
            put_i64(out, last.newest);
        });
    }

    /// Reads what [`Self::save`] wrote; the books are loaded and the members added. Venues that are not members
    /// are left.
    pub(super) fn load(&mut self, books: &[Book], from: &mut Reader<'_>) -> Result<(), Malformed> {
        for _ in 0..from.count(12)? {
            let (venue, instrument, at) = (from.name()?, from.instrument()?, from.i64()?);
            let sources = &self.sources;
            let known = |member: &&mut Member| {
                member.venue == venue && books[sources[member.source].book].instrument == instrument
            };
            if let Some(member) = self.members.iter_mut().find(known) {
                member.excluded_at = Some(at);
            }
        }
        self.sequence = from.u64()?;
        self.last = from.option(|from| {
            let (at, raw) = (from.i64()?, from.price()?.raw());
            let status = match from.u8()? {
                0 => PriceStatus::Ok,
                1 => PriceStatus::Degraded,
                2 => PriceStatus::SingleSource,
                3 => PriceStatus::Stale,
                _ => return Err(Malformed("a status")),
            };
            Ok(Published { at, raw, status, newest: from.i64()? })
        })?;
        Ok(())
    }
}
