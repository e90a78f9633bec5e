//! Kill -9 in a loop: what was seen as durable stays, nothing is invented or doubled, and what was derived
//! equals one cold fold of the ticks, byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aggregate::config::{Config, Rules};
use aggregate::core::{Aggregator, Output, Stamp};
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::{Log, Partition, Record, Visibility};
use model::exchange::Command;
use model::{Instrument, Origin, Role, Tick, TickBody, topic};

use crate::program::{INSTRUMENTS, Place, Running};

/// Kills of the test run; `MILLRACE_KILL_CYCLES` sets another number.
const CYCLES: u32 = 50;

/// Market of the exchange, with simulated traders, so that orders are in flight as well.
const EXCHANGE: &str = "matcher:\n  markets:\n    BTC-USDT: { tick: \"0.01\", lot: \"0.00001\" }\n  simulate_traders: { seed: 3, makers: 2, takers: 2 }\n";

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

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let all = runtime.block_on(read_all(&place));
    for ((name, offset), line) in &seen {
        let record = all[*name].get(*offset as usize).unwrap_or_else(|| panic!("seed {seed}: {name}/{offset} is lost"));
        assert_eq!(record.offset, *offset);
        if *name == topic::PRICES || *name == topic::EXECUTIONS {
            let content = std::str::from_utf8(&record.value).unwrap();
            assert!(line.contains(content), "seed {seed}: {name}/{offset} is another record now");
        }
    }
    let [ticks, prices, candles] = [topic::TICKS, topic::PRICES, topic::CANDLES].map(|name| &all[name]);
    roots_come_once(
        ticks
            .iter()
            .map(|record| Tick::decode(&record.value).unwrap())
            .map(|tick| (tick.origin, matches!(tick.body, TickBody::Claim(_)))),
    );
    roots_come_once(
        all[topic::ORDERS]
            .iter()
            .map(|record| Command::decode(&record.value).unwrap())
            .map(|command| (command.origin, matches!(command.body, model::exchange::CommandBody::Claim))),
    );
    let (cold_prices, cold_candles) = fold(ticks);
    assert!(cold_prices.len() > 10, "{} prices", cold_prices.len());
    equal("prices", prices, &cold_prices, seed);
    equal("candles", candles, &cold_candles, seed);
    exchange_is_one_fold(&all, seed, runtime.block_on(incarnation(&place)));
    println!(
        "{cycles} kills: {} records seen before a kill, {} ticks, {} prices, {} candles, {} orders, {} executions: 0 lost, 0 invented, 0 doubled",
        seen.len(),
        ticks.len(),
        prices.len(),
        candles.len(),
        all[topic::ORDERS].len(),
        all[topic::EXECUTIONS].len(),
    );
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

async fn open(place: &Place) -> Arc<EmbeddedLog> {
    Arc::new(EmbeddedLog::open(place.path("data/log"), EmbeddedConfig::default()).await.unwrap())
}

async fn incarnation(place: &Place) -> u128 {
    let log = open(place).await;
    let incarnation = log.incarnation();
    log.close().await.unwrap();
    incarnation
}

async fn read_all(place: &Place) -> BTreeMap<String, Vec<Record>> {
    let log = open(place).await;
    let mut all = BTreeMap::new();
    for (name, partitions) in log.topics().await.unwrap() {
        assert_eq!(partitions, 1, "{name}");
        let partition = Partition::new(&name, 0);
        let bounds = log.bounds(&partition).await.unwrap();
        assert_eq!(bounds.start, 0, "nothing of {name} is old enough to go");
        let mut records = Vec::new();
        let mut reader = log.reader(&partition, 0, Visibility::Durable).await.unwrap();
        while reader.position() < bounds.end {
            reader.read(&mut records).await.unwrap();
        }
        all.insert(name.to_string(), records);
    }
    log.close().await.unwrap();
    all
}

/// Each role counts up by one under its newest claim, and no number comes twice.
fn roots_come_once(records: impl Iterator<Item = (Origin, bool)>) {
    let mut newest: BTreeMap<Role, (u64, u64)> = BTreeMap::new();
    for (offset, (origin, is_claim)) in (0u64..).zip(records) {
        let Origin::Root { role, epoch, sequence } = origin else { continue };
        if is_claim {
            newest.insert(role, (offset, 0));
            continue;
        }
        let (claimed, last) = newest.get_mut(&role).unwrap_or_else(|| panic!("{role} writes before its claim"));
        assert_eq!((epoch, sequence), (*claimed, *last + 1), "{role} at {offset}");
        *last = sequence;
    }
}

/// Prices and candles of one cold fold.
fn fold(ticks: &[Record]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let instruments = INSTRUMENTS.map(|name| name.parse::<Instrument>().unwrap());
    let rules = Config::uniform(&instruments, &Rules::default()).unwrap();
    let mut core = Aggregator::new(Arc::new(rules));
    let (mut prices, mut candles, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for record in ticks {
        let tick = Tick::decode(&record.value).unwrap();
        core.apply(Stamp { partition: 0, offset: record.offset }, &tick, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Price(price) => {
                    let mut json = Vec::new();
                    price.write_json(&mut json);
                    prices.push(json);
                }
                Output::Candle(candle) => candles.push(serde_json::to_vec(&candle).unwrap()),
                Output::Rate(_) => {}
            }
        }
    }
    (prices, candles)
}

/// What the topic holds is the fold's output; the fold may be a little ahead, never the other way round.
fn equal(name: &str, records: &[Record], cold: &[Vec<u8>], seed: u64) {
    assert!(
        records.len() <= cold.len(),
        "seed {seed}: {} {name} in the log, {} in the fold",
        records.len(),
        cold.len()
    );
    assert!(cold.len() - records.len() < 200, "seed {seed}: {name} are far behind");
    for (record, cold) in records.iter().zip(cold) {
        assert_eq!(
            String::from_utf8_lossy(&record.value),
            String::from_utf8_lossy(cold),
            "seed {seed}: {name}/{}",
            record.offset
        );
    }
}

/// The exchange's outputs are those of one cold fold of its inbox.
fn exchange_is_one_fold(all: &BTreeMap<String, Vec<Record>>, seed: u64, incarnation: u128) {
    use matcher::exchange::{Exchange, OutputTopic, Outputs};
    let mut exchange = Exchange::new(incarnation as u64 ^ (incarnation >> 64) as u64);
    let mut outputs = Outputs::default();
    let mut cold: BTreeMap<&str, Vec<Vec<u8>>> = OutputTopic::ALL.map(|one| (one.name(), Vec::new())).into();
    for record in &all[topic::ORDERS] {
        let command = Command::decode(&record.value).unwrap();
        exchange.apply(record.offset, &command, &mut outputs);
        for one in OutputTopic::ALL {
            for index in 0..outputs.len(one) {
                let mut json = Vec::new();
                outputs.write(one, index, 0, &mut json);
                cold.get_mut(one.name()).unwrap().push(json);
            }
        }
    }
    exchange.verify();
    for (name, cold) in cold {
        equal(name, &all[name], &cold, seed);
    }
}
