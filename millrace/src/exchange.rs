//! Starts the exchange of a pipeline: its stage, its markets, its simulated traders.

use std::sync::Arc;
use std::time::Duration;

use aggregate::cache::PriceCache;
use anyhow::{Context as _, bail};
use matcher::shell::{Gateway, GatewayError};
use model::exchange::{AccountId, CommandBody, Execution, ExecutionKind, Phase};
use model::{PriceStatus, UnixNanos};

use crate::config::MarketSettings;

/// How long the exchange may take to answer one command of the start.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pause while a price or the exchange is waited for.
const PAUSE: Duration = Duration::from_millis(100);

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
