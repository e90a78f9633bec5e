//! A trading floor: the real matcher on the real log behind a real server, with three keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::{MemoryCache, PriceCache};
use api::{ApiConfig, ApiKey, Deps, ExchangeDeps, Limits, Server};
use journal::embedded::{EmbeddedConfig, EmbeddedLog, SyncPolicy};
use journal::{Log, Retention, TopicSpec};
use matcher::shell::{CLOCK_EVERY, Gateway, SNAPSHOT_EVERY, Shell, ShellConfig};
use model::exchange::{AccountId, CommandBody, ExecutionKind, MarketRules, Phase, SelfTrade};
use model::{UnixNanos, topic};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{Answer, PATIENCE, config, decimal, instrument, quantity};

pub(crate) const ALICE: &str = "alice-has-a-long-key";
pub(crate) const BOB: &str = "bob-has-a-long-key-too";
pub(crate) const OPERATOR: &str = "the-operators-own-key";

pub(crate) struct Floor {
    pub(crate) cache: Arc<MemoryCache>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) stop: CancellationToken,
    pub(crate) shell: Shell,
    server: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

fn keys() -> Vec<ApiKey> {
    [("alice", ALICE, 1, false), ("bob", BOB, 2, false), ("operator", OPERATOR, 3, true)]
        .map(|(name, secret, account, operator)| ApiKey {
            name: name.into(),
            secret: secret.into(),
            account: AccountId(account),
            operator,
        })
        .into()
}

pub(crate) async fn house(gateway: &Gateway, body: CommandBody) {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let receipt = gateway.submit(AccountId::HOUSE, None, UnixNanos(now), body).unwrap();
    let answer = receipt.answer(PATIENCE).await.unwrap();
    assert_eq!(answer.executions[0].kind, ExecutionKind::Done, "{answer:?}");
}

impl Floor {
    pub(crate) async fn open(change: impl FnOnce(&mut Limits)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = EmbeddedConfig { sync: SyncPolicy::Never, ..EmbeddedConfig::default() };
        let log = EmbeddedLog::open(&dir.path().join("log"), settings).await.unwrap();
        Self::on(dir, Arc::new(log), change).await
    }

    /// A floor on a log of the test's own.
    pub(crate) async fn on(dir: TempDir, log: Arc<dyn Log>, change: impl FnOnce(&mut Limits)) -> Self {
        let own = [topic::ORDERS, topic::EXECUTIONS, topic::TRADES, topic::BOOK, topic::LEDGER, topic::INSTRUMENTS];
        let others = [topic::AUDIT, topic::DEAD_LETTERS, topic::TICKS, topic::PRICES, topic::CANDLES, topic::CONTROL];
        for name in own.into_iter().chain(others) {
            let retention = Retention { age: None, bytes: None };
            log.create_topic(&TopicSpec { name: name.into(), partitions: 1, replication: 1, retention }).await.unwrap();
        }
        let stop = CancellationToken::new();
        let settings = ShellConfig {
            snapshots: dir.path().join("snapshots"),
            snapshot_every: SNAPSHOT_EVERY,
            clock_every: Some(CLOCK_EVERY),
        };
        let shell = Shell::start(Arc::clone(&log), settings, stop.clone()).await.unwrap();
        let gateway = shell.gateway();
        let started = Instant::now();
        while gateway.view(|exchange| exchange.applied()).is_none() || shell.status().borrow().phase != LIVE {
            assert!(started.elapsed() < PATIENCE, "the exchange never came up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        house(&gateway, CommandBody::ListMarket(Box::new(rules()))).await;
        house(&gateway, CommandBody::SetPhase { instrument: instrument("BTC-USDT"), phase: Phase::Open }).await;
        let mut config: ApiConfig = config();
        change(&mut config.limits);
        let cache = Arc::new(MemoryCache::new(Duration::from_secs(600)));
        let mut deps = Deps::new(log, Arc::clone(&cache) as Arc<dyn PriceCache>);
        deps.exchange = Some(ExchangeDeps::new(gateway, keys()));
        let server = Server::bind(config, deps).unwrap();
        let address = server.local_addr();
        let server = tokio::spawn(server.run(stop.clone()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { cache, address, client, stop, shell, server, _dir: dir }
    }

    pub(crate) async fn call(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        if !key.is_empty() {
            request = request.header("X-Api-Key", key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Value {
        let answer = self.call(key, Method::GET, path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    pub(crate) async fn post(&self, key: &str, path: &str, body: Value) -> Answer {
        self.call(key, Method::POST, path, Some(body)).await
    }

    pub(crate) async fn order(&self, key: &str, id: &str, side: &str, quantity: &str, price: &str) -> Value {
        let answer = self.post(key, "/orders", limit(id, side, quantity, price)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    pub(crate) async fn fund(&self) {
        for (id, account, asset, amount) in [("d1", 1, "USDT", "100000"), ("d2", 2, "BTC", "5")] {
            let body = json!({"client_order_id": id, "asset": asset, "amount": amount, "account": account});
            let answer = self.post(OPERATOR, "/deposits", body).await;
            assert_eq!((answer.status, &answer.json()["status"]), (201, &json!("done")), "{}", answer.text);
        }
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        self.server.await.unwrap();
        tokio::time::timeout(PATIENCE, self.shell.join()).await.expect("it stops in time").unwrap();
    }
}

const LIVE: journal::stage::Phase = journal::stage::Phase::Live;

pub(crate) fn limit(id: &str, side: &str, quantity: &str, price: &str) -> Value {
    json!({"client_order_id": id, "instrument": "BTC-USDT", "side": side, "type": "limit", "quantity": quantity,
        "price": price})
}

pub(crate) fn rules() -> MarketRules {
    MarketRules {
        instrument: instrument("BTC-USDT"),
        tick: decimal("0.01"),
        lot: quantity("0.00001"),
        min_notional: quantity("5"),
        max_notional: quantity("1000000"),
        max_quantity: quantity("100"),
        band_bps: 1_000,
        protection_bps: 500,
        maker_bps: 0,
        taker_bps: 10,
        self_trade: SelfTrade::CancelNewest,
        reference: decimal("100"),
    }
}
