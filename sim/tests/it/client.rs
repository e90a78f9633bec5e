//! A plain client: tokio-tungstenite and nothing of the project.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use sim::{Config, Handle, Pace, VenueConfig, VenueKind, Venues};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// 2026-08-24T22:34:13.5Z
pub(crate) const START: i64 = 1_787_610_853_500_000_000;

/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// One venue with manual pace and four instruments.
pub(crate) fn config(kind: VenueKind) -> Config {
    let mut config = Config {
        seed: 42,
        start: Some(model::UnixNanos(START)),
        pace: Pace::Manual,
        venues: vec![VenueConfig::new(kind)],
        ..Config::default()
    };
    config.instruments.truncate(4);
    config
}

pub(crate) async fn start(config: Config) -> Handle {
    Venues::start(config).await.unwrap()
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Self {
        Self(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next frame of whatever kind; `None` when the connection has ended.
    pub(crate) async fn frame(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a frame within 20 s")
    }

    /// The next text frame.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.frame().await {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// The next text frame as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Frames until one satisfies `last`, which is included.
    pub(crate) async fn until(&mut self, mut last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.json().await;
            let done = last(&frame);
            frames.push(frame);
            if done {
                return frames;
            }
        }
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.0.next()).await.is_err()
    }

    /// Waits for the end of the connection; whether a close frame came first, with its code.
    pub(crate) async fn ended(&mut self) -> Option<u16> {
        let mut code = None;
        loop {
            match self.frame().await {
                Some(Ok(Message::Close(frame))) => code = frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return code,
            }
        }
    }
}

/// A REST answer: status and JSON.
pub(crate) async fn get(url: String) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}
