//! Hints to the processor's cache about commands that come soon.

use model::exchange::{Command, CommandBody, OrderRef};

use super::{Exchange, requests};
use crate::book::prefetch;

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
                    self.requests.prefetch(requests::tag_of(self.seed, account, id));
                }
                prefetch::read(&self.accounts, account as usize);
                match &command.body {
                    CommandBody::Place(order) => {
                        if let Some(number) = self.by_name.get(&order.instrument) {
                            let asset = self.markets[*number as usize].held_asset(order.side);
                            self.ledger.prefetch(command.account, asset);
                        }
                    }
                    CommandBody::Cancel { order: OrderRef::Id(id) }
                    | CommandBody::Amend { order: OrderRef::Id(id), .. } => {
                        let slot = self.ids.guess(*id) as usize;
                        self.nodes.prefetch(slot as u32);
                        (0..256).step_by(64).for_each(|offset| self.recs.prefetch(slot, offset));
                    }
                    _ => {}
                }
            }
            _ => match &command.body {
                CommandBody::Place(_) => {
                    let head = self.account_row(account).head as usize;
                    self.recs.prefetch(head, 64);
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

    /// How many places ahead each stage of [`Self::prefetch`] looks.
    pub const PREFETCH: [usize; 2] = [10, 4];
}
