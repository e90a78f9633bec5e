//! What the ledger says of a movement: everything by number. Names are added where it is published.

use model::Volume;
use model::exchange::{AccountId, Asset, OrderId, Posting, PostingKind};

use crate::balance::AssetId;

/// One balance moved. Amounts are in units of 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Counts movements from 1; entries that belong together share it.
    pub transfer: u64,
    /// Whose balance.
    pub account: AccountId,
    /// In what.
    pub asset: AssetId,
    /// Why.
    pub kind: PostingKind,
    /// Change of what is free.
    pub available_change: i128,
    /// Change of what is held.
    pub held_change: i128,
    /// Free afterwards.
    pub available: i128,
    /// Held afterwards.
    pub held: i128,
    /// The order behind it, 0 for none.
    pub order: OrderId,
    /// The trade behind it, 0 for none.
    pub trade: u64,
}

impl Entry {
    /// Change of free and held together.
    pub const fn amount(&self) -> i128 {
        self.available_change + self.held_change
    }

    /// The entry as the topic `ledger` carries it; `asset` is its asset's name.
    pub const fn posting(&self, asset: Asset) -> Posting {
        Posting {
            transfer: self.transfer,
            account: self.account,
            asset,
            kind: self.kind,
            amount: Volume::from_raw(self.amount()),
            held_change: Volume::from_raw(self.held_change),
            available: Volume::from_raw(self.available),
            held: Volume::from_raw(self.held),
            order_id: self.order,
            trade_id: self.trade,
        }
    }
}
