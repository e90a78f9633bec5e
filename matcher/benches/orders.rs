//! What the exchange does as it runs: commands through the embedded log, synced, in one process with the callers.
//!
//! Three figures: commands per second when callers always have some on their way; the time from handing a command
//! over to having its report, at a steady rate; the same while snapshots of a million resting orders are taken.
//! `cargo bench -p matcher --bench orders`; arguments after `--`: `quick`, `dir=PATH` for another disk,
//! `rate=PER_SECOND` for the steady rate, `seconds=N` for each figure, `resting=N`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::embedded::{EmbeddedConfig, EmbeddedLog};
use journal::stage::Phase as StagePhase;
use journal::{Log, Retention, TopicSpec};
use matcher::shell::{Answer, CLOCK_EVERY, Gateway, GatewayError, Receipt, Shell, ShellConfig};
use model::exchange::{AccountId, CommandBody, ExchangeLimits, ExecutionKind, NewOrder, OrderRef, Phase, TimeInForce};
use model::{Instrument, Price, Quantity, Side, UnixNanos, topic};
use tokio_util::sync::CancellationToken;

use listing::{ONE, amount, rules};

mod listing;

#[global_allocator]
static MEMORY: matcher::memory::LargePages<mimalloc::MiMalloc> = matcher::memory::LargePages(mimalloc::MiMalloc);

const ACCOUNTS: u32 = 10_000;
const MARKETS: usize = 8;
/// Commands on their way in the first figure.
const WINDOW: usize = 8_192;
const PATIENCE: Duration = Duration::from_secs(60);

struct Settings {
    dir: PathBuf,
    seconds: f64,
    rate: f64,
    resting: usize,
}

fn settings() -> Settings {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "quick");
    let value = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let number = |name: &str, default: f64| value(name).map_or(default, |text| text.parse().unwrap());
    let dir = value("dir=")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench-orders")), PathBuf::from);
    Settings {
        dir,
        seconds: number("seconds=", if quick { 4.0 } else { 15.0 }),
        rate: number("rate=", 75_000.0),
        resting: number("resting=", if quick { 100_000.0 } else { 1_000_000.0 }) as usize,
    }
}

fn main() {
    let settings = settings();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&settings));
    let _ = std::fs::remove_dir_all(&settings.dir);
}

async fn run(settings: &Settings) {
    let _ = std::fs::remove_dir_all(&settings.dir);
    let mut floor = Floor::open(&settings.dir, Duration::from_secs(3_600)).await;
    floor.open_markets().await;
    floor.saturate(settings.seconds).await;
    floor.steady("no snapshot meanwhile", settings).await;
    floor.fill(settings.resting).await;
    let orders = floor.feed;
    floor.stop.cancel();
    floor.shell.join().await.unwrap();
    floor.log.close().await.unwrap();
    let mut floor = Floor::open(&settings.dir, Duration::from_secs(1)).await;
    floor.feed = orders;
    floor.steady("one snapshot after the other", settings).await;
    floor.stop.cancel();
    floor.shell.join().await.unwrap();
    floor.log.close().await.unwrap();
}

/// CPU seconds of this process, of which in the kernel, and bytes written to disk.
fn spent() -> (f64, f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Clock ticks are a hundredth of a second on Linux.
    let seconds = |at: usize| fields[at].parse::<f64>().unwrap() / 100.0;
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written =
        io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).map_or(0, |text| text.parse().unwrap());
    (seconds(11) + seconds(12), seconds(12), written)
}

fn now() -> UnixNanos {
    UnixNanos(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap())
}

/// Which commands come next. Cancels and amends name orders that were accepted before.
struct Feed {
    random: fastrand::Rng,
    markets: Vec<Instrument>,
    open: Vec<(AccountId, u64)>,
    sent: u64,
}

impl Feed {
    fn price(&mut self, away: i64, side: Side) -> Price {
        let ticks = if side == Side::Buy { 10_000 - away } else { 10_000 + away };
        Price::from_raw(ticks * (ONE / 100)).unwrap()
    }

    fn away(&mut self) -> i64 {
        (self.random.f64().powi(3) * 400.0) as i64
    }

    fn quantity(&mut self) -> Quantity {
        Quantity::from_raw(self.random.i64(1..100) * (ONE / 1_000)).unwrap()
    }

    fn order(&mut self) -> (AccountId, CommandBody) {
        let account = AccountId(self.random.u32(1..=ACCOUNTS));
        let instrument = self.markets[self.random.usize(0..MARKETS)];
        let immediate = self.random.u32(0..100) < 15;
        let side = if self.random.bool() { Side::Buy } else { Side::Sell };
        let away = self.away() + if immediate { -6 } else { -1 };
        let (price, quantity) = (self.price(away, side), self.quantity());
        let mut order = NewOrder::limit(instrument, side, quantity, price);
        if immediate {
            order.tif = TimeInForce::Ioc;
        }
        (account, CommandBody::Place(order))
    }

    /// 50 % new, of which 15 % immediate; 41 % cancels; 9 % amends.
    fn next(&mut self) -> (AccountId, CommandBody) {
        let draw = self.random.u32(0..100);
        if draw < 50 || self.open.len() < 1_000 {
            return self.order();
        }
        let recent = self.open.len() - 1 - self.random.usize(0..self.open.len().min(4_000));
        if draw < 91 {
            let (account, id) = self.open.swap_remove(recent);
            return (account, CommandBody::Cancel { order: OrderRef::Id(id) });
        }
        let (account, id) = self.open[recent];
        let quantity = Some(self.quantity());
        (account, CommandBody::Amend { order: OrderRef::Id(id), price: None, quantity, trigger: None })
    }

    /// Far from the touch: it stays.
    fn resting(&mut self) -> (AccountId, CommandBody) {
        let account = AccountId(self.random.u32(1..=ACCOUNTS));
        let instrument = self.markets[self.random.usize(0..MARKETS)];
        let side = if self.random.bool() { Side::Buy } else { Side::Sell };
        let away = self.random.i64(500..2_500);
        let price = self.price(away, side);
        (
            account,
            CommandBody::Place(NewOrder::limit(instrument, side, Quantity::from_raw(ONE / 1_000).unwrap(), price)),
        )
    }

    fn saw(&mut self, answer: &Answer) {
        let first = &answer.executions[0];
        if first.kind == ExecutionKind::Accepted
            && let Some(order) = &answer.executions[answer.executions.len() - 1].order
            && order.open.is_positive()
        {
            self.open.push((first.account, order.id));
        }
    }
}

struct Floor {
    log: Arc<dyn Log>,
    shell: Shell,
    gateway: Gateway,
    stop: CancellationToken,
    feed: Feed,
    /// Commands on their way: orders and amends, and cancels, each in the order of their answers.
    waiting: [VecDeque<(Instant, Receipt)>; 2],
    times: Vec<Duration>,
    snapshots: PathBuf,
}

impl Floor {
    async fn open(dir: &Path, snapshot_every: Duration) -> Self {
        std::fs::create_dir_all(dir.join("log")).unwrap();
        let config = EmbeddedConfig { total_bytes: Some(6 << 30), ..EmbeddedConfig::default() };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(&dir.join("log"), config).await.unwrap());
        let outputs = [topic::EXECUTIONS, topic::TRADES, topic::BOOK, topic::LEDGER, topic::INSTRUMENTS];
        for name in outputs.into_iter().chain([topic::ORDERS, topic::DEAD_LETTERS]) {
            let bytes = if name == topic::ORDERS { 2 << 30 } else { 256 << 20 };
            let retention = Retention { age: None, bytes: Some(bytes) };
            log.create_topic(&TopicSpec { name: name.into(), partitions: 1, replication: 1, retention }).await.unwrap();
        }
        let (stop, snapshots) = (CancellationToken::new(), dir.join("snapshots"));
        let config = ShellConfig { snapshots: snapshots.clone(), snapshot_every, clock_every: Some(CLOCK_EVERY) };
        let began = Instant::now();
        let shell = Shell::start(Arc::clone(&log), config, stop.clone()).await.unwrap();
        shell.status().wait_for(|status| status.phase == StagePhase::Live).await.unwrap();
        println!("ready after {:.2} s", began.elapsed().as_secs_f64());
        let gateway = shell.gateway();
        let markets = (0..MARKETS).map(|at| format!("C{at}-USDT").parse().unwrap()).collect();
        let feed = Feed { random: fastrand::Rng::with_seed(4), markets, open: vec![], sent: 0 };
        Self { log, shell, gateway, stop, feed, waiting: Default::default(), times: vec![], snapshots }
    }

    async fn submit(&mut self, (account, body): (AccountId, CommandBody), at: Instant) {
        let queue = usize::from(matches!(body, CommandBody::Cancel { .. }));
        let request = format!("order-{:016x}", self.feed.sent).parse().ok();
        self.feed.sent += 1;
        let receipt = loop {
            match self.gateway.submit(account, request, now(), body.clone()) {
                Ok(receipt) => break receipt,
                Err(GatewayError::Busy) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        self.waiting[queue].push_back((at, receipt));
    }

    /// Waits for the oldest command of the longer queue.
    async fn take_one(&mut self) {
        let queue = usize::from(self.waiting[1].len() > self.waiting[0].len());
        let Some((at, receipt)) = self.waiting[queue].pop_front() else { return };
        let answer = receipt.answer(PATIENCE).await.unwrap();
        self.times.push(at.elapsed());
        self.feed.saw(&answer);
    }

    /// Takes the answers that are there.
    fn take_ready(&mut self) {
        for queue in 0..2 {
            while let Some((at, receipt)) = self.waiting[queue].front_mut() {
                let Some(answer) = receipt.try_answer() else { break };
                let (at, answer) = (*at, answer.unwrap());
                self.waiting[queue].pop_front();
                self.times.push(at.elapsed());
                self.feed.saw(&answer);
            }
        }
    }

    async fn settle(&mut self) {
        while self.waiting.iter().any(|waiting| !waiting.is_empty()) {
            self.take_one().await;
        }
    }

    async fn open_markets(&mut self) {
        let limits = ExchangeLimits { open_orders_max: 10_000, ..ExchangeLimits::default() };
        self.submit((AccountId::HOUSE, CommandBody::Configure(limits)), Instant::now()).await;
        for instrument in self.feed.markets.clone() {
            let list = CommandBody::ListMarket(Box::new(rules(instrument)));
            self.submit((AccountId::HOUSE, list), Instant::now()).await;
            let phase = CommandBody::SetPhase { instrument, phase: Phase::Open };
            self.submit((AccountId::HOUSE, phase), Instant::now()).await;
        }
        self.settle().await;
        let assets: Vec<String> = self.feed.markets.iter().map(|market| market.base().to_owned()).collect();
        for account in 1..=ACCOUNTS {
            for asset in assets.iter().map(String::as_str).chain(["USDT"]) {
                let body = CommandBody::Deposit { asset: asset.parse().unwrap(), amount: amount(1_000_000) };
                self.submit((AccountId(account), body), Instant::now()).await;
            }
            while self.waiting[0].len() >= WINDOW {
                self.take_one().await;
            }
        }
        self.settle().await;
    }

    /// As many as it takes, with a window of commands on their way.
    async fn saturate(&mut self, seconds: f64) {
        for _ in 0..20_000 {
            let next = self.feed.order();
            self.submit(next, Instant::now()).await;
        }
        self.settle().await;
        self.times.clear();
        let (began, (cpu, kernel, written)) = (Instant::now(), spent());
        while began.elapsed().as_secs_f64() < seconds {
            let next = self.feed.next();
            self.submit(next, Instant::now()).await;
            if self.waiting[0].len() + self.waiting[1].len() >= WINDOW {
                self.take_one().await;
                self.take_ready();
            }
        }
        self.settle().await;
        let (took, (cpu_then, kernel_then, written_then)) = (began.elapsed().as_secs_f64(), spent());
        let count = self.times.len() as f64;
        println!(
            "{WINDOW} on their way: {:.0} commands/s; {:.2} CPU µs each ({:.2} in the kernel), {:.0} bytes written each",
            count / took,
            (cpu_then - cpu) / count * 1e6,
            (kernel_then - kernel) / count * 1e6,
            (written_then - written) as f64 / count
        );
        self.times.clear();
    }

    /// A steady rate: commands are handed over when they are due, whatever became of those before, and their time
    /// counts from when they were due.
    async fn steady(&mut self, what: &str, settings: &Settings) {
        self.times.clear();
        let every = Duration::from_secs_f64(1.0 / settings.rate);
        let before = newest(&self.snapshots);
        let began = Instant::now();
        let (mut due, mut look, mut snapshots, mut last) = (began, began, 0, before);
        while began.elapsed().as_secs_f64() < settings.seconds {
            while due <= Instant::now() {
                let next = self.feed.next();
                self.submit(next, due).await;
                due += every;
            }
            self.take_ready();
            if look <= Instant::now() {
                look += Duration::from_millis(20);
                let found = newest(&self.snapshots);
                snapshots += u32::from(found != last);
                last = found;
            }
            // The runtime's own timer knows milliseconds, which would be most of what is measured.
            std::thread::sleep(Duration::from_micros(250));
        }
        let sent = self.times.len() + self.waiting.iter().map(VecDeque::len).sum::<usize>();
        let took = began.elapsed().as_secs_f64();
        self.settle().await;
        let open = self.gateway.view(|exchange| exchange.open_orders_count()).unwrap();
        self.times.sort_unstable();
        let at = |part: f64| self.times[((self.times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "{:.0} commands/s, {open} open orders, {what} ({snapshots} taken): p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} \
             ms, max {:.1} ms",
            sent as f64 / took,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        self.times.clear();
    }

    /// Rests orders until there are so many.
    async fn fill(&mut self, resting: usize) {
        while self.gateway.view(|exchange| exchange.open_orders_count()).unwrap() < resting {
            for _ in 0..WINDOW {
                let next = self.feed.resting();
                self.submit(next, Instant::now()).await;
            }
            self.settle().await;
        }
    }
}

/// The newest snapshot's file name.
fn newest(directory: &Path) -> Option<std::ffi::OsString> {
    let entries = std::fs::read_dir(directory.join("matcher-0")).ok()?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    names.filter(|name| name.to_string_lossy().ends_with(".snapshot")).max()
}
