//! A thousand WebSocket clients, with and without some that never read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use model::UnixNanos;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::server::{Running, now};

const CLIENTS: usize = 1_000;
const STALLED: usize = 10;
const MEASURED: Duration = Duration::from_secs(12);
/// One price a second of each of ten instruments to each client: 10,000 messages a second.
const EVERY: Duration = Duration::from_secs(1);

/// Prints the delay from publication to client, all reading and with ten that never read.
pub(crate) async fn measure() -> anyhow::Result<()> {
    for stalled in [0, STALLED] {
        let server = Running::start(EVERY).await?;
        let mut unread = Vec::new();
        for _ in 0..stalled {
            unread.push(subscribe(server.address, 4_096).await?);
        }
        let mut readers = Vec::new();
        for _ in stalled..CLIENTS {
            let socket = subscribe(server.address, 65_536).await?;
            readers.push(tokio::spawn(delays(socket)));
        }
        let mut all = Vec::new();
        for reader in readers {
            all.extend(reader.await??);
        }
        all.sort_unstable();
        let at = |part: usize| all[(all.len() - 1) * part / 1_000] as f64 / 1e6;
        println!(
            "{CLIENTS} clients, {stalled} never read: {} messages, publication to client p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            all.len(),
            at(500),
            at(990),
            at(1_000)
        );
        drop(unread);
        server.stop().await;
    }
    Ok(())
}

async fn subscribe(address: SocketAddr, room: u32) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(room)?;
    let stream = socket.connect(address).await?;
    let (mut socket, _) = client_async(format!("ws://{address}/ws"), stream).await?;
    socket.send(Message::text(r#"{"op":"subscribe","channel":"prices"}"#)).await?;
    Ok(socket)
}

/// Nanoseconds from each price's event time to its receipt.
async fn delays(mut socket: WebSocketStream<TcpStream>) -> anyhow::Result<Vec<i64>> {
    const FIELD: &str = r#""last_updated":""#;
    let (start, mut delays) = (Instant::now(), Vec::new());
    // The first second is left out: the clients are still connecting.
    while start.elapsed() < MEASURED {
        let Some(Message::Text(text)) = socket.next().await.transpose()? else { continue };
        let received = now();
        let Some(at) = text.find(FIELD) else { continue };
        let time = text[at + FIELD.len()..].split('"').next().unwrap_or_default();
        if start.elapsed() > EVERY * 2 {
            delays.push(received.since(UnixNanos::parse_rfc3339(time.as_bytes())?));
        }
    }
    Ok(delays)
}
