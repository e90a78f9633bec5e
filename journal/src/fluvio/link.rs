//! One connection to a process of the cluster.
//!
//! Requests and answers are those of the published client's own protocol crates. A link belongs to one task,
//! has no task behind it, and is dropped, which closes it, after the first trouble: nothing that was handed to
//! it can be sent later behind our back.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fluvio::dataplane::api::{Request, RequestMessage};
use fluvio::dataplane::core::Decoder;
use fluvio_socket::{ClientConfig, FluvioSocket, Versions};
use futures_util::StreamExt;
use tokio::time::timeout;

/// Name under which the broker logs our requests.
const CLIENT_ID: &str = "millrace";

/// Why a link can no longer be used. Whether the request before it was carried out is unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct LinkLost(String);

impl LinkLost {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A connection to an SPU or the SC.
pub(super) struct Link {
    socket: FluvioSocket,
    versions: Versions,
    last_id: i32,
}

/// A request on its way: what is needed to know and read its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Answers carry it.
    pub(super) id: i32,
    version: i16,
}

/// A message from the broker.
pub(super) struct Frame {
    /// Id of the request that it answers.
    pub(super) id: i32,
    body: Bytes,
}

impl Frame {
    fn parse(mut bytes: BytesMut) -> Result<Self, LinkLost> {
        let mut id = 0_i32;
        id.decode(&mut bytes, 0).map_err(|error| LinkLost(format!("answer without an id: {error}")))?;
        Ok(Self { id, body: bytes.freeze() })
    }

    /// Reads the answer to a request of type `R`.
    pub(super) fn decode<R: Request>(mut self, pending: Pending) -> Result<R::Response, LinkLost> {
        R::Response::decode_from(&mut self.body, pending.version)
            .map_err(|error| LinkLost(format!("answer cannot be read: {error}")))
    }
}

impl Link {
    /// Connects and learns what the other side speaks.
    pub(super) async fn open(address: &str, limit: Duration) -> Result<Self, LinkLost> {
        let connecting = ClientConfig::with_addr(address.to_owned()).connect();
        let connected = timeout(limit, connecting)
            .await
            .map_err(|_| LinkLost(format!("{address} does not answer within {limit:?}")))?
            .map_err(|error| LinkLost(format!("{address}: {error}")))?;
        let (socket, _, versions) = connected.split();
        Ok(Self { socket, versions, last_id: 0 })
    }

    /// The newest version of a request that both sides know.
    pub(super) fn version<R: Request>(&self) -> Result<i16, LinkLost> {
        let unknown = || LinkLost(format!("the broker does not know request {}", R::API_KEY));
        self.versions.lookup_version::<R>().ok_or_else(unknown)
    }

    /// Sends a request; its answers come as frames.
    pub(super) async fn send<R: Request>(&mut self, request: R, limit: Duration) -> Result<Pending, LinkLost> {
        let version = self.version::<R>()?;
        self.last_id = self.last_id.wrapping_add(1);
        let mut message = RequestMessage::new_request(request);
        message.header.set_api_version(version).set_correlation_id(self.last_id).set_client_id(CLIENT_ID);
        let sending = self.socket.get_mut_sink().send_request(&message);
        timeout(limit, sending)
            .await
            .map_err(|_| LinkLost(format!("request not taken within {limit:?}")))?
            .map_err(|error| LinkLost(format!("connection: {error}")))?;
        Ok(Pending { id: self.last_id, version })
    }

    /// The next message. Cancel safe.
    pub(super) async fn frame(&mut self) -> Result<Frame, LinkLost> {
        match self.socket.get_mut_stream().get_mut_tcp_stream().next().await {
            Some(Ok(bytes)) => Frame::parse(bytes),
            Some(Err(error)) => Err(LinkLost(format!("connection: {error}"))),
            None => Err(LinkLost("connection closed by the broker".to_owned())),
        }
    }

    /// Sends a request and waits for its answer, at most `limit` for both.
    pub(super) async fn call<R: Request>(&mut self, request: R, limit: Duration) -> Result<R::Response, LinkLost> {
        let exchange = async {
            let pending = self.send(request, limit).await?;
            loop {
                let frame = self.frame().await?;
                if frame.id == pending.id {
                    return frame.decode::<R>(pending);
                }
            }
        };
        timeout(limit, exchange).await.map_err(|_| LinkLost(format!("no answer within {limit:?}")))?
    }
}
