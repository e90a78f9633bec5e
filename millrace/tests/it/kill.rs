//! Kill -9 in a loop: what was seen as durable stays, nothing is invented or doubled, and what was derived
//! equals one cold fold of the ticks, byte for byte.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::Log;
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use model::topic;

use crate::fold::{exchange_is_one_fold, inboxes_are_whole, prices_are_one_fold, read_all};
use crate::program::{Place, Running};

/// Kills of the test run; `MILLRACE_KILL_CYCLES` sets another number.
const CYCLES: u32 = 50;

/// Market of the exchange, with simulated traders, so that orders are in flight as well; and a lake that commits
/// every moment.
const EXCHANGE: &str = "matcher:\n  markets:\n    BTC-USDT: { tick: \"0.01\", lot: \"0.00001\" }\n  simulate_traders: { seed: 3, makers: 2, takers: 2 }\nlake: { type: directory, roll: { rows: 2000, age: 200ms } }\n";

#[test]
fn nothing_is_lost_invented_or_doubled() {
    let cycles = std::env::var("MILLRACE_KILL_CYCLES").map_or(CYCLES, |text| text.parse().expect("a number"));
    let seed = 11;
    let mut random = fastrand::Rng::with_seed(seed);
    let place = Place::new(EXCHANGE);
    // Topic and offset to content, as a reader of durable records saw it before a kill.
    let mut seen: BTreeMap<(&str, u64), String> = BTreeMap::new();
    for cycle in 0..cycles {
        let running = place.up();
        std::thread::sleep(Duration::from_millis(random.u64(0..1_500)));
        for name in [topic::TICKS, topic::ORDERS, topic::PRICES, topic::EXECUTIONS] {
            let records = observe(&running, name);
            for (offset, line) in records {
                let before = seen.insert((name, offset), line.clone());
                assert!(
                    before.is_none_or(|before| before == line),
                    "seed {seed} cycle {cycle}: {name}/{offset} changed"
                );
            }
        }
        running.kill();
    }
    // One clean run at the end, so that derived records have caught up.
    let running = place.up();
    running.wait_for("/healthz", |text| text.contains("\"status\":\"ok\""));
    std::thread::sleep(Duration::from_millis(500));
    assert!(running.interrupt(), "seed {seed}: the last run ends cleanly");

    the_lake_has_every_offset_once(&place, seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (all, incarnation) = runtime.block_on(async {
        let log = EmbeddedLog::open(place.path("data/log"), EmbeddedConfig::default()).await.unwrap();
        let all = read_all(&log).await;
        log.close().await.unwrap();
        (all, log.incarnation())
    });
    for ((name, offset), line) in &seen {
        let record = all[*name].get(*offset as usize).unwrap_or_else(|| panic!("seed {seed}: {name}/{offset} is lost"));
        assert_eq!(record.offset, *offset);
        if *name == topic::PRICES || *name == topic::EXECUTIONS {
            let content = std::str::from_utf8(&record.value).unwrap();
            assert!(line.contains(content), "seed {seed}: {name}/{offset} is another record now");
        }
    }
    inboxes_are_whole(&all);
    prices_are_one_fold(&all, seed);
    exchange_is_one_fold(&all, seed, incarnation);
    println!(
        "{cycles} kills: {} records seen before a kill, {} ticks, {} prices, {} candles, {} orders, {} executions: 0 lost, 0 invented, 0 doubled",
        seen.len(),
        all[topic::TICKS].len(),
        all[topic::PRICES].len(),
        all[topic::CANDLES].len(),
        all[topic::ORDERS].len(),
        all[topic::EXECUTIONS].len(),
    );
}

/// What has landed over all those kills is the log, record by record.
fn the_lake_has_every_offset_once(place: &Place, seed: u64) {
    let verified = place.run(&["verify"]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "seed {seed}: {text}{}", String::from_utf8_lossy(&verified.stderr));
    for table in ["ticks", "orders", "executions", "ledger"] {
        let line = text.lines().find(|line| line.starts_with(table)).unwrap_or_else(|| panic!("{table}: {text}"));
        assert!(line.contains("every offset once") && !line.contains("; 0 rows"), "seed {seed}: {line}");
    }
    print!("{text}");
}

/// The newest records of a topic, as the API shows them: offset and line.
fn observe(running: &Running, name: &str) -> Vec<(u64, String)> {
    let path = format!("/topics/{name}/records?from=-200&follow=false");
    let Some(body) = running.get(&path) else { return Vec::new() };
    let line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some((value.get("offset")?.as_u64()?, line.to_owned()))
    };
    body.lines().filter_map(line).collect()
}
