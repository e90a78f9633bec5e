//! Whether every part works. Parts register a probe each; `/healthz` asks them all.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Works.
    Ok,
    /// Works with less than it should have: one venue of three is away, say.
    Degraded,
    /// Does not work: `/healthz` answers 503.
    Down,
}

/// How a part is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartHealth {
    /// How it is.
    pub status: Condition,
    /// A sentence for people: what is wrong since when, or the figures that say it is well.
    pub detail: String,
}

impl PartHealth {
    /// A part that works.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self { status: Condition::Ok, detail: detail.into() }
    }

    /// A part that works with less than it should have.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self { status: Condition::Degraded, detail: detail.into() }
    }

    /// A part that does not work.
    pub fn down(detail: impl Into<String>) -> Self {
        Self { status: Condition::Down, detail: detail.into() }
    }
}

/// The health of every part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthReport {
    /// The worst of the parts.
    pub status: Condition,
    /// Every part by name.
    pub parts: BTreeMap<String, PartHealth>,
}

type Probe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = PartHealth> + Send>> + Send + Sync>;

/// The parts that report. Clones share one list.
#[derive(Clone, Default)]
pub struct HealthRegistry {
    probes: Arc<Mutex<BTreeMap<String, Probe>>>,
    latest: Arc<tokio::sync::Mutex<Option<(Instant, HealthReport)>>>,
}

impl HealthRegistry {
    /// A probe that takes longer counts as down.
    const PROBE_TIME_MAX: Duration = Duration::from_secs(1);
    /// A report serves all who ask within this time, so that asking often costs the parts nothing.
    const REPORT_KEPT: Duration = Duration::from_millis(250);

    /// No parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `probe` for the health of `part` from now on; an earlier probe of that name is replaced. It is
    /// called at most four times a second and should look at what is known rather than try things out.
    pub fn register(&self, part: &str, probe: impl Fn() -> PartHealth + Send + Sync + 'static) {
        self.register_async(part, move || std::future::ready(probe()));
    }

    /// As [`Self::register`], for a probe that waits. After a second it counts as down.
    pub fn register_async<F>(&self, part: &str, probe: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = PartHealth> + Send + 'static,
    {
        let probe: Probe = Arc::new(move || Box::pin(probe()));
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).insert(part.to_owned(), probe);
    }

    /// The health of all parts, at most a quarter of a second old.
    pub async fn report(&self) -> HealthReport {
        let mut latest = self.latest.lock().await;
        if let Some((at, report)) = &*latest
            && at.elapsed() < Self::REPORT_KEPT
        {
            return report.clone();
        }
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked = probes.into_iter().map(|(part, probe)| async move {
            let health = tokio::time::timeout(Self::PROBE_TIME_MAX, probe()).await;
            let late = || PartHealth::down(format!("no answer within {} s", Self::PROBE_TIME_MAX.as_secs()));
            (part, health.unwrap_or_else(|_| late()))
        });
        let parts: BTreeMap<String, PartHealth> = join_all(asked).await.into_iter().collect();
        let status = parts.values().map(|part| part.status).max().unwrap_or(Condition::Ok);
        let report = HealthReport { status, parts };
        *latest = Some((Instant::now(), report.clone()));
        report
    }
}

impl fmt::Debug for HealthRegistry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        out.debug_set().entries(probes.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_worst_part_decides_and_a_silent_one_is_down() {
        let health = HealthRegistry::new();
        assert_eq!(health.report().await.status, Condition::Ok);
        let health = HealthRegistry::new();
        health.register("log", || PartHealth::ok("writes"));
        health.register("binance", || PartHealth::degraded("silent for 3 s"));
        assert_eq!(health.report().await.status, Condition::Degraded);
        let health = HealthRegistry::new();
        health.register_async("redis", std::future::pending);
        health.register("log", || PartHealth::ok("writes"));
        let report = health.report().await;
        assert_eq!(report.status, Condition::Down);
        assert_eq!(report.parts["redis"], PartHealth::down("no answer within 1 s"));
    }
}
