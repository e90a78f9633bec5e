//! Balances and holds, and every way they move.

use std::collections::BTreeMap;

use model::exchange::{AccountId, Asset, PostingKind};

use crate::entry::Entry;
use crate::table::Paged;

/// An asset's dense number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId(pub u16);

/// What an account has of one asset, in units of 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Free.
    pub available: i128,
    /// Set aside for open orders and pending withdrawals.
    pub held: i128,
}

/// Sums over all accounts, kept as balances move, in units of 1e-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AssetTotals {
    /// Of what is free.
    pub available: i128,
    /// Of what is held.
    pub held: i128,
    /// Deposits less withdrawals.
    pub external: i128,
}

/// Too little is available. Nothing moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} needed, {available} available, in units of 1e-8")]
pub struct Short {
    /// Asked for.
    pub needed: i128,
    /// There.
    pub available: i128,
}

/// What a movement belongs to, for its postings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reference {
    /// The order, 0 for none.
    pub order: u64,
    /// The trade, 0 for none.
    pub trade: u64,
}

/// A withdrawal that waits to be posted or voided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Whose.
    pub account: AccountId,
    /// In what.
    pub asset: AssetId,
    /// How much is held for it.
    pub amount: i128,
}

/// One trade between two accounts.
#[derive(Debug, Clone, Copy)]
pub struct Settlement {
    /// Who buys, from what is held.
    pub buyer: AccountId,
    /// Who sells, from what is held.
    pub seller: AccountId,
    /// What is bought.
    pub base: AssetId,
    /// What is paid.
    pub quote: AssetId,
    /// Base units.
    pub quantity: i128,
    /// Quote units for them.
    pub notional: i128,
    /// On top of the notional.
    pub buyer_fee: i128,
    /// Out of the notional.
    pub seller_fee: i128,
    /// What else of the buyer's hold is free again.
    pub buyer_release: i128,
    /// What else of the seller's hold is free again.
    pub seller_release: i128,
    /// The buyer's order.
    pub buy_order: u64,
    /// The seller's order.
    pub sell_order: u64,
    /// The trade.
    pub trade: u64,
}

/// All balances of all accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    pub(crate) names: Vec<Asset>,
    pub(crate) totals: Vec<AssetTotals>,
    pub(crate) table: Paged<Balance>,
    pub(crate) pending: BTreeMap<u64, Pending>,
    /// Movements so far.
    pub(crate) transfers: u64,
}

impl Ledger {
    /// Assets, at most.
    pub const ASSETS_MAX: usize = 4_096;
    /// Pending withdrawals, at most.
    pub const PENDING_MAX: usize = 65_536;

    /// The asset of this name, added if it is new; none when there is no room for another.
    pub fn add_asset(&mut self, name: Asset) -> Option<AssetId> {
        if let Some(known) = self.asset(&name) {
            return Some(known);
        }
        if self.names.len() >= Self::ASSETS_MAX {
            return None;
        }
        self.names.push(name);
        self.totals.push(AssetTotals::default());
        Some(AssetId((self.names.len() - 1) as u16))
    }

    /// The asset of this name.
    pub fn asset(&self, name: &Asset) -> Option<AssetId> {
        self.names.iter().position(|known| known == name).map(|at| AssetId(at as u16))
    }

    /// An asset's name.
    pub fn name(&self, asset: AssetId) -> Asset {
        self.names[asset.0 as usize]
    }

    /// The assets in the order they were added.
    pub fn assets(&self) -> &[Asset] {
        &self.names
    }

    /// An account's balance.
    #[inline]
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.table.get(asset.0 as usize, account.0)
    }

    /// Asks the processor to fetch an account's balance before it is needed.
    #[inline]
    pub fn prefetch(&self, account: AccountId, asset: AssetId) {
        self.table.prefetch(asset.0 as usize, account.0);
    }

    /// An asset's sums.
    pub fn totals(&self, asset: AssetId) -> AssetTotals {
        self.totals[asset.0 as usize]
    }

    /// The number of the last movement.
    pub fn transfers(&self) -> u64 {
        self.transfers
    }

    /// Moves one balance and says so. The only place where balances change.
    #[inline]
    fn post(&mut self, to: Movement, journal: &mut Vec<Entry>) {
        let Movement { account, asset, kind, available, held, reference } = to;
        let balance = self.table.get_mut(asset.0 as usize, account.0);
        balance.available += available;
        balance.held += held;
        let after = *balance;
        if (after.available | after.held) < 0 {
            self.overdrawn(account, asset, after);
        }
        let totals = &mut self.totals[asset.0 as usize];
        totals.available += available;
        totals.held += held;
        journal.push(Entry {
            transfer: self.transfers,
            account,
            asset,
            kind,
            available_change: available,
            held_change: held,
            available: after.available,
            held: after.held,
            order: reference.order,
            trade: reference.trade,
        });
    }

    #[cold]
    fn overdrawn(&self, account: AccountId, asset: AssetId, after: Balance) -> ! {
        panic!("{account:?} would have {after:?} of {}", self.names[asset.0 as usize]);
    }

    /// Balances plus holds equal deposits minus withdrawals.
    #[inline]
    fn assert_conserved(&self, asset: AssetId) {
        let AssetTotals { available, held, external } = self.totals[asset.0 as usize];
        assert!(
            available + held == external,
            "{}: {available} available and {held} held, {external} came in",
            self.names[asset.0 as usize]
        );
    }

    fn need(&self, account: AccountId, asset: AssetId, amount: i128) -> Result<(), Short> {
        let available = self.balance(account, asset).available;
        if available < amount { Err(Short { needed: amount, available }) } else { Ok(()) }
    }

    /// Takes `amount` in from outside.
    pub fn deposit(&mut self, account: AccountId, asset: AssetId, amount: i128, journal: &mut Vec<Entry>) {
        assert!(amount > 0);
        self.transfers += 1;
        self.totals[asset.0 as usize].external += amount;
        let reference = Reference::default();
        self.post(
            Movement { account, asset, kind: PostingKind::Deposit, available: amount, held: 0, reference },
            journal,
        );
        self.assert_conserved(asset);
    }

    /// Lets `amount` out.
    ///
    /// # Errors
    /// When too little is available.
    pub fn withdraw(
        &mut self,
        account: AccountId,
        asset: AssetId,
        amount: i128,
        journal: &mut Vec<Entry>,
    ) -> Result<(), Short> {
        assert!(amount > 0);
        self.need(account, asset, amount)?;
        self.transfers += 1;
        self.totals[asset.0 as usize].external -= amount;
        let reference = Reference::default();
        self.post(
            Movement { account, asset, kind: PostingKind::Withdrawal, available: -amount, held: 0, reference },
            journal,
        );
        self.assert_conserved(asset);
        Ok(())
    }

    /// Moves `amount` from one account to another.
    ///
    /// # Errors
    /// When too little is available.
    pub fn transfer(
        &mut self,
        from: AccountId,
        to: AccountId,
        asset: AssetId,
        amount: i128,
        journal: &mut Vec<Entry>,
    ) -> Result<(), Short> {
        self.exchange(&[(from, to, asset, amount)], PostingKind::Transfer, Reference::default(), journal)
    }

    /// Moves several amounts between accounts, all or none; each movement needs what it moves to be available
    /// before any of them. Zero amounts move nothing.
    ///
    /// # Errors
    /// When too little is available for one of them.
    pub fn exchange(
        &mut self,
        moves: &[(AccountId, AccountId, AssetId, i128)],
        kind: PostingKind,
        reference: Reference,
        journal: &mut Vec<Entry>,
    ) -> Result<(), Short> {
        for (at, (from, _, asset, _)) in moves.iter().enumerate() {
            let same = moves[at..].iter().filter(|other| other.0 == *from && other.2 == *asset);
            let sum = same.map(|other| other.3).sum();
            self.need(*from, *asset, sum)?;
        }
        self.transfers += 1;
        for (from, to, asset, amount) in moves.iter().copied().filter(|(.., amount)| *amount != 0) {
            assert!(amount > 0);
            for (account, available) in [(from, -amount), (to, amount)] {
                self.post(Movement { account, asset, kind, available, held: 0, reference }, journal);
            }
            self.assert_conserved(asset);
        }
        Ok(())
    }

    /// Sets `amount` aside.
    ///
    /// # Errors
    /// When too little is available.
    #[inline]
    pub fn hold(
        &mut self,
        account: AccountId,
        asset: AssetId,
        amount: i128,
        reference: Reference,
        journal: &mut Vec<Entry>,
    ) -> Result<(), Short> {
        self.need(account, asset, amount)?;
        if amount != 0 {
            self.transfers += 1;
            let movement =
                Movement { account, asset, kind: PostingKind::Hold, available: -amount, held: amount, reference };
            self.post(movement, journal);
        }
        Ok(())
    }

    /// Frees `amount` of what is held.
    ///
    /// # Panics
    /// When less is held.
    #[inline]
    pub fn release(
        &mut self,
        account: AccountId,
        asset: AssetId,
        amount: i128,
        reference: Reference,
        journal: &mut Vec<Entry>,
    ) {
        if amount != 0 {
            self.transfers += 1;
            let movement =
                Movement { account, asset, kind: PostingKind::Release, available: amount, held: -amount, reference };
            self.post(movement, journal);
        }
    }

    /// Settles a trade out of the holds of both; the fees go to `house`.
    ///
    /// # Panics
    /// When a hold does not cover its side, which the holder of the orders has to see to.
    #[inline]
    pub fn settle(&mut self, trade: &Settlement, house: AccountId, journal: &mut Vec<Entry>) {
        self.transfers += 1;
        let bought = Reference { order: trade.buy_order, trade: trade.trade };
        let sold = Reference { order: trade.sell_order, trade: trade.trade };
        let (cost, fees) = (trade.notional + trade.buyer_fee, trade.buyer_fee + trade.seller_fee);
        let movement = |account, asset, available, held, reference| Movement {
            account,
            asset,
            kind: PostingKind::Trade,
            available,
            held,
            reference,
        };
        let held = -cost - trade.buyer_release;
        self.post(movement(trade.buyer, trade.quote, trade.buyer_release, held, bought), journal);
        self.post(movement(trade.buyer, trade.base, trade.quantity, 0, bought), journal);
        let held = -trade.quantity - trade.seller_release;
        self.post(movement(trade.seller, trade.base, trade.seller_release, held, sold), journal);
        self.post(movement(trade.seller, trade.quote, trade.notional - trade.seller_fee, 0, sold), journal);
        if fees != 0 {
            let reference = Reference { order: 0, trade: trade.trade };
            let fee = Movement {
                account: house,
                asset: trade.quote,
                kind: PostingKind::Fee,
                available: fees,
                held: 0,
                reference,
            };
            self.post(fee, journal);
        }
        self.assert_conserved(trade.base);
        self.assert_conserved(trade.quote);
    }

    /// Holds `amount` for a withdrawal; the number under which it is posted or voided. None when too many wait.
    ///
    /// # Errors
    /// When too little is available.
    pub fn withdraw_later(
        &mut self,
        account: AccountId,
        asset: AssetId,
        amount: i128,
        journal: &mut Vec<Entry>,
    ) -> Result<Option<u64>, Short> {
        assert!(amount > 0);
        self.need(account, asset, amount)?;
        if self.pending.len() >= Self::PENDING_MAX {
            return Ok(None);
        }
        self.hold(account, asset, amount, Reference::default(), journal)?;
        self.pending.insert(self.transfers, Pending { account, asset, amount });
        Ok(Some(self.transfers))
    }

    /// A pending withdrawal.
    pub fn pending(&self, transfer: u64) -> Option<Pending> {
        self.pending.get(&transfer).copied()
    }

    /// Lets a pending withdrawal out (`post`) or frees its hold; none when there is no such withdrawal.
    pub fn settle_withdrawal(&mut self, transfer: u64, post: bool, journal: &mut Vec<Entry>) -> Option<Pending> {
        let pending = self.pending.remove(&transfer)?;
        let Pending { account, asset, amount } = pending;
        if post {
            self.transfers += 1;
            self.totals[asset.0 as usize].external -= amount;
            let reference = Reference::default();
            self.post(
                Movement { account, asset, kind: PostingKind::Withdrawal, available: 0, held: -amount, reference },
                journal,
            );
        } else {
            self.release(account, asset, amount, Reference::default(), journal);
        }
        self.assert_conserved(asset);
        Some(pending)
    }

    /// What pending withdrawals hold of an asset.
    pub fn held_by_pending(&self, asset: AssetId) -> i128 {
        self.pending.values().filter(|pending| pending.asset == asset).map(|pending| pending.amount).sum()
    }

    /// Adds everything up again and compares with the sums kept on the way.
    ///
    /// # Panics
    /// When they differ, or a balance is negative.
    pub fn verify(&self) {
        let mut sums = vec![(0i128, 0i128); self.names.len()];
        for (asset, account, balance) in self.table.iter() {
            assert!(balance.available >= 0 && balance.held >= 0, "account {account}: {balance:?}");
            sums[asset].0 += balance.available;
            sums[asset].1 += balance.held;
        }
        for (at, (available, held)) in sums.into_iter().enumerate() {
            assert_eq!((available, held), (self.totals[at].available, self.totals[at].held), "{}", self.names[at]);
            self.assert_conserved(AssetId(at as u16));
        }
    }

    /// An account's balances that were ever touched, by asset.
    pub fn balances(&self, account: AccountId) -> impl Iterator<Item = (Asset, Balance)> + '_ {
        let all = (0..self.names.len()).map(move |at| (self.names[at], self.balance(account, AssetId(at as u16))));
        all.filter(|(_, balance)| *balance != Balance::default())
    }

    /// Bytes of memory held by the balances.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

struct Movement {
    account: AccountId,
    asset: AssetId,
    kind: PostingKind,
    available: i128,
    held: i128,
    reference: Reference,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: AccountId = AccountId(1);
    const BOB: AccountId = AccountId(2);

    fn ledger() -> (Ledger, AssetId, AssetId, Vec<Entry>) {
        let mut ledger = Ledger::default();
        let base = ledger.add_asset("BTC".parse().expect("a name")).expect("room");
        let quote = ledger.add_asset("USDT".parse().expect("a name")).expect("room");
        let mut journal = vec![];
        ledger.deposit(ALICE, quote, 1_000, &mut journal);
        ledger.deposit(BOB, base, 10, &mut journal);
        (ledger, base, quote, journal)
    }

    #[test]
    fn a_trade_settles_out_of_holds_and_its_postings_add_up() {
        let (mut ledger, base, quote, mut journal) = ledger();
        ledger.hold(ALICE, quote, 707, Reference::default(), &mut journal).expect("enough");
        ledger.hold(BOB, base, 5, Reference::default(), &mut journal).expect("enough");
        journal.clear();
        let trade = Settlement {
            buyer: ALICE,
            seller: BOB,
            base,
            quote,
            quantity: 5,
            notional: 600,
            buyer_fee: 6,
            seller_fee: 3,
            buyer_release: 101,
            seller_release: 0,
            buy_order: 1,
            sell_order: 2,
            trade: 1,
        };
        ledger.settle(&trade, AccountId::HOUSE, &mut journal);
        assert_eq!(ledger.balance(ALICE, quote), Balance { available: 394, held: 0 });
        assert_eq!(ledger.balance(BOB, quote), Balance { available: 597, held: 0 });
        assert_eq!(ledger.balance(AccountId::HOUSE, quote).available, 9);
        for asset in [base, quote] {
            let these = journal.iter().filter(|entry| entry.asset == asset);
            assert_eq!(these.map(Entry::amount).sum::<i128>(), 0, "{asset:?}");
        }
        ledger.verify();
    }

    #[test]
    fn what_is_not_there_cannot_move() {
        let (mut ledger, base, quote, mut journal) = ledger();
        let before = ledger.clone();
        let short = Short { needed: 1_001, available: 1_000 };
        assert_eq!(ledger.hold(ALICE, quote, 1_001, Reference::default(), &mut journal), Err(short));
        assert_eq!(ledger.withdraw(ALICE, quote, 1_001, &mut journal), Err(short));
        assert_eq!(ledger.transfer(ALICE, BOB, quote, 1_001, &mut journal), Err(short));
        assert_eq!(ledger.withdraw_later(ALICE, quote, 1_001, &mut journal), Err(short));
        let moves = [(ALICE, BOB, quote, 600), (ALICE, BOB, quote, 401)];
        assert_eq!(ledger.exchange(&moves, PostingKind::Bust, Reference::default(), &mut journal), Err(short));
        assert!(ledger.transfer(ALICE, BOB, base, 1, &mut journal).is_err());
        assert_eq!(ledger, before);
    }

    #[test]
    fn a_withdrawal_in_two_phases_is_held_then_posted_or_voided_once() {
        let (mut ledger, _, quote, mut journal) = ledger();
        let first = ledger.withdraw_later(ALICE, quote, 300, &mut journal).expect("enough").expect("room");
        let second = ledger.withdraw_later(ALICE, quote, 200, &mut journal).expect("enough").expect("room");
        assert_eq!(ledger.balance(ALICE, quote), Balance { available: 500, held: 500 });
        assert_eq!(ledger.held_by_pending(quote), 500);
        assert!(ledger.settle_withdrawal(first, true, &mut journal).is_some());
        assert!(ledger.settle_withdrawal(first, false, &mut journal).is_none());
        assert!(ledger.settle_withdrawal(second, false, &mut journal).is_some());
        assert_eq!(ledger.balance(ALICE, quote), Balance { available: 700, held: 0 });
        assert_eq!(ledger.totals(quote).external, 700);
        ledger.verify();
    }

    #[test]
    fn random_movements_are_conserved() {
        let mut random = fastrand::Rng::with_seed(17);
        let (mut ledger, base, quote, mut journal) = ledger();
        let mut pending = vec![];
        for _ in 0..100_000 {
            journal.clear();
            let account = AccountId(random.u32(1..6));
            let asset = if random.bool() { base } else { quote };
            let amount = i128::from(random.i64(1..1_000));
            let none = Reference::default();
            match random.u32(0..7) {
                0 => ledger.deposit(account, asset, amount, &mut journal),
                1 => drop(ledger.withdraw(account, asset, amount, &mut journal)),
                2 => drop(ledger.transfer(account, AccountId(random.u32(1..6)), asset, amount, &mut journal)),
                3 => pending.extend(ledger.withdraw_later(account, asset, amount, &mut journal).ok().flatten()),
                4 if !pending.is_empty() => {
                    let transfer = pending.swap_remove(random.usize(0..pending.len()));
                    ledger.settle_withdrawal(transfer, random.bool(), &mut journal).expect("it is pending");
                }
                5 => drop(ledger.hold(account, asset, amount, none, &mut journal)),
                _ => {
                    let free = ledger.balance(account, asset).held.min(amount);
                    let others = ledger.pending.values();
                    let locked: i128 =
                        others.filter(|it| it.account == account && it.asset == asset).map(|it| it.amount).sum();
                    if ledger.balance(account, asset).held - locked >= free {
                        ledger.release(account, asset, free, none, &mut journal);
                    }
                }
            }
        }
        ledger.verify();
    }
}
