//! The exchange as callers reach it: who calls, how often, and what became of a command.

mod account;
mod body;
mod caller;
mod command;
mod following;
mod form;
mod history;
mod outcome;
mod rate;
mod refusals;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::http::StatusCode;
use matcher::exchange::Exchange;
use matcher::shell::Gateway;
use model::Instrument;
use model::exchange::AccountId;
use rustc_hash::FxHashMap;

use crate::config::Limits;
use crate::problem::{Problem, shown};

pub(crate) use account::{Accounts, Report};
pub(crate) use body::Body;
pub(crate) use caller::{Caller, HEADER, given, known};
pub(crate) use command::{Ask, Sent};
pub(crate) use following::{After, Following, Step};
pub(crate) use form::{
    AmendForm, CancelAfterForm, DepositForm, OcoForm, OrderForm, TransferForm, WithdrawalForm, instrument, number,
    order_ref,
};
pub(crate) use outcome::{Done, OrderOutcome, OrderStatus, Reply, status};
use rate::Buckets;
pub(crate) use refusals::Refusals;

/// Who may call, by a static key.
#[derive(Clone)]
pub struct ApiKey {
    /// What it is called in messages and in the configuration.
    pub name: String,
    /// What `X-Api-Key` has to hold.
    pub secret: String,
    /// On whose behalf it trades.
    pub account: AccountId,
    /// Whether it may move money in, and act on the money of other accounts.
    pub operator: bool,
}

impl ApiKey {
    /// Whose rows a statement with this key sees.
    pub const fn reader(&self) -> queries::Caller {
        if self.operator { queries::Caller::Operator } else { queries::Caller::Trader { account: self.account.0 } }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ApiKey({}, account {}, operator {})", self.name, self.account, self.operator)
    }
}

/// The exchange behind the server.
#[derive(Debug, Clone)]
pub struct ExchangeDeps {
    /// The way in. A server holds its port before the exchange starts, so it may be set later; until then the
    /// routes answer 503.
    pub gateway: Arc<OnceLock<Gateway>>,
    /// Who may call.
    pub keys: Vec<ApiKey>,
}

impl ExchangeDeps {
    /// An exchange that runs.
    pub fn new(gateway: Gateway, keys: Vec<ApiKey>) -> Self {
        Self { gateway: Arc::new(OnceLock::from(gateway)), keys }
    }
}

/// The exchange with what the server keeps for each of its callers.
#[derive(Debug)]
pub(crate) struct Desk {
    gateway: Arc<OnceLock<Gateway>>,
    keys: Vec<ApiKey>,
    /// How fast each account may send what needs room.
    commands: Buckets,
    /// How fast each account may cancel: much faster, so that cancelling is never held up by a flood of orders.
    cancels: Buckets,
    /// What the log says of each account that has a key.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) watches: Watches,
}

/// How many connections watch over each account's orders: the last one to leave stops the dead-man timer.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<FxHashMap<AccountId, usize>>);

impl Watches {
    /// One more connection.
    pub(crate) fn add(&self, account: AccountId) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(account).or_default() += 1;
    }

    /// One connection less; whether it was the last one.
    pub(crate) fn remove(&self, account: AccountId) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = counts.get_mut(&account).map_or(0, |count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == 0 {
            counts.remove(&account);
        }
        left == 0
    }
}

impl Desk {
    pub(crate) fn new(deps: &ExchangeDeps, limits: &Limits) -> Self {
        let accounts = || deps.keys.iter().map(|key| key.account);
        Self {
            gateway: Arc::clone(&deps.gateway),
            keys: deps.keys.clone(),
            commands: Buckets::new(accounts(), limits.commands_per_second_max, limits.commands_burst_max),
            cancels: Buckets::new(accounts(), limits.cancels_per_second_max, limits.cancels_burst_max),
            accounts: Arc::new(Accounts::new(accounts(), limits)),
            watches: Watches::default(),
        }
    }

    fn gateway(&self) -> Result<&Gateway, Problem> {
        self.gateway.get().ok_or_else(starting)
    }

    /// Reads the state. Keep it short: the exchange waits meanwhile.
    pub(crate) fn view<R>(&self, read: impl FnOnce(&Exchange) -> R) -> Result<R, Problem> {
        self.gateway()?.view(read).ok_or_else(starting)
    }
}

fn starting() -> Problem {
    Problem::unavailable("exchange_starting", "the exchange is starting: it has not caught up with its log yet")
}

/// The market that a caller means by `BTC-USDT`, `BTCUSDT` or `BTC`, in capital or small letters. The full name
/// wins over the joined one, and that over an asset's USDT market.
pub(crate) fn market_named(exchange: &Exchange, name: &str) -> Result<Instrument, Problem> {
    let all = || exchange.markets().map(|market| market.rules.instrument);
    let is = |text: &str| text.eq_ignore_ascii_case(name);
    let joined = |instrument: &Instrument| is(&format!("{}{}", instrument.base(), instrument.quote()));
    let found = all()
        .find(|instrument| is(instrument.as_str()))
        .or_else(|| all().find(joined))
        .or_else(|| all().find(|instrument| instrument.quote() == "USDT" && is(instrument.base())));
    found.ok_or_else(|| {
        let listed: Vec<String> = all().map(|instrument| instrument.to_string()).collect();
        let listed = if listed.is_empty() { "none so far".to_owned() } else { listed.join(", ") };
        let message = format!("market {:?} is not listed: listed are {listed}", shown(name));
        Problem::new(StatusCode::NOT_FOUND, "unknown_market", message)
    })
}
