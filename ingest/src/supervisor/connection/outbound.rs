//! What we still have to say on a connection, within the venue's message budget.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::budget::Allowance;
use crate::connector::Budget;

/// Messages that wait, oldest first; pings go ahead of them.
#[derive(Debug)]
pub(super) struct Outbound {
    messages: VecDeque<String>,
    allowance: Allowance,
    /// When the budget allows the next one; `None` when nothing waits.
    due: Option<Instant>,
}

impl Outbound {
    /// Messages that wait, at most: past it the connection is in such trouble that it must be renewed.
    const MAX: usize = 10_000;

    pub(super) fn new(budget: Budget) -> Self {
        Self { messages: VecDeque::new(), allowance: Allowance::new(budget), due: None }
    }

    pub(super) fn extend(&mut self, messages: Vec<String>, now: Instant) {
        self.messages.extend(messages);
        if !self.messages.is_empty() {
            self.due.get_or_insert(now);
        }
    }

    pub(super) fn first(&mut self, message: String, now: Instant) {
        self.messages.push_front(message);
        self.due.get_or_insert(now);
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.messages.len() > Self::MAX
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next message, if the budget has room for it now.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        if self.messages.is_empty() {
            self.due = None;
            return None;
        }
        match self.allowance.take(now) {
            Ok(()) => {
                let message = self.messages.pop_front();
                self.due = (!self.messages.is_empty()).then_some(now);
                message
            }
            Err(later) => {
                self.due = Some(later);
                None
            }
        }
    }
}
