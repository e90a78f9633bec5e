//! One WebSocket connection: frames out, texts in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::run::{Connection, Input, Shared};
use crate::engine::Outgoing;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Largest text that a client may send.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Serves an upgraded connection until either side ends it.
pub(super) async fn serve(
    upgraded: Upgraded,
    connection: Connection,
    inbox: mpsc::Sender<Input>,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let limits = WebSocketConfig::default().max_message_size(Some(TEXT_BYTES_MAX)).max_frame_size(Some(TEXT_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await;
    let (sink, stream) = socket.split();
    let Connection { id, frames, cut } = connection;
    tokio::select! {
        () = stop.cancelled() => {}
        () = cut.cancelled() => {}
        () = write(sink, frames, &shared) => {}
        () = read(stream, id, &inbox, &shared) => {}
    }
    let _ = inbox.send(Input::Closed { id }).await;
}

async fn write(mut sink: SplitSink<Socket, Message>, mut frames: mpsc::Receiver<Vec<Outgoing>>, shared: &Shared) {
    while let Some(burst) = frames.recv().await {
        for frame in burst {
            let size = frame.size();
            if send(&mut sink, frame).await.is_err() {
                return;
            }
            let rate = shared.gates.bytes_per_second.load(Ordering::Relaxed);
            if rate > 0 {
                if sink.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs_f64(size as f64 / rate as f64)).await;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

async fn send(sink: &mut SplitSink<Socket, Message>, frame: Outgoing) -> Result<(), Error> {
    match frame {
        // A raw frame, since the bytes may be what they should not: not UTF-8.
        Outgoing::Text(bytes) => sink.feed(Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true))).await,
        Outgoing::Binary(bytes) => sink.feed(Message::Binary(bytes)).await,
        Outgoing::Ping(bytes) => sink.feed(Message::Ping(bytes)).await,
        Outgoing::Close { code, reason } => {
            let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
            sink.send(Message::Close(Some(frame))).await?;
            Err(Error::ConnectionClosed)
        }
    }
}

async fn read(mut stream: SplitStream<Socket>, id: u64, inbox: &mpsc::Sender<Input>, shared: &Shared) {
    loop {
        while shared.gates.read_nothing.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let input = match stream.next().await {
            Some(Ok(Message::Text(text))) => Input::Text { id, text: text.as_bytes().to_vec() },
            Some(Ok(Message::Pong(_))) => Input::Pong { id },
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            Some(Ok(_)) => continue,
        };
        if inbox.send(input).await.is_err() {
            return;
        }
    }
}
