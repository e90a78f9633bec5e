//! A connection from its first byte to its last.
//!
//! `pgwire` has a loop of its own, which waits a minute for a log-in, for ever after one that failed, takes messages of
//! two gigabytes before there is any, and does not see a client go while its statement is at work.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pgwire::api::cancel::DefaultCancelHandler;
use pgwire::api::{ClientInfo, DefaultClient, NoopHandler, PgWireConnectionState};
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, SslNegotiationMetaMessage};
use pgwire::tokio::server::{PgWireMessageServerCodec, process_error, process_message};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::TcpStream;
use tokio_util::codec::Framed;

use super::bounded::Bounded;
use super::session::Session;
use super::statement::Prepared;
use crate::engine::Caller;

/// Time to log in.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);
/// How often a client is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Requests for encryption that are refused before the client has to go on in another way.
const NEGOTIATIONS_MAX: usize = 2;

type Socket = Framed<Bounded, PgWireMessageServerCodec<Prepared>>;

/// Serves a connection until it ends.
pub(super) async fn serve(stream: TcpStream, session: Session) {
    let (Ok(address), Ok(watched)) = (stream.peer_addr(), stream.as_fd().try_clone_to_owned()) else { return };
    let proof = Arc::clone(session.proof());
    let client = DefaultClient::new(address, false);
    let stream = Bounded::new(stream, Arc::clone(&proof));
    let mut socket = Framed::new(stream, PgWireMessageServerCodec::new(client));
    tokio::select! {
        ended = converse(&mut socket, Arc::new(session)) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        }
        // What its statement held is dropped with it.
        () = gone(watched) => {}
        () = not_proven(&proof) => {}
    }
}

/// Returns when nobody has logged in for too long.
async fn not_proven(proof: &OnceLock<Caller>) {
    tokio::time::sleep(LOGIN_WITHIN).await;
    if proof.get().is_some() {
        std::future::pending().await
    }
}

/// Returns when the other end has closed the connection, also while what it sent before has not been read.
async fn gone(socket: impl AsFd) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut polled = [PollFd::new(&socket, PollFlags::RDHUP)];
        let found = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if found.is_err() || polled[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
    }
}

/// Refuses encryption, which there is none of on a loopback address; false when the client does not go on.
async fn negotiate(socket: &mut Socket) -> io::Result<bool> {
    for _ in 0..=NEGOTIATIONS_MAX {
        let refused = match socket.next().await {
            Some(Ok(PgWireFrontendMessage::SslNegotiation(asked))) => match asked {
                SslNegotiationMetaMessage::PostgresSsl(_) => PgWireBackendMessage::SslResponse(SslResponse::Refuse),
                SslNegotiationMetaMessage::PostgresGss(_) => {
                    PgWireBackendMessage::GssEncResponse(GssEncResponse::Refuse)
                }
                SslNegotiationMetaMessage::None => {
                    socket.set_state(PgWireConnectionState::AwaitingStartup);
                    return Ok(true);
                }
            },
            _ => return Ok(false),
        };
        socket.send(refused).await?;
    }
    Ok(false)
}

async fn converse(socket: &mut Socket, session: Arc<Session>) -> io::Result<()> {
    if !negotiate(socket).await? {
        return Ok(());
    }
    let cancel = Arc::new(DefaultCancelHandler::new(Arc::clone(session.manager())));
    while let Some(message) = socket.next().await {
        let message = message.map_err(io::Error::other)?;
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        let is_extended = message.is_extended_query();
        let done = process_message(
            message,
            socket,
            Arc::clone(&session),
            Arc::clone(&session),
            Arc::clone(&session),
            Arc::new(NoopHandler),
            Arc::clone(&cancel),
        );
        if let Err(error) = done.await {
            // Before the proof every error is the last.
            let is_last = session.proof().get().is_none();
            process_error(socket, error, is_extended && !is_last).await?;
            if is_last {
                return Ok(());
            }
        }
    }
    Ok(())
}
