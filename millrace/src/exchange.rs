//! Starts the exchange of a pipeline: its markets, and its books in Redis.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::{MirrorConfig, PriceCache, RedisMirror, Version};
use anyhow::{Context as _, bail};
use matcher::exchange::MARKETS_MAX;
use matcher::shell::{Gateway, GatewayError};
use model::exchange::{AccountId, CommandBody, Execution, ExecutionKind, Phase};
use model::{Instrument, PriceStatus, UnixNanos};

use crate::config::MarketSettings;

/// How long the exchange may take to answer one command of the start.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pause while a price or the exchange is waited for.
const PAUSE: Duration = Duration::from_millis(100);
/// Levels of each side that Redis is shown.
const MIRRORED_LEVELS: usize = 20;
/// How often Redis is shown the books that changed.
const MIRROR_EVERY: Duration = Duration::from_millis(100);

/// Lists and opens the markets as the file has them. A market whose rules differ from the file's gets the
/// file's; a market that an operator halted or closed stays so.
///
/// # Errors
/// When the exchange refuses the rules: tick and lot of a listed market never change.
pub(crate) async fn list_markets(
    gateway: Gateway,
    cache: Arc<dyn PriceCache>,
    markets: Vec<MarketSettings>,
) -> anyhow::Result<()> {
    for market in markets {
        let instrument = market.rules.instrument;
        let listed = loop {
            match gateway.view(|exchange| exchange.market(&instrument)) {
                Some(listed) => break listed,
                None => tokio::time::sleep(PAUSE).await,
            }
        };
        let mut rules = market.rules;
        if !market.reference_given {
            rules.reference = match listed {
                Some(listed) => listed.rules.reference,
                None => first_price(&*cache, &market).await,
            };
        }
        if listed.is_none_or(|listed| listed.rules != rules) {
            house(&gateway, CommandBody::ListMarket(Box::new(rules)))
                .await
                .with_context(|| format!("market {instrument} cannot be listed"))?;
        }
        if listed.is_none_or(|listed| listed.phase == Phase::PreOpen) {
            house(&gateway, CommandBody::SetPhase { instrument, phase: Phase::Open })
                .await
                .with_context(|| format!("market {instrument} cannot be opened"))?;
        }
        tracing::info!(%instrument, "market is listed");
    }
    Ok(())
}

/// Waits for the first composite price that can be trusted, in whole ticks.
async fn first_price(cache: &dyn PriceCache, market: &MarketSettings) -> model::Price {
    loop {
        if let Ok(Some(cached)) = cache.get(&market.rules.instrument).await
            && cached.price().status != PriceStatus::Stale
        {
            let price = cached.price().price.round_to(market.rules.tick);
            if price.is_positive() {
                return price;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Carries out an operator's command, again while the exchange is busy.
async fn house(gateway: &Gateway, body: CommandBody) -> anyhow::Result<Execution> {
    loop {
        let now = UnixNanos(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_nanos())?);
        let answered = match gateway.submit(AccountId::HOUSE, None, now, body.clone()) {
            Ok(receipt) => receipt.answer(ANSWER_WITHIN).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => {
                let first = answer.executions.first().context("the exchange gave no execution")?;
                if first.kind == ExecutionKind::Rejected {
                    bail!(first.text().unwrap_or_else(|| "rejected".to_owned()));
                }
                return Ok(*first);
            }
            // Listing and opening may be repeated without harm.
            Err(GatewayError::Superseded) => bail!(GatewayError::Superseded),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Shows the top of each book in Redis: `book:BTC-USDT`, and the channel `books.BTC-USDT` at each change. A book
/// that does not change is shown again before it would disappear.
///
/// # Errors
/// When the address cannot be used.
pub(crate) fn mirror_books(
    url: &str,
    ttl: Duration,
    gateway: Gateway,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let mirror = RedisMirror::start(MirrorConfig {
        url: url.to_owned(),
        ttl,
        key_prefix: "book:",
        channel_prefix: "books.",
        keys_max: MARKETS_MAX,
    })?;
    Ok(async move {
        let mut shown: BTreeMap<Instrument, (Version, Instant)> = BTreeMap::new();
        loop {
            let books = gateway.view(|exchange| {
                let due = |instrument: &Instrument, version: &Version| {
                    let last = shown.get(instrument);
                    last.is_none_or(|(known, at)| known != version || at.elapsed() >= ttl / 3)
                };
                let all = exchange.markets().map(|market| (market.rules.instrument, version_of(&market)));
                let due: Vec<_> = all.filter(|(instrument, version)| due(instrument, version)).collect();
                due.into_iter()
                    .map(|(name, version)| {
                        let mut json = Vec::new();
                        exchange.write_book(&name, MIRRORED_LEVELS, &mut json);
                        (name, version, json)
                    })
                    .collect()
            });
            let books: Vec<(Instrument, Version, Vec<u8>)> = books.unwrap_or_default();
            for (instrument, version, json) in books {
                mirror.put(instrument.as_str(), version, json.into());
                shown.insert(instrument, (version, Instant::now()));
            }
            tokio::time::sleep(MIRROR_EVERY).await;
        }
    })
}

/// Grows with each change of the book. The time does not take part: it moves without one.
fn version_of(market: &matcher::exchange::MarketView) -> Version {
    Version { sequence: market.sequence, ts_event: UnixNanos(0) }
}
