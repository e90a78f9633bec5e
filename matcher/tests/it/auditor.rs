//! Watches what the exchange publishes and believes none of it: keeps its own books from the deltas, its own
//! balances from the postings, and the promises about every order.

use std::collections::{BTreeMap, HashMap};

use matcher::exchange::{Exchange, OutputTopic, Outputs};
use model::exchange::{
    AccountId, Asset, Command, CommandBody, ExecutionKind, Liquidity, NewOrder, PostingKind, SelfTrade, TimeInForce,
    level_hash,
};
use model::{Instrument, Price, Side, Volume};

#[derive(Default)]
struct ShadowBook {
    levels: BTreeMap<(bool, Price), Volume>,
    sequence: u64,
    checksum: u64,
}

#[derive(Default)]
pub(crate) struct Auditor {
    books: HashMap<Instrument, ShadowBook>,
    balances: BTreeMap<(AccountId, Asset), (i128, i128)>,
    outside: BTreeMap<Asset, i128>,
    sequences: HashMap<AccountId, u64>,
    orders: HashMap<u64, NewOrder>,
    transfer: u64,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

impl Auditor {
    /// Checks the outputs of one command.
    pub(crate) fn watch(&mut self, command: &Command, out: &Outputs, place: &str) {
        self.watch_orders(command, out, place);
        self.watch_postings(out, place);
        self.watch_books(out, place);
        for execution in out.executions() {
            let sequence = self.sequences.entry(execution.account).or_default();
            *sequence += 1;
            assert_eq!(execution.sequence, *sequence, "{place}: executions of {:?}", execution.account);
            let what = match execution.reason {
                Some(reason) => reason.code(),
                None => match execution.kind {
                    ExecutionKind::Trade => "trade",
                    ExecutionKind::Accepted => "accepted",
                    ExecutionKind::Amended => "amended",
                    ExecutionKind::Triggered => "triggered",
                    ExecutionKind::Busted => "busted",
                    _ => "other",
                },
            };
            *self.counts.entry(what).or_default() += 1;
            assert!(!execution.text().is_some_and(|text| text.contains(['{', '?'])), "{place}: {execution:?}");
        }
    }

    fn watch_orders(&mut self, command: &Command, out: &Outputs, place: &str) {
        let mut placed = match &command.body {
            CommandBody::Place(order) => vec![*order],
            CommandBody::PlaceOco(pair) => vec![pair.0, pair.1],
            _ => vec![],
        }
        .into_iter();
        for execution in out.executions() {
            let Some(view) = &execution.order else { continue };
            if execution.kind == ExecutionKind::Accepted && execution.first.is_none() {
                self.orders.insert(view.id, placed.next().unwrap());
            }
            if let Some(fill) = &execution.fill {
                let order = &self.orders[&view.id];
                let taking = fill.liquidity == Liquidity::Taker;
                assert!(!(order.post_only && taking), "{place}: post-only order {} takes", view.id);
                if fill.liquidity == Liquidity::Maker {
                    assert_eq!(view.price, Some(fill.last_price), "{place}: not the maker's price");
                }
                let inside = match order.side {
                    Side::Buy => view.price.is_some_and(|limit| fill.last_price <= limit),
                    Side::Sell => view.price.is_some_and(|limit| fill.last_price >= limit),
                };
                assert!(inside, "{place}: order {} trades past its limit", view.id);
            }
        }
        self.watch_fill_or_kill(command, out, place);
        let mut sides: HashMap<(Instrument, u64), (AccountId, u64)> = HashMap::new();
        for execution in out.executions().filter(|execution| execution.kind == ExecutionKind::Trade) {
            let (view, fill) = (execution.order.as_ref().unwrap(), execution.fill.as_ref().unwrap());
            let key = (view.instrument, fill.trade_id);
            if let Some((other, first)) = sides.insert(key, (execution.account, view.id)) {
                let younger = if fill.liquidity == Liquidity::Auction { view.id.max(first) } else { view.id };
                // Orders that left the mode to the market run in one that prevents.
                let allowed = self.orders[&younger].self_trade == Some(SelfTrade::Allow);
                assert!(other != execution.account || allowed, "{place}: {other:?} trades with itself");
            }
        }
    }

    fn watch_fill_or_kill(&self, command: &Command, out: &Outputs, place: &str) {
        let CommandBody::Place(order) = &command.body else { return };
        if order.tif != TimeInForce::Fok || out.executions().any(|execution| execution.first.is_some()) {
            return;
        }
        let accepted = out.executions().find(|execution| execution.kind == ExecutionKind::Accepted);
        let Some(id) = accepted.and_then(|execution| execution.order).map(|view| view.id) else { return };
        let mine = out.executions().filter_map(|execution| execution.order).filter(|view| view.id == id);
        let last = mine.fold(None, |_, view| Some(view)).unwrap();
        assert!(
            last.filled == last.quantity && last.open.raw() == 0,
            "{place}: fill-or-kill order {id} is partial: {out:?}"
        );
    }

    fn watch_postings(&mut self, out: &Outputs, place: &str) {
        let mut sums: BTreeMap<(u64, Asset), i128> = BTreeMap::new();
        for posting in out.postings() {
            assert!(posting.transfer >= self.transfer, "{place}: {posting:?}");
            self.transfer = posting.transfer;
            let balance = self.balances.entry((posting.account, posting.asset)).or_default();
            balance.0 += posting.amount.raw() - posting.held_change.raw();
            balance.1 += posting.held_change.raw();
            assert_eq!(*balance, (posting.available.raw(), posting.held.raw()), "{place}: {posting:?}");
            assert!(balance.0 >= 0 && balance.1 >= 0, "{place}: {posting:?}");
            if matches!(posting.kind, PostingKind::Deposit | PostingKind::Withdrawal) {
                *self.outside.entry(posting.asset).or_default() += posting.amount.raw();
            } else {
                *sums.entry((posting.transfer, posting.asset)).or_default() += posting.amount.raw();
            }
        }
        assert!(sums.values().all(|sum| *sum == 0), "{place}: postings do not add up: {sums:?}");
    }

    fn watch_books(&mut self, out: &Outputs, place: &str) {
        for index in 0..out.len(OutputTopic::Book) {
            let (head, levels) = out.book(index);
            let book = self.books.entry(head.instrument).or_default();
            if head.snapshot {
                assert_eq!(head.sequence, book.sequence, "{place}");
                if head.complete {
                    let theirs: BTreeMap<_, _> =
                        levels.map(|level| ((level.side == Side::Sell, level.price), level.quantity)).collect();
                    assert_eq!(theirs, book.levels, "{place}: snapshot of {}", head.instrument);
                }
                continue;
            }
            book.sequence += 1;
            assert_eq!(head.sequence, book.sequence, "{place}: deltas of {}", head.instrument);
            for level in levels {
                let key = (level.side == Side::Sell, level.price);
                let hash = |quantity: Volume| level_hash(level.side, level.price.raw() as u64, quantity.raw() as u64);
                let before = if level.quantity == Volume::ZERO {
                    book.levels.remove(&key)
                } else {
                    book.levels.insert(key, level.quantity)
                };
                let before = before.unwrap_or_default();
                assert_ne!(before, level.quantity, "{place}: a delta without a change");
                book.checksum = book.checksum.wrapping_sub(hash(before)).wrapping_add(hash(level.quantity));
            }
            assert_eq!(head.checksum, book.checksum, "{place}: checksum of {}", head.instrument);
        }
    }

    /// Compares what was published with what the exchange says of itself.
    pub(crate) fn compare(&self, exchange: &Exchange, place: &str) {
        exchange.verify();
        for (instrument, book) in &self.books {
            let theirs = exchange.book(instrument, usize::MAX).unwrap();
            let side = |sell: bool| {
                let levels = book.levels.iter().filter(move |level| level.0.0 == sell);
                levels.map(|(key, quantity)| (key.1, *quantity)).collect::<Vec<_>>()
            };
            let mut bids = side(false);
            bids.reverse();
            assert_eq!((theirs.bids, theirs.asks), (bids, side(true)), "{place}: {instrument}");
            assert_eq!((theirs.sequence, theirs.checksum), (book.sequence, book.checksum), "{place}: {instrument}");
        }
        for (asset, outside) in &self.outside {
            let mine = self.balances.iter().filter(|balance| balance.0.1 == *asset);
            let sum: i128 = mine.map(|balance| balance.1.0 + balance.1.1).sum();
            assert_eq!(sum, *outside, "{place}: {asset}");
        }
        for ((account, asset), balance) in &self.balances {
            let theirs = exchange.balances(*account).find(|known| known.0 == *asset).map(|known| known.1);
            let theirs = theirs.unwrap_or_default();
            assert_eq!((theirs.available, theirs.held), *balance, "{place}: {asset} of {account:?}");
        }
    }
}
