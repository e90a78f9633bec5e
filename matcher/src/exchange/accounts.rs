//! What the exchange keeps of an account besides its money: its open orders, newest first, and its limits.

use crate::book::NONE;

use super::Exchange;
use super::order::NEVER;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccountRow {
    /// Executions so far.
    pub(super) sequence: u64,
    /// When all its orders are cancelled; [`NEVER`] for no deadline.
    pub(super) deadline: i64,
    /// Its newest open order.
    pub(super) head: u32,
    /// Open orders.
    pub(super) open: u32,
    /// Open orders, at most; 0 for the exchange's default.
    pub(super) open_max: u32,
    pub(super) killed: bool,
}

impl Default for AccountRow {
    fn default() -> Self {
        Self { sequence: 0, deadline: NEVER, head: NONE, open: 0, open_max: 0, killed: false }
    }
}

impl Exchange {
    #[inline]
    pub(super) fn account_row(&self, account: u32) -> AccountRow {
        self.accounts.get(account as usize).copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn account_mut(&mut self, account: u32) -> &mut AccountRow {
        if self.accounts.len() <= account as usize {
            self.accounts.resize(account as usize + 1, AccountRow::default());
        }
        &mut self.accounts[account as usize]
    }

    /// Adds the order at `slot` to its account's list.
    #[inline]
    pub(super) fn list(&mut self, slot: u32) {
        let row = self.account_mut(self.nodes.get(slot).tag);
        let head = std::mem::replace(&mut row.head, slot);
        row.open += 1;
        let rec = &mut self.recs[slot as usize];
        (rec.next, rec.prev) = (head, NONE);
        if head != NONE {
            self.recs[head as usize].prev = slot;
        }
    }

    /// Takes the order at `slot` out of its account's list.
    #[inline]
    pub(super) fn unlist(&mut self, slot: u32) {
        let (next, prev) = (self.recs[slot as usize].next, self.recs[slot as usize].prev);
        if next != NONE {
            self.recs[next as usize].prev = prev;
        }
        let row = &mut self.accounts[self.nodes.get(slot).tag as usize];
        row.open -= 1;
        if prev == NONE {
            row.head = next;
        } else {
            self.recs[prev as usize].next = next;
        }
    }
}
