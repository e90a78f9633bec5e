//! The limits, and how the server starts and stops.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aggregate::cache::MemoryCache;
use api::{ApiConfig, ApiError, Deps, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::{Harness, PATIENCE, Store, config, price};

/// Sends bytes and reads what comes until the connection ends.
async fn raw(harness: &Harness, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(harness.address).await.unwrap();
    // The server may end the connection before all is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = async { while let Ok(1..) = stream.read_buf(&mut answer).await {} };
    tokio::time::timeout(PATIENCE, read).await.expect("the connection ends in time");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn deps() -> Deps {
    let store = Store::new().await;
    Deps::new(Arc::clone(&store.log), Arc::new(MemoryCache::new(Duration::from_secs(5))))
}

fn listening_on(address: &str) -> ApiConfig {
    ApiConfig { listen: address.parse().unwrap(), ..config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_cannot_be_used_are_one_clear_error() {
    let deps = deps().await;
    for public in ["0.0.0.0:0", "[::]:0", "192.0.2.7:8080"] {
        let error = Server::bind(listening_on(public), deps.clone()).unwrap_err();
        assert!(matches!(error, ApiError::PublicListen(_)));
        let text = error.to_string();
        assert!(text.contains(public) && text.contains("TLS and authentication"), "{text}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(listening_on(&address.to_string()), deps.clone()).unwrap_err();
    assert!(matches!(error, ApiError::PortTaken(_)));
    assert!(error.to_string().contains(&format!("port {} of 127.0.0.1 is taken", address.port())), "{error}");
    let nothing = ApiConfig { instruments: Vec::new(), ..config() };
    assert!(matches!(Server::bind(nothing, deps.clone()), Err(ApiError::NoInstruments)));
    let cancel = CancellationToken::new();
    cancel.cancel();
    api::serve(config(), deps, cancel).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_bodies_are_bounded() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.body_bytes_max = 1_000).await;
    let host = format!("host: {}\r\n", harness.address);
    let long = format!("GET /prices HTTP/1.1\r\n{host}x: {}\r\n\r\n", "y".repeat(20_000));
    assert!(raw(&harness, long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let long_path = format!("GET /{} HTTP/1.1\r\n{host}\r\n", "y".repeat(70_000));
    let refused = raw(&harness, long_path.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 414") || refused.starts_with("HTTP/1.1 431"), "{refused}");
    let many = format!("GET /prices HTTP/1.1\r\n{host}{}\r\n", "x: y\r\n".repeat(100));
    assert!(raw(&harness, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(raw(&harness, b"GET / HTTP/9\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert!(raw(&harness, &[0x16, 3, 1, 2, 0, 1, 0]).await.starts_with("HTTP/1.1 400"));
    let body = harness.client.post(harness.url("/refresh/BTC")).body(vec![0u8; 1_001]).send().await.unwrap();
    crate::support::Answer::of(body).await.is_error(413, "body_too_large", &["1001 bytes", "at most 1000"]);
    // Half a head, and then nothing.
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.header_timeout = Duration::from_millis(300)).await;
    let start = Instant::now();
    raw(&harness, b"GET /prices HTTP/1.1\r\nho").await;
    assert!(start.elapsed() >= Duration::from_millis(290));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_counted_and_one_too_many_is_told_so() {
    let store = Arc::new(Store::new().await);
    let harness = Harness::with(store, |config| config.limits.connections_max = 2).await;
    let held = [TcpStream::connect(harness.address).await.unwrap(), TcpStream::connect(harness.address).await.unwrap()];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = raw(&harness, b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("too_many_connections"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    serde_json::from_str::<serde_json::Value>(body).unwrap();
    drop(held);
    harness.get_until("/healthz", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_pages_are_refused() {
    let harness = Harness::start().await;
    harness.publish(&price("BTC-USDT", 1, "1")).await;
    let get = |host: &str| format!("GET /prices/BTC HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let rebound = raw(&harness, get("evil.example").as_bytes()).await;
    assert!(rebound.starts_with("HTTP/1.1 421") && rebound.contains("unknown_host"), "{rebound}");
    let named = raw(&harness, get(&format!("localhost:{}", harness.address.port())).as_bytes()).await;
    assert!(named.starts_with("HTTP/1.1 200"), "{named}");
    let post = harness.client.post(harness.url("/refresh/BTC")).header("origin", "http://evil.example");
    let answer = crate::support::Answer::of(post.send().await.unwrap()).await;
    answer.is_error(403, "foreign_origin", &["evil.example"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_frees_the_port_and_lets_idle_connections_go() {
    let harness = Harness::start().await;
    let (address, start) = (harness.address, Instant::now());
    assert_eq!(harness.get("/healthz").await.status, 200);
    let _idle = TcpStream::connect(address).await.unwrap();
    let store = harness.stop().await;
    assert!(start.elapsed() < PATIENCE);
    let again = Harness::with(store, |config| config.listen = address).await;
    assert_eq!(again.get("/healthz").await.status, 200);
}
