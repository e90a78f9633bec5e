//! Deposits, withdrawals, transfers.

use ledger::{AssetId, Short};
use model::Quantity;
use model::exchange::{AccountId, Asset, Command, Reason};

use super::report::Detail;
use super::{Exchange, Outputs, Refused, whole};

fn short(short: Short) -> Refused {
    Refused::with(Reason::InsufficientFunds, short.needed, short.available)
}

impl Exchange {
    fn money(&self, asset: &Asset, amount: Quantity) -> Result<(AssetId, i128), Refused> {
        let asset = self.ledger.asset(asset).ok_or(Refused::plain(Reason::UnknownAsset))?;
        if !amount.is_positive() {
            return Err(Refused::with(Reason::AmountNotPositive, amount.raw(), 0));
        }
        Ok((asset, amount.raw().into()))
    }

    fn moved(&mut self, command: &Command, asset: &Asset, amount: Quantity, transfer: Option<u64>, out: &mut Outputs) {
        let amount = Some(i128::from(amount.raw()));
        self.done_with(command, Detail { asset: Some(*asset), amount, transfer, ..Detail::default() }, out);
    }

    pub(super) fn deposit(
        &mut self,
        command: &Command,
        asset: &Asset,
        amount: Quantity,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let (known, units) = self.money(asset, amount)?;
        self.ledger.deposit(command.account, known, units, &mut out.entries);
        self.moved(command, asset, amount, None, out);
        Ok(())
    }

    pub(super) fn withdraw(
        &mut self,
        command: &Command,
        asset: &Asset,
        amount: Quantity,
        pending: bool,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let (known, units) = self.money(asset, amount)?;
        let mut transfer = None;
        if pending {
            let number = self.ledger.withdraw_later(command.account, known, units, &mut out.entries).map_err(short)?;
            let most = ledger::Ledger::PENDING_MAX as i64;
            transfer = Some(number.ok_or(Refused::with(Reason::TooManyTransfers, 0, whole(most)))?);
            self.reserve(known, units);
        } else {
            self.ledger.withdraw(command.account, known, units, &mut out.entries).map_err(short)?;
        }
        self.moved(command, asset, amount, transfer, out);
        Ok(())
    }

    /// Posts or voids a pending withdrawal: the house does either, its owner may void it.
    pub(super) fn settle_withdrawal(
        &mut self,
        command: &Command,
        transfer: u64,
        post: bool,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        let pending = self.ledger.pending(transfer).ok_or(Refused::plain(Reason::UnknownTransfer))?;
        if command.account != AccountId::HOUSE && (post || command.account != pending.account) {
            return Err(Refused::plain(Reason::NotAllowed));
        }
        self.ledger.settle_withdrawal(transfer, post, &mut out.entries);
        self.reserve(pending.asset, -pending.amount);
        let name = self.ledger.name(pending.asset);
        let (asset, amount, transfer) = (Some(name), Some(pending.amount), Some(transfer));
        self.done_with(command, Detail { asset, amount, transfer, ..Detail::default() }, out);
        Ok(())
    }

    pub(super) fn transfer(
        &mut self,
        command: &Command,
        to: AccountId,
        asset: &Asset,
        amount: Quantity,
        out: &mut Outputs,
    ) -> Result<(), Refused> {
        if to.0 >= AccountId::MAX {
            return Err(Refused::with(Reason::UnknownAccount, whole(to.0), whole(AccountId::MAX)));
        }
        let (known, units) = self.money(asset, amount)?;
        self.ledger.transfer(command.account, to, known, units, &mut out.entries).map_err(short)?;
        self.moved(command, asset, amount, None, out);
        Ok(())
    }
}
