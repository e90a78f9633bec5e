//! The cache against a real Redis that is killed, hangs and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::{CacheHealth, CachedPrice, PriceCache, RedisCache, RedisCacheConfig};
use futures_util::StreamExt;
use model::{Cause, CompositePrice, Instrument, Price, PriceStatus, PublishReason, UnixNanos};

use crate::redis_server::RedisServer;

fn instrument(name: &str) -> Instrument {
    name.parse().unwrap()
}

fn price(name: &str, ts_event: i64, sequence: u64) -> Arc<CachedPrice> {
    let price = CompositePrice {
        v: 1,
        instrument: instrument(name),
        sequence,
        price: Price::from_raw(sequence as i64).unwrap(),
        raw: Price::from_raw(sequence as i64).unwrap(),
        status: PriceStatus::Ok,
        confidence: None,
        reason: PublishReason::Deviation,
        refresh: None,
        age_ns: 0,
        bid: None,
        ask: None,
        mid: None,
        vwap: Vec::new(),
        constituents: Vec::new(),
        config: model::RulesHash(1),
        cause: Cause { topic: model::topic::name("ticks"), partition: 0, offset: sequence, index: 0 },
        ts_event: UnixNanos(ts_event),
        ts_recv: UnixNanos(ts_event),
    };
    let json = serde_json::to_vec(&price).unwrap().into();
    Arc::new(CachedPrice::new(price, json))
}

fn cache(server: &RedisServer, ttl: Duration, instruments: &[&str]) -> RedisCache {
    let instruments = instruments.iter().map(|name| instrument(name)).collect();
    RedisCache::start(RedisCacheConfig { url: server.url(), ttl, instruments }).unwrap()
}

/// Waits until `done`, at most 30 s: how long it takes is not what is tested.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn stored(server: &RedisServer, name: &str) -> Option<CachedPrice> {
    let mut connection = server.connection().await.unwrap();
    let json: Option<Vec<u8>> =
        redis::cmd("GET").arg(format!("price:{name}")).query_async(&mut connection).await.unwrap();
    json.map(|json| CachedPrice::from_json(json.into()).unwrap())
}

#[tokio::test]
async fn prices_are_shown_published_and_expire() -> anyhow::Result<()> {
    let server = RedisServer::start().await?;
    let mut subscriber = redis::Client::open(server.url())?.get_async_pubsub().await?;
    subscriber.psubscribe("prices.*").await?;
    let ttl = Duration::from_secs(8);
    let writer = cache(&server, ttl, &["BTC-USDT", "ETH-USDT"]);
    let reader = cache(&server, ttl, &["ETH-USDT", "BTC-USDT"]);
    let newest = price("BTC-USDT", 10, 3);
    writer.put(&[Arc::clone(&newest), price("ETH-USDT", 4, 1)]);
    until("the price is stored", async || stored(&server, "BTC-USDT").await.is_some()).await;

    let mut connection = server.connection().await?;
    let left_ms: i64 = redis::cmd("PTTL").arg("price:BTC-USDT").query_async(&mut connection).await?;
    assert!((1..=8_000).contains(&left_ms), "{left_ms} ms are left");
    until("both are published", async || writer.waiting() == 0).await;
    let mut published = Vec::new();
    for _ in 0..2 {
        let message = tokio::time::timeout(Duration::from_secs(30), subscriber.on_message().next()).await?.unwrap();
        published.push((message.get_channel_name().to_owned(), message.get_payload_bytes().to_vec()));
    }
    published.sort();
    assert_eq!(published[0], ("prices.BTC-USDT".to_owned(), newest.json().to_vec()));

    // Another process, which puts nothing itself.
    until("the reader is connected", async || reader.health() == CacheHealth::Up).await;
    writer.put(&[price("BTC-USDT", 11, 4), price("ETH-USDT", 5, 2)]);
    until("they are stored", async || stored(&server, "ETH-USDT").await.is_some_and(|p| p.version().sequence == 2))
        .await;
    assert_eq!(reader.get(&instrument("BTC-USDT")).await?.unwrap().price().sequence, 4);
    let listed: Vec<_> = reader.list().await?.iter().map(|price| price.instrument()).collect();
    assert_eq!(listed, [instrument("BTC-USDT"), instrument("ETH-USDT")]);

    let gone = async |cache: &RedisCache| cache.get(&instrument("BTC-USDT")).await.is_ok_and(|price| price.is_none());
    until("it expires", async || gone(&reader).await).await;
    until("the writer's own expires", async || gone(&writer).await).await;
    assert!(reader.stats().hits > 0 && reader.stats().misses > 0 && writer.stats().expired > 0);
    Ok(())
}

#[tokio::test]
async fn an_older_price_never_overwrites_a_newer_one() -> anyhow::Result<()> {
    let server = RedisServer::start().await?;
    let ttl = Duration::from_secs(60);
    let (first, second) = (cache(&server, ttl, &[]), cache(&server, ttl, &[]));
    first.put(&[price("BTC-USDT", 20, 7)]);
    until("the newer is stored", async || stored(&server, "BTC-USDT").await.is_some()).await;
    // A second writer that lags behind, and one more key to see when its batch is through.
    for (ts_event, sequence) in [(20, 6), (19, 7), (i64::MAX, 1)] {
        second.put(&[price("BTC-USDT", ts_event, sequence), price("ETH-USDT", ts_event, sequence)]);
        until("the batch is through", async || second.waiting() == 0).await;
        assert_eq!(stored(&server, "BTC-USDT").await.unwrap().version(), price("BTC-USDT", 20, 7).version());
    }
    // Newer by its sequence, from a clock that was set back.
    second.put(&[price("BTC-USDT", 3, 8)]);
    until("the newest is stored", async || stored(&server, "BTC-USDT").await.unwrap().price().sequence == 8).await;
    Ok(())
}

#[tokio::test]
async fn a_key_of_somebody_else_stops_nobody() -> anyhow::Result<()> {
    let server = RedisServer::start().await?;
    let mut connection = server.connection().await?;
    redis::cmd("LPUSH").arg("version:price:ADA-USDT").arg("x").exec_async(&mut connection).await?;
    let cache = cache(&server, Duration::from_secs(60), &[]);
    cache.put(&[price("ADA-USDT", 1, 1), price("BTC-USDT", 1, 1)]);
    until("the other is stored", async || stored(&server, "BTC-USDT").await.is_some()).await;
    until("nothing waits", async || cache.waiting() == 0).await;
    assert_eq!((cache.health(), stored(&server, "ADA-USDT").await), (CacheHealth::Up, None));
    Ok(())
}

#[tokio::test]
async fn redis_may_come_later_or_hang() -> anyhow::Result<()> {
    let mut server = RedisServer::stopped()?;
    let cache = cache(&server, Duration::from_secs(60), &["BTC-USDT"]);
    cache.put(&[price("BTC-USDT", 1, 1)]);
    assert_eq!(cache.get(&instrument("BTC-USDT")).await?.unwrap().price().sequence, 1, "its own price needs no Redis");
    assert!(cache.get(&instrument("ETH-USDT")).await.is_err(), "the others' do");
    assert!(matches!(cache.health(), CacheHealth::Down { waiting: 1, .. }), "{:?}", cache.health());
    server.restart().await?;
    until("it is stored", async || stored(&server, "BTC-USDT").await.is_some()).await;
    until("health is green", async || cache.health() == CacheHealth::Up).await;

    server.signal("STOP")?;
    cache.put(&[price("BTC-USDT", 2, 2)]);
    until("health is red", async || cache.health() != CacheHealth::Up).await;
    cache.put(&[price("BTC-USDT", 3, 3)]);
    server.signal("CONT")?;
    until("the newest is stored", async || stored(&server, "BTC-USDT").await.is_some_and(|p| p.price().sequence == 3))
        .await;
    until("health is green", async || cache.health() == CacheHealth::Up).await;
    Ok(())
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Set in a process that measures its own memory and therefore runs one test only.
const ALONE: &str = "MILLRACE_TEST_ALONE";

#[test]
fn an_outage_at_full_rate_costs_bounded_memory_and_no_newest_price() -> anyhow::Result<()> {
    let name = "cache_redis::an_outage_at_full_rate_costs_bounded_memory_and_no_newest_price";
    if std::env::var_os(ALONE).is_none() {
        let alone = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()?;
        let (out, err) = (String::from_utf8_lossy(&alone.stdout), String::from_utf8_lossy(&alone.stderr));
        assert!(alone.status.success() && out.contains("1 passed"), "{out}\n{err}");
        println!("{}", out.lines().filter(|line| line.starts_with("outage")).collect::<String>());
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(outage())
}

/// Redis is killed for a while at 20,000 prices a second. `MILLRACE_OUTAGE_SECONDS` sets how long.
async fn outage() -> anyhow::Result<()> {
    const NAMES: [&str; 10] = [
        "ADA-USDT",
        "BNB-USDT",
        "BTC-USDT",
        "DOGE-USDT",
        "ETH-USDT",
        "SOL-USDT",
        "TRX-USDT",
        "USDC-USDT",
        "USDT-USD",
        "XRP-USDT",
    ];
    let seconds = std::env::var("MILLRACE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let outage = Duration::from_secs(seconds);
    let mut server = RedisServer::start().await?;
    let cache = Arc::new(cache(&server, Duration::from_secs(5), &NAMES));
    until("health is green", async || cache.health() == CacheHealth::Up).await;

    let stop = tokio_util::sync::CancellationToken::new();
    let feeder = tokio::spawn({
        let (cache, stop) = (Arc::clone(&cache), stop.clone());
        async move {
            let (mut sequence, mut slowest) = (0, Duration::ZERO);
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while !stop.is_cancelled() {
                tick.tick().await;
                for _ in 0..10 {
                    sequence += 1;
                    let batch = NAMES.map(|name| price(name, sequence as i64, sequence));
                    let begun = Instant::now();
                    cache.put(&batch);
                    slowest = slowest.max(begun.elapsed());
                }
            }
            (sequence, slowest)
        }
    });
    until("prices flow", async || stored(&server, "XRP-USDT").await.is_some()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    let before = resident_bytes();
    let killed = Instant::now();
    server.kill();
    until("health is red", async || cache.health() != CacheHealth::Up).await;
    let red_after = killed.elapsed();
    let (mut waiting_max, mut resident_max) = (0, 0);
    while killed.elapsed() < outage {
        waiting_max = waiting_max.max(cache.waiting());
        resident_max = resident_max.max(resident_bytes());
        assert!(cache.get(&instrument("BTC-USDT")).await?.is_some(), "reads go on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.restart().await?;
    let restarted = Instant::now();
    until("health is green", async || cache.health() == CacheHealth::Up).await;
    let green_after = restarted.elapsed();
    stop.cancel();
    let (last, slowest) = feeder.await?;
    until("it has caught up", async || cache.waiting() == 0).await;
    for name in NAMES {
        assert_eq!(stored(&server, name).await.unwrap().price().sequence, last, "{name}");
    }
    println!(
        "outage {seconds} s at 20,000 prices/s: red after {red_after:?}, green {green_after:?} after the restart, \
         {waiting_max} values waited at most, memory grew by {} kB, slowest put {slowest:?}",
        resident_max.saturating_sub(before) / 1024
    );
    assert!(red_after < Duration::from_secs(5) && green_after < outage.max(Duration::from_secs(5)));
    assert!(waiting_max <= 2 * NAMES.len(), "{waiting_max} values wait for {} keys", NAMES.len());
    // Each of the 200,000 prices of ten seconds would take half a kilobyte.
    assert!(resident_max.saturating_sub(before) < 4 << 20, "memory grew to {resident_max} from {before} bytes");
    Ok(())
}
