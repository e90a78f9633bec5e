//! The exchange and its server, as the program wires them, with accounts that may send as much as they can.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::{MemoryCache, PriceCache};
use api::{ApiConfig, ApiKey, Deps, ExchangeDeps, Server};
use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::{Log, Retention, TopicSpec};
use matcher::shell::{CLOCK_EVERY, Gateway, SNAPSHOT_EVERY, Shell, ShellConfig};
use model::exchange::{AccountId, CommandBody, ExecutionKind, MarketRules, Phase, SelfTrade};
use model::{Instrument, Price, Quantity, UnixNanos, topic};
use tokio_util::sync::CancellationToken;

/// Accounts that trade.
pub(crate) const ACCOUNTS: u32 = 64;

pub(crate) struct Floor {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    shell: Shell,
    server: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

/// The key of an account.
pub(crate) fn key(account: u32) -> String {
    format!("the-key-of-account-{account:04}")
}

async fn send(gateway: &Gateway, account: AccountId, body: CommandBody) -> anyhow::Result<()> {
    let now = UnixNanos(i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_nanos())?);
    let answer = gateway.submit(account, None, now, body)?.answer(Duration::from_secs(10)).await?;
    anyhow::ensure!(answer.executions[0].kind == ExecutionKind::Done, "{answer:?}");
    Ok(())
}

impl Floor {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or_else(|_| ".".to_owned()))?;
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&dir.path().join("log"), EmbeddedConfig::default()).await?);
        let own = [topic::ORDERS, topic::EXECUTIONS, topic::TRADES, topic::BOOK, topic::LEDGER, topic::INSTRUMENTS];
        let others = [topic::DEAD_LETTERS, topic::TICKS, topic::PRICES, topic::CANDLES, topic::CONTROL];
        for name in own.into_iter().chain(others) {
            let retention = Retention { age: None, bytes: Some(512 << 20) };
            log.create_topic(&TopicSpec { name: name.into(), partitions: 1, replication: 1, retention }).await?;
        }
        let stop = CancellationToken::new();
        let settings = ShellConfig {
            snapshots: dir.path().join("snapshots"),
            snapshot_every: SNAPSHOT_EVERY,
            clock_every: Some(CLOCK_EVERY),
        };
        let shell = Shell::start(Arc::clone(&log), settings, stop.clone()).await?;
        let gateway = shell.gateway();
        let started = Instant::now();
        while shell.status().borrow().phase != journal::stage::Phase::Live {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "the exchange never came up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let instrument: Instrument = "BTC-USDT".parse()?;
        send(&gateway, AccountId::HOUSE, CommandBody::ListMarket(Box::new(rules(instrument)?))).await?;
        send(&gateway, AccountId::HOUSE, CommandBody::SetPhase { instrument, phase: Phase::Open }).await?;
        for account in 1..=ACCOUNTS {
            for (asset, amount) in [("USDT", "100000000"), ("BTC", "1000000")] {
                let body = CommandBody::Deposit { asset: asset.parse()?, amount: amount.parse()? };
                send(&gateway, AccountId(account), body).await?;
            }
        }
        let mut config = ApiConfig::new("127.0.0.1:0".parse()?, vec![instrument]);
        let limits = &mut config.limits;
        (limits.commands_per_second_max, limits.commands_burst_max) = (1_000_000, 1_000_000);
        (limits.cancels_per_second_max, limits.cancels_burst_max) = (1_000_000, 1_000_000);
        let cache = Arc::new(MemoryCache::new(Duration::from_secs(5)));
        let mut deps = Deps::new(log, cache as Arc<dyn PriceCache>);
        let keys = (1..=ACCOUNTS).map(|account| ApiKey {
            name: format!("account {account}"),
            secret: key(account),
            account: AccountId(account),
            operator: false,
        });
        deps.exchange = Some(ExchangeDeps::new(gateway, keys.collect()));
        let server = Server::bind(config, deps)?;
        let address = server.local_addr();
        let server = tokio::spawn(server.run(stop.clone()));
        Ok(Self { address, stop, shell, server, _dir: dir })
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.server.await.unwrap();
        self.shell.join().await.unwrap();
    }
}

fn rules(instrument: Instrument) -> anyhow::Result<MarketRules> {
    let quantity = |text: &str| text.parse::<Quantity>();
    let price = |text: &str| text.parse::<Price>();
    Ok(MarketRules {
        instrument,
        tick: price("0.01")?,
        lot: quantity("0.00001")?,
        min_notional: quantity("5")?,
        max_notional: quantity("1000000")?,
        max_quantity: quantity("100")?,
        band_bps: 1_000,
        protection_bps: 500,
        maker_bps: 2,
        taker_bps: 5,
        self_trade: SelfTrade::CancelNewest,
        reference: price("100")?,
    })
}
