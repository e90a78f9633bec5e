//! `matcher:` – the markets of our own exchange, and who may call it.

use model::exchange::{AccountId, MarketRules, SelfTrade};
use model::{Instrument, Price, Quantity};

use super::scalar::{count, one_of, parsed, text};
use super::section::{Context, Section};

/// The exchange of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MatcherSettings {
    pub(crate) markets: Vec<Market>,
    pub(crate) keys: Vec<Key>,
    /// Commands a second from one account, in the long run.
    pub(crate) commands_per_second: u32,
    /// Commands that one account may send at once.
    pub(crate) commands_burst: u32,
    /// Simulated traders, where there are any.
    pub(crate) traders: Option<sim::traders::TradersConfig>,
}

/// A market to be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Market {
    /// Its rules. The reference is a placeholder where `reference_given` is false.
    pub(crate) rules: MarketRules,
    /// Otherwise the first composite price becomes the reference.
    pub(crate) reference_given: bool,
}

/// A static key and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) account: AccountId,
    pub(crate) operator: bool,
}

/// Reads the section; `None` without one.
pub(super) fn read(root: &mut Section<'_>, priced: &[Instrument], context: &mut Context) -> Option<MatcherSettings> {
    let node = root.node("matcher")?;
    let mut section = Section::open(node, "matcher", context);
    let mut markets = Vec::new();
    for field in section.entries("markets", context) {
        let path = format!("matcher.markets.{}", field.name);
        let instrument: Instrument = match parsed(&field.name) {
            Ok(instrument) => instrument,
            Err(what) => {
                context.complain(field.place, &path, what);
                continue;
            }
        };
        let market = Section::open(&field.node, &path, context);
        markets.extend(read_market(market, instrument, priced, context));
    }
    if markets.is_empty() && context.problems.is_empty() {
        let what = "has no markets: add `markets: { BTC-USDT: { tick: \"0.01\", lot: \"0.00001\" } }`";
        context.complain(node.place, "matcher", what);
    }
    let mut keys: Vec<Key> = Vec::new();
    for field in section.entries("keys", context) {
        let path = format!("matcher.keys.{}", field.name);
        let mut key = Section::open(&field.node, &path, context);
        let secret = key.required("key", "${MY_MILLRACE_KEY}", context, secret);
        let account = key.required("account", "1", context, count(1..=AccountId::MAX - 1));
        let roles = [("trader", false), ("operator", true)];
        let operator = key.optional("role", context, one_of(&roles)).unwrap_or(false);
        key.finish(context);
        if let (Some(secret), Some(account)) = (secret, account) {
            if keys.iter().any(|other| other.secret == secret) {
                context.complain(field.place, &path, "has the same key as another: keys tell who calls");
            }
            keys.push(Key { name: field.name.clone(), secret, account: AccountId(account), operator });
        }
    }
    let traders = section.node("simulate_traders").map(|node| {
        let mut traders = Section::open(node, "matcher.simulate_traders", context);
        let mut config = sim::traders::TradersConfig::default();
        config.seed = traders.optional("seed", context, count(0..=u64::MAX)).unwrap_or(config.seed);
        config.makers = traders.optional("makers", context, count(0..=64)).unwrap_or(config.makers);
        config.takers = traders.optional("takers", context, count(0..=64)).unwrap_or(config.takers);
        traders.finish(context);
        config
    });
    let rate = count(1..=1_000_000);
    let commands_per_second = section.optional("commands_per_second", context, rate).unwrap_or(50);
    let commands_burst = section.optional("commands_burst", context, count(1..=1_000_000)).unwrap_or(200);
    section.finish(context);
    Some(MatcherSettings { markets, keys, commands_per_second, commands_burst, traders })
}

fn read_market(
    mut section: Section<'_>,
    instrument: Instrument,
    priced: &[Instrument],
    context: &mut Context,
) -> Option<Market> {
    let place = section.place();
    let path = section.path_of("");
    let path = path.trim_end_matches('.').to_owned();
    let price = |value: &str| parsed::<Price>(value);
    let amount = |value: &str| parsed::<Quantity>(value);
    let tick = section.required("tick", "\"0.01\"", context, price);
    let lot = section.required("lot", "\"0.00001\"", context, amount);
    let whole = |units: i64| Quantity::from_raw(units * Quantity::ONE.raw()).expect("small constants are in range");
    let min_notional = section.optional("min_notional", context, amount).unwrap_or(whole(5));
    let max_notional = section.optional("max_notional", context, amount).unwrap_or(whole(1_000_000));
    let max_quantity = section.optional("max_quantity", context, amount).unwrap_or(whole(1_000_000));
    let band_bps = section.optional("band_bps", context, count(0..=9_999)).unwrap_or(1_000);
    let protection_bps = section.optional("protection_bps", context, count(0..=9_999)).unwrap_or(500);
    let maker_bps = section.optional("maker_fee_bps", context, count(0..=9_999)).unwrap_or(2);
    let taker_bps = section.optional("taker_fee_bps", context, count(0..=9_999)).unwrap_or(5);
    let self_trade =
        section.optional("self_trade", context, one_of(SelfTrade::WORDS)).unwrap_or(SelfTrade::CancelNewest);
    let reference = section.optional("reference", context, price);
    section.finish(context);
    if reference.is_none() && !priced.contains(&instrument) {
        let what =
            format!("{instrument} is not priced in this file, so it needs a price to begin with: add `reference`");
        context.complain(place, &path, what);
    }
    let (tick, lot) = (tick?, lot?);
    // No order may be larger than a book takes; a small lot lowers the default.
    let most = i64::try_from(i128::from(lot.raw()) * i128::from(MarketRules::LOTS_MAX)).unwrap_or(i64::MAX);
    let max_quantity = max_quantity.min(Quantity::from_raw(most).unwrap_or(Quantity::MAX));
    let rules = MarketRules {
        instrument,
        tick,
        lot,
        min_notional,
        max_notional,
        max_quantity,
        band_bps,
        protection_bps,
        maker_bps,
        taker_bps,
        self_trade,
        reference: reference.unwrap_or(tick),
    };
    if let Err(error) = rules.check() {
        context.complain(place, &path, error.to_string());
    }
    Some(Market { rules, reference_given: reference.is_some() })
}

/// Keys are secrets: their text is never repeated in a message.
fn secret(value: &str) -> Result<String, String> {
    let value = text(value).map_err(|_| "a key of 16 to 1024 bytes is needed".to_owned())?;
    if value.len() < 16 || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a key needs at least 16 visible ASCII characters".to_owned());
    }
    Ok(value)
}
