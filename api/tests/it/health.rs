//! `/healthz` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::PartHealth;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use crate::support::Harness;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_lost_turns_health_red_and_green_again() {
    let harness = Harness::start().await;
    let report = harness.get_until("/healthz", |answer| answer.status == 200).await.json();
    assert_eq!(report["status"], "ok");
    assert_eq!(report["parts"]["log"], json!({"status": "ok", "detail": "accepts records"}));
    assert_eq!(report["parts"]["cache"]["status"], "ok");
    let lost = Arc::new(AtomicBool::new(false));
    let probe = Arc::clone(&lost);
    harness.deps.health.register("redis", move || match probe.load(Ordering::Relaxed) {
        true => PartHealth::down("no connection for 2 s"),
        false => PartHealth::ok("connected"),
    });
    harness.deps.health.register("kraken", || PartHealth::degraded("silent for 9 s"));
    let report = harness.get_until("/healthz", |answer| answer.json()["status"] == "degraded").await;
    assert_eq!(report.status, 200);
    lost.store(true, Ordering::Relaxed);
    let report = harness.get_until("/healthz", |answer| answer.status == 503).await.json();
    assert_eq!(report["status"], "down");
    assert_eq!(report["parts"]["redis"], json!({"status": "down", "detail": "no connection for 2 s"}));
    lost.store(false, Ordering::Relaxed);
    harness.get_until("/healthz", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_log_is_named() {
    let harness = Harness::start().await;
    harness.get_until("/healthz", |answer| answer.status == 200).await;
    harness.store.log.close().await.unwrap();
    let report = harness.get_until("/healthz", |answer| answer.status == 503).await.json();
    assert_eq!(report["parts"]["log"]["status"], "down", "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_need_a_recorder() {
    let harness = Harness::start().await;
    harness.get("/metrics").await.is_error(503, "no_metrics", &["keeps no metrics"]);
    let recorder = PrometheusBuilder::new().build_recorder();
    let store = Arc::clone(&harness.store);
    let harness = Harness::with_metrics(store, recorder.handle()).await;
    metrics::with_local_recorder(&recorder, || metrics::counter!("millrace_test_total", "venue" => "x").increment(3));
    let answer = harness.get("/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4"));
    assert!(answer.text.contains("millrace_test_total{venue=\"x\"} 3"), "{}", answer.text);
}
