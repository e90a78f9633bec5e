//! What one cold fold of the inboxes gives, and that the topics hold just that.

use std::collections::BTreeMap;
use std::sync::Arc;

use aggregate::config::{Config, Rules};
use aggregate::core::{Aggregator, Output, Stamp};
use journal::{Log, Partition, Record, Visibility};
use model::exchange::{Command, CommandBody};
use model::{Instrument, Origin, Role, Tick, TickBody, topic};

use crate::program::INSTRUMENTS;

/// Every record of every topic; one partition each.
pub(crate) async fn read_all(log: &dyn Log) -> BTreeMap<String, Vec<Record>> {
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
    all
}

/// The venues' and the traders' records come once each.
pub(crate) fn inboxes_are_whole(all: &BTreeMap<String, Vec<Record>>) {
    roots_come_once(
        all[topic::TICKS]
            .iter()
            .map(|record| Tick::decode(&record.value).unwrap())
            .map(|tick| (tick.origin, matches!(tick.body, TickBody::Claim(_)))),
    );
    roots_come_once(
        all[topic::ORDERS]
            .iter()
            .map(|record| Command::decode(&record.value).unwrap())
            .map(|command| (command.origin, matches!(command.body, CommandBody::Claim))),
    );
}

/// Prices and candles are those of one cold fold of the ticks.
pub(crate) fn prices_are_one_fold(all: &BTreeMap<String, Vec<Record>>, seed: u64) {
    let (cold_prices, cold_candles) = fold(&all[topic::TICKS]);
    assert!(cold_prices.len() > 10, "{} prices", cold_prices.len());
    equal("prices", &all[topic::PRICES], &cold_prices, seed);
    equal("candles", &all[topic::CANDLES], &cold_candles, seed);
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
pub(crate) fn exchange_is_one_fold(all: &BTreeMap<String, Vec<Record>>, seed: u64, incarnation: u128) {
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
