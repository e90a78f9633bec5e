//! Each stage in a process of its own, sharing a Fluvio cluster; any of them killed at any moment.

use std::time::Duration;

use journal::fluvio::{FluvioConfig, FluvioLog};

use crate::fold::{inboxes_are_whole, prices_are_one_fold, read_all};
use crate::program::{INSTRUMENTS, Place};

const KILLS: u32 = 12;
const EXCHANGE: &str = "matcher:\n  markets:\n    BTC-USDT: { tick: \"0.01\", lot: \"0.00001\" }\n";

#[test]
fn stages_apart_give_one_fold_whoever_dies() {
    let Ok(endpoint) = std::env::var("FLUVIO_SC") else {
        println!("NOT RUN: stages on a Fluvio cluster (set FLUVIO_SC=host:port of a fresh one)");
        return;
    };
    let seed = 5;
    let mut random = fastrand::Rng::with_seed(seed);
    let place = Place::on(&format!("{{ type: fluvio, endpoint: \"{endpoint}\" }}"), EXCHANGE);
    let api = place.stage("api").answering();
    let mut stages: Vec<_> = ["ingest", "aggregate", "matcher"].map(|name| (name, place.stage(name))).into();
    for name in INSTRUMENTS {
        api.wait_for(&format!("/prices/{name}"), |text| text.contains("\"status\":\"OK\""));
    }
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(random.u64(500..2_500)));
        let (name, stage) = stages.swap_remove(random.usize(..stages.len()));
        stage.kill();
        stages.push((name, place.stage(name)));
    }
    for name in INSTRUMENTS {
        let now = api.get(&format!("/prices/{name}")).unwrap();
        api.wait_for(&format!("/prices/{name}"), |text| *text != now && text.contains("\"status\":\"OK\""));
    }
    // Who writes first, then who reads: the aggregation has two seconds to catch up.
    stages.sort_by_key(|(name, _)| *name != "ingest");
    for (name, stage) in stages {
        assert!(stage.interrupt(), "{name} ends cleanly");
        std::thread::sleep(Duration::from_secs(2));
    }
    assert!(api.interrupt(), "the API ends cleanly");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let all = runtime.block_on(async {
        let log = FluvioLog::connect(FluvioConfig::new(endpoint)).await.unwrap();
        read_all(&log).await
    });
    inboxes_are_whole(&all);
    prices_are_one_fold(&all, seed);
    println!("{KILLS} kills: {} ticks, {} prices", all["ticks"].len(), all["prices"].len());
}
