//! Hints to the processor's cache about commands that come soon.

use model::exchange::{AccountId, Command, CommandBody, NewOrder, OrderRef};

use super::{Exchange, requests};
use crate::book::{NONE, prefetch};

impl Exchange {
    /// Asks the processor to fetch what a later command will touch. Whoever has the next commands at hand calls it
    /// for the one [`Self::PREFETCH`]`[stage]` places ahead: each stage fetches what the one before has made known.
    /// It changes nothing.
    #[inline]
    pub fn prefetch(&self, stage: usize, command: &Command) {
        let account = command.account.0;
        match stage {
            0 => {
                if let Some(id) = &command.request {
                    let tag = requests::tag_of(self.seed, account, id);
                    self.requests.prefetch(tag);
                    self.clients.prefetch(tag);
                }
                prefetch::read(&self.accounts, account as usize);
                match &command.body {
                    CommandBody::Place(order) => {
                        if let Some(number) = self.by_name.get(&order.instrument) {
                            let market = &self.markets[number as usize];
                            self.ledger.prefetch(command.account, market.held_asset(order.side));
                            if let Some(price) = order.price {
                                market.depth.prefetch_page(order.side, price.raw() / market.listing.tick);
                            }
                        }
                    }
                    CommandBody::Cancel { order: OrderRef::Id(id) }
                    | CommandBody::Amend { order: OrderRef::Id(id), .. } => {
                        let slot = self.ids.guess(*id) as usize;
                        self.nodes.prefetch(slot as u32);
                        self.prefetch_rec(slot);
                    }
                    _ => {}
                }
            }
            _ => match &command.body {
                CommandBody::Place(order) => {
                    let head = self.account_row(account).head as usize;
                    self.recs.prefetch(head, 64);
                    self.prefetch_maker(command.account, order);
                }
                CommandBody::Cancel { order: OrderRef::Id(id) }
                | CommandBody::Amend { order: OrderRef::Id(id), .. } => {
                    let slot = self.ids.guess(*id);
                    let Some(rec) = self.recs.get(slot as usize) else { return };
                    let node = self.nodes.get(slot);
                    self.nodes.prefetch(node.next);
                    self.nodes.prefetch(node.prev);
                    self.recs.prefetch(rec.next as usize, 64);
                    self.recs.prefetch(rec.prev as usize, 64);
                    if let Some(market) = self.markets.get(rec.market as usize) {
                        self.ledger.prefetch(command.account, market.held_asset(rec.side));
                    }
                    if let Some(client) = &rec.client {
                        self.clients.prefetch(client.tag);
                    }
                }
                _ => {}
            },
        }
    }

    #[inline]
    fn prefetch_rec(&self, slot: usize) {
        self.recs.prefetch(slot, 0);
        self.recs.prefetch(slot, 64);
        self.recs.prefetch(slot, 128);
    }

    /// What a trade with the best order of the other side would touch, where there is going to be one.
    #[inline]
    fn prefetch_maker(&self, taker: AccountId, order: &NewOrder) {
        let Some(number) = self.by_name.get(&order.instrument) else { return };
        let market = &self.markets[number as usize];
        let best = market.depth.best(order.side.opposite());
        let Some(limit) = order.price else { return };
        let ticks = limit.raw() / market.listing.tick;
        if best == NONE || !market.depth.crosses(best, ticks) {
            self.nodes.prefetch(market.depth.guess_tail(order.side, ticks));
            return;
        }
        let slot = market.depth.head(best);
        let maker = AccountId(self.nodes.get(slot).tag);
        self.prefetch_rec(slot as usize);
        prefetch::read(&self.accounts, maker.0 as usize);
        for asset in [market.base, market.quote] {
            self.ledger.prefetch(maker, asset);
            self.ledger.prefetch(taker, asset);
        }
        self.positions.prefetch(number as usize, maker);
        self.positions.prefetch(number as usize, taker);
    }

    /// How many places ahead each stage of [`Self::prefetch`] looks.
    pub const PREFETCH: [usize; 2] = [10, 4];
}
