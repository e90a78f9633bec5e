//! A log with the exchange's trades, and SQL over it as in the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, Int64Array};
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::{Log, Retention, TopicSpec};
use model::exchange::{MarketTrade, write_market_trade};
use model::{Cause, Price, Quantity, Side, UnixNanos, topic};
use queries::host::{HostConfig, SqlHost, Statement};
use queries::{Caller, Limits};
use tokio_util::sync::CancellationToken;

/// A log in `dir` with the topic `trades`, and SQL over it in a worker that ends when `stop` fires.
pub(crate) async fn open(dir: &Path, stop: &CancellationToken) -> (Arc<dyn Log>, SqlHost) {
    let log = EmbeddedLog::open(dir, EmbeddedConfig::default()).await.expect("a log");
    let log: Arc<dyn Log> = Arc::new(log);
    let retention = Retention { age: None, bytes: None };
    let topic = TopicSpec { name: topic::TRADES.into(), partitions: 1, replication: 1, retention };
    log.create_topic(&topic).await.expect("a topic");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_millrace"));
    let config = HostConfig { program, lake: None, log: Some(Arc::clone(&log)), limits: Limits::default() };
    (log, SqlHost::new(config, stop.clone()))
}

/// The one whole number that a statement answers with; 0 where it is null.
pub(crate) async fn number(host: &SqlHost, sql: &str) -> u64 {
    let mut running = host.run(&Statement::new(sql, Caller::Operator)).await.expect("an answer");
    let mut found = 0;
    while let Some(batch) = running.next_batch().await.expect("rows") {
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>().expect("whole numbers");
        found = column.iter().flatten().next().map_or(found, |number| number as u64);
    }
    found
}

/// The trade with this number, from 0: its offset.
pub(crate) fn trade(number: u64) -> Vec<u8> {
    let trade = MarketTrade {
        instrument: "BTC-USDT".parse().expect("an instrument"),
        trade_id: number + 1,
        price: Price::from_raw(7_884_513_000_000 + (number % 1_000) as i64 * 1_000_000).expect("a price"),
        quantity: Quantity::from_raw(1_000_000).expect("a quantity"),
        taker_side: if number.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        maker_order: number * 2,
        taker_order: number * 2 + 1,
        auction: false,
        busted: false,
    };
    let cause = Cause { topic: topic::name(topic::ORDERS), partition: 0, offset: number, index: 0 };
    let mut bytes = Vec::new();
    let time = UnixNanos(1_795_651_200_000_000_000 + number as i64 * 50_000);
    write_market_trade(&trade, &cause, time, &mut bytes);
    bytes
}
