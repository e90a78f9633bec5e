//! Captured frames through the log.

use std::path::PathBuf;

use ingest::SourceConfig;
use ingest::replay::{self, ReplayConfig, Speed};
use model::topic::DEAD_LETTERS;
use model::{TickBody, TickFlags};
use tokio_util::sync::CancellationToken;

use crate::stage::{read_all, test_log, ticks};

fn config(files: Vec<PathBuf>, speed: Speed) -> ReplayConfig {
    let instruments = ["BTC-USDT".parse().unwrap(), "ETH-USDT".parse().unwrap()];
    let source = SourceConfig::new("binance".parse().unwrap(), "binance", &instruments, &[]).unwrap();
    ReplayConfig { source, files, speed, max_clock_skew: std::time::Duration::from_secs(5) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_capture_is_replayed_whole() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures/binance-spot-2024-08-08");
    if !folder.is_dir() {
        return println!("NOT RUN: there is no capture {}", folder.display());
    }
    let names = ["ethusdt_20240809.gz", "btcusdt_20240808.gz", "btcusdt_20240809.gz", "ethusdt_20240808.gz"];
    let files = names.iter().map(|name| folder.join(name)).collect();
    let log = test_log().await;
    let mut calls = 0;
    let began = std::time::Instant::now();
    let progress = |_: &replay::Progress| calls += 1;
    let done =
        replay::run(config(files, Speed::Max), log.log.clone(), progress, CancellationToken::new()).await.unwrap();
    println!("{} ticks replayed into the log in {:?} (test profile)", done.ticks, began.elapsed());
    assert_eq!((done.frames, done.refused, done.gaps), (179_318, 0, 0));
    assert!(calls > 10 && done.bytes == done.bytes_total);
    let ticks = ticks(&*log.log).await;
    let count = |is: &dyn Fn(&TickBody) -> bool| ticks.iter().flatten().filter(|tick| is(&tick.body)).count();
    assert_eq!(count(&|body| matches!(body, TickBody::Trade(_))), 34_419);
    assert!(count(&|body| matches!(body, TickBody::Quote(_))) > 100_000);
    // The recorder's clock ran 1.27 s behind: within what is believed.
    let trades = ticks.iter().flatten().filter(|tick| matches!(tick.body, TickBody::Trade(_)));
    let mut lags: Vec<i64> = trades
        .inspect(|tick| assert!(!tick.flags.any(TickFlags::TIME_REPLACED)))
        .map(|tick| tick.ts_recv.since(tick.ts_event))
        .collect();
    lags.sort_unstable();
    assert!((-1_400_000_000..-1_100_000_000).contains(&lags[lags.len() / 2]), "{}", lags[lags.len() / 2]);
    // Merged by time: receipt never goes back.
    for ticks in &ticks {
        let stream = ticks.iter().filter(|tick| !matches!(tick.body, TickBody::Claim(_)));
        assert!(stream.clone().zip(stream.skip(1)).all(|(one, next)| one.ts_recv <= next.ts_recv));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_lines_are_dead_letters_and_speed_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.txt");
    let trade = |at: u64, id: u64| {
        format!(
            r#"{at} {{"e":"trade","E":1,"s":"BTCUSDT","t":{id},"p":"61837.63","q":"0.02","T":{},"m":true}}"#,
            at / 1_000_000
        )
    };
    let start = 1_723_161_254_000_000_000;
    let lines = [
        trade(start, 1),
        "nonsense".into(),
        format!("{start} {{"),
        trade(start + 400_000_000, 2),
        trade(start + 800_000_000, 5),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let log = test_log().await;
    let began = std::time::Instant::now();
    let done = replay::run(config(vec![path], Speed::Times(2.0)), log.log.clone(), |_| {}, CancellationToken::new())
        .await
        .unwrap();
    assert!(began.elapsed().as_millis() >= 400, "half of the capture's 0.8 s");
    assert_eq!((done.frames, done.refused, done.gaps), (4, 2, 1));
    let letters = read_all(&*log.log, DEAD_LETTERS, 1).await.remove(0);
    let letters: Vec<serde_json::Value> =
        letters.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect();
    assert_eq!(letters.len(), 2);
    assert!(letters[0]["offset"].as_str().unwrap().ends_with("capture.txt:2"), "{}", letters[0]);
    assert!(letters[1]["reason"].as_str().unwrap().contains("truncated"), "{}", letters[1]);
    assert!(
        replay::run(
            config(vec![folder.path().join("none")], Speed::Max),
            log.log.clone(),
            |_| {},
            CancellationToken::new()
        )
        .await
        .is_err()
    );
}
