//! Simulated traders: makers that quote around the composite price, and takers that trade against them.
//!
//! They are clients like any other: every order goes through the gateway, is synced, matched and answered, and
//! they hold money that was deposited. What they decide follows from a seed and from the prices they see.

mod maker;
mod taker;

use std::sync::Arc;
use std::time::Duration;

use aggregate::cache::PriceCache;
use matcher::shell::{Answer, Gateway, GatewayError};
use model::exchange::{AccountId, Asset, ClientOrderId, CommandBody, ExecutionKind, MarketRules, Phase, Reason};
use model::{Instrument, Price, PriceStatus, Quantity, UnixNanos};
use tokio_util::sync::CancellationToken;

use crate::market::random::Random;
use maker::Maker;
use taker::Taker;

/// How long a trader waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Quote units that an account is given when it has less than a tenth of that.
const ENDOWMENT_QUOTE: i64 = 1_000_000;

/// Who trades, and how briskly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradersConfig {
    /// Gives the traders' choices.
    pub seed: u64,
    /// The first of their account numbers; each trader has one of its own.
    pub first_account: AccountId,
    /// Traders that quote both sides of every market.
    pub makers: u32,
    /// Traders that take.
    pub takers: u32,
    /// Time between two rounds of one trader in one market.
    pub every: Duration,
}

impl Default for TradersConfig {
    fn default() -> Self {
        Self { seed: 1, first_account: AccountId(1_000), makers: 2, takers: 2, every: Duration::from_secs(1) }
    }
}

/// What every trader has.
struct Desk {
    gateway: Gateway,
    cache: Arc<dyn PriceCache>,
    account: AccountId,
    random: Random,
    orders: u64,
    /// Tells this run's client order ids from earlier ones.
    run: u64,
}

/// Trades until `stop`. Ends early only when the exchange has stopped.
pub async fn run(config: TradersConfig, gateway: Gateway, cache: Arc<dyn PriceCache>, stop: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    let run = wall_clock().0 as u64;
    for number in 0..config.makers + config.takers {
        let desk = Desk {
            gateway: gateway.clone(),
            cache: Arc::clone(&cache),
            account: AccountId(config.first_account.0 + number),
            random: Random::new(config.seed, &["trader", &number.to_string()]),
            orders: 0,
            run,
        };
        let (every, stop, makes) = (config.every, stop.clone(), number < config.makers);
        tasks.spawn(async move {
            let trading =
                async { if makes { trade(Maker::new(), desk, every).await } else { trade(Taker, desk, every).await } };
            stop.run_until_cancelled(trading).await;
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// What a trader does in one market when its turn comes.
trait Trader: Send {
    /// Trades around `fair`, the composite price.
    async fn turn(&mut self, desk: &mut Desk, rules: &MarketRules, fair: Price) -> Result<(), GatewayError>;
}

/// Goes round the markets for ever.
async fn trade(mut trader: impl Trader, mut desk: Desk, every: Duration) {
    loop {
        let markets: Vec<MarketRules> = desk
            .gateway
            .view(|exchange| {
                let open = |market: &matcher::exchange::MarketView| market.phase == Phase::Open && !market.killed;
                exchange.markets().filter(open).map(|market| market.rules).collect()
            })
            .unwrap_or_default();
        let pause = every / u32::try_from(markets.len().max(1)).unwrap_or(u32::MAX);
        for rules in &markets {
            if let Some(fair) = desk.fair(&rules.instrument).await {
                let done = async {
                    desk.fund(rules).await?;
                    trader.turn(&mut desk, rules, fair).await
                };
                // Busy, catching up, unknown: the next round looks at the state again.
                if let Err(error) = done.await {
                    tracing::debug!(account = %desk.account, %error, "a simulated trader waits");
                }
            }
            // Without a price as well: nothing above has to wait for anything, and who never waits keeps a thread of
            // the runtime for itself.
            tokio::time::sleep(pause).await;
        }
        if markets.is_empty() {
            tokio::time::sleep(every).await;
        }
    }
}

impl Desk {
    /// The composite price, unless it is stale.
    async fn fair(&self, instrument: &Instrument) -> Option<Price> {
        let cached = self.cache.get(instrument).await.ok()??;
        let price = cached.price();
        (price.status != PriceStatus::Stale && price.price.is_positive()).then_some(price.price)
    }

    /// Sends a command and waits for what became of it.
    async fn send(&mut self, body: CommandBody) -> Result<Answer, GatewayError> {
        self.orders += 1;
        let request: ClientOrderId = format!("sim-{:x}-{}", self.run, self.orders).parse().expect("a short id");
        self.gateway.submit(self.account, Some(request), wall_clock(), body)?.answer(ANSWER_WITHIN).await
    }

    /// Makes sure that there is money and stock to trade with.
    async fn fund(&mut self, rules: &MarketRules) -> Result<(), GatewayError> {
        let Some(reference) = Quantity::from_raw(rules.reference.raw()).filter(|price| price.is_positive()) else {
            return Ok(());
        };
        let units = i128::from(ENDOWMENT_QUOTE) * i128::from(Quantity::ONE.raw());
        let base = units * i128::from(Quantity::ONE.raw()) / i128::from(reference.raw());
        for (asset, endowment) in [(rules.instrument.quote(), units), (rules.instrument.base(), base)] {
            let asset: Asset = asset.parse().expect("assets of instruments are names");
            let account = self.account;
            let has = self.gateway.view(|exchange| {
                let of_asset = |(name, balance): (Asset, ledger::Balance)| (name == asset).then_some(balance);
                exchange.balances(account).find_map(of_asset).map_or(0, |balance| balance.available)
            });
            let Some(has) = has else { return Ok(()) };
            let missing = i64::try_from(endowment).ok().and_then(Quantity::from_raw);
            if let Some(amount) = missing.filter(|_| has < endowment / 10) {
                self.send(CommandBody::Deposit { asset, amount }).await?;
            }
        }
        Ok(())
    }

    /// A number from `low` up to and without `high`.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.random.below((high - low).unsigned_abs().max(1)) as i64
    }

    /// Whole lots near `share` millionths of what a million quote units buy at `price`; at least what the
    /// market's least notional asks for.
    fn quantity(&mut self, rules: &MarketRules, price: Price, share: i64) -> Option<Quantity> {
        let units = i128::from(share) * i128::from(Quantity::ONE.raw()) * i128::from(Quantity::ONE.raw());
        let least = i128::from(rules.min_notional.raw()) * i128::from(Quantity::ONE.raw());
        let raw = units.max(least * 2) / i128::from(price.raw());
        let lot = i128::from(rules.lot.raw());
        let whole = ((raw / lot).max(1) * lot).min(i128::from(rules.max_quantity.raw()));
        i64::try_from(whole).ok().and_then(Quantity::from_raw)
    }
}

/// A price of whole ticks, at least one.
fn on_tick(rules: &MarketRules, raw: i128) -> Option<Price> {
    let tick = i128::from(rules.tick.raw());
    i64::try_from((raw / tick).max(1) * tick).ok().and_then(Price::from_raw)
}

/// Whether an answer says no for a reason that funds explain.
fn short_of_funds(answer: &Answer) -> bool {
    answer
        .executions
        .iter()
        .any(|one| one.kind == ExecutionKind::Rejected && one.reason == Some(Reason::InsufficientFunds))
}

fn wall_clock() -> UnixNanos {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
