//! The exchange of the real program under kill -9: one order however often it is sent, no acknowledged order lost,
//! and deadlines that pass while nobody runs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{PATIENCE, Place, Running, call, free_port};

const TRADER: &str = "a-trader-with-a-long-key";
const OPERATOR: &str = "the-operators-longer-key";

/// A market that needs no price, two keys, no simulated traders.
const EXCHANGE: &str = "matcher:\n  markets:\n    BTC-USDT: { tick: \"0.01\", lot: \"0.00001\", reference: \"100\" }\n  keys:\n    trader: { key: a-trader-with-a-long-key, account: 7 }\n    boss: { key: the-operators-longer-key, account: 8, role: operator }\n";

fn open(running: &Running) -> Vec<Value> {
    let (status, body) = running.call(TRADER, "GET", "/orders", "").expect("it answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["orders"].as_array().unwrap().clone()
}

/// Starts the program and waits until its exchange takes orders.
fn up(place: &Place) -> Running {
    let running = place.up();
    running.wait_for("/markets", |text| text.contains("\"phase\":\"open\""));
    running
}

fn fund(running: &Running) {
    let body = json!({"client_order_id": "fund", "asset": "USDT", "amount": "1000000", "account": 7});
    let (status, text) = running.wait_for_call(OPERATOR, "POST", "/deposits", &body.to_string());
    assert_eq!(status, 201, "{text}");
}

fn order(id: &str, sent_at: &str) -> String {
    json!({"client_order_id": id, "instrument": "BTC-USDT", "side": "buy", "type": "limit", "quantity": "0.1",
        "price": "99", "sent_at": sent_at})
    .to_string()
}

fn now() -> String {
    let nanos = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    model::UnixNanos(nanos).to_string()
}

#[test]
fn one_order_however_often_it_is_sent() {
    let place = Place::new(EXCHANGE);
    let running = up(&place);
    fund(&running);
    let body = order("the-one", &now());
    let (sent, answered) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(BTreeSet::new())));
    let mut running = Some(running);
    let mut kills = 0;
    while sent.load(Ordering::Relaxed) < 1_000 {
        let now_running = running.take().unwrap_or_else(|| up(&place));
        let address = now_running.base.strip_prefix("http://").unwrap().to_owned();
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (address, body, sent, answered) =
                    (address.clone(), body.clone(), Arc::clone(&sent), Arc::clone(&answered));
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        sent.fetch_add(1, Ordering::Relaxed);
                        match call(&address, TRADER, "POST", "/orders", &body) {
                            Some((201, text)) => {
                                let answer: Value = serde_json::from_str(&text).unwrap();
                                answered.lock().unwrap().insert(answer["order"]["order_id"].as_u64().unwrap());
                            }
                            // Too many, starting, or killed in between.
                            Some((429 | 503 | 504, _)) | None => {}
                            Some((status, text)) => panic!("{status}: {text}"),
                        }
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(40 + 30 * kills));
        now_running.kill();
        kills += 1;
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    }
    assert!(kills >= 5, "{kills} kills");
    let running = up(&place);
    let (status, last) = running.wait_for_call(TRADER, "POST", "/orders", &body);
    assert_eq!(status, 201, "{last}");
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["repeated"], true);
    answered.lock().unwrap().insert(last["order"]["order_id"].as_u64().unwrap());
    let orders = open(&running);
    assert_eq!(orders.len(), 1, "one order: {orders:?}");
    let number = orders[0]["order_id"].as_u64().unwrap();
    assert_eq!(*answered.lock().unwrap(), BTreeSet::from([number]), "and every answer told of it");
    let (_, account) = running.call(TRADER, "GET", "/account", "").unwrap();
    assert!(account.contains("\"held\":\"9.90495\""), "one hold, fee included: {account}");
    println!("sent {} times across {kills} kills: 1 order", sent.load(Ordering::Relaxed));
}

#[test]
fn a_deadline_that_passes_while_nobody_runs_takes_effect_at_the_start() {
    let place = Place::new(EXCHANGE);
    let running = up(&place);
    fund(&running);
    let (status, text) = running.wait_for_call(TRADER, "POST", "/orders", &order("left", &now()));
    assert_eq!(status, 201, "{text}");
    let deadline = "{\"timeout_ms\":1500}";
    let (status, text) = running.wait_for_call(TRADER, "POST", "/orders/cancel-all-after", deadline);
    assert_eq!(status, 200, "{text}");
    running.kill();
    std::thread::sleep(Duration::from_millis(1_600));
    let running = up(&place);
    let begun = Instant::now();
    while !open(&running).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "the order stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    loop {
        let (_, text) = running.wait_for_call(TRADER, "GET", "/orders/client:left", "");
        if text.contains("\"reason\":\"DEAD_MAN\"") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A `redis-server` of the test's own; killed when dropped.
struct Redis {
    child: std::process::Child,
    port: u16,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Redis {
    fn start(dir: &std::path::Path) -> Self {
        let port = free_port();
        let child = std::process::Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server cannot be started: `cargo xtask setup` installs it");
        Self { child, port }
    }

    /// The value of a key, without a client: the answer is `$LENGTH`, then the bytes.
    fn get(&self, key: &str) -> Option<Value> {
        use std::io::{BufRead, Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(format!("GET {key}\r\n").as_bytes()).ok()?;
        let mut reader = std::io::BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length: usize = line.trim().strip_prefix('$')?.parse().ok()?;
        let mut value = vec![0; length];
        reader.read_exact(&mut value).ok()?;
        serde_json::from_slice(&value).ok()
    }
}

#[test]
fn books_stand_in_redis_and_follow_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let redis = Redis::start(dir.path());
    let port = redis.port;
    let place =
        Place::new(&format!("{EXCHANGE}cache: {{ type: redis, url: \"redis://127.0.0.1:{port}\", ttl: 2s }}\n"));
    let running = up(&place);
    fund(&running);
    let wait_for = |bids: &Value| {
        let begun = Instant::now();
        loop {
            let book = redis.get("book:BTC-USDT");
            if let Some(book) = book.as_ref().filter(|book| book["bids"] == *bids) {
                return book.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "redis never had {bids}: {book:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(&json!([]));
    let (status, text) = running.wait_for_call(TRADER, "POST", "/orders", &order("one", &now()));
    assert_eq!(status, 201, "{text}");
    let book = wait_for(&json!([["99", "0.1"]]));
    assert_eq!((&book["instrument"], &book["snapshot"]), (&json!("BTC-USDT"), &json!(true)));
    // Longer than it would stay by itself.
    std::thread::sleep(Duration::from_millis(2_500));
    wait_for(&json!([["99", "0.1"]]));
    running.wait_for_call(TRADER, "DELETE", "/orders", "");
    wait_for(&json!([]));
}
