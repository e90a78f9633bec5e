//! What the doors that listen for themselves have in common: a loopback port, keys, so many connections at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::login::Login;

/// Pause after a connection that could not be accepted.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// Where to listen; a loopback address, since there is no TLS.
    pub listen: SocketAddr,
    /// Who may come in.
    pub logins: Vec<Login>,
    /// Open connections, at most.
    pub connections_max: usize,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Keys and rows would cross a network in the clear.
    #[error("{address} is reachable from outside, and the {door} door has no TLS: listen on 127.0.0.1")]
    Public {
        /// Which.
        door: &'static str,
        /// Where.
        address: SocketAddr,
    },
    /// There is nobody who could come in.
    #[error("the {door} door needs at least one key: without one nobody could {enter}")]
    NoLogins {
        /// Which.
        door: &'static str,
        /// What coming in is called there.
        enter: &'static str,
    },
    /// The port cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// What a door is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// In messages.
    pub(crate) door: &'static str,
    /// What coming in is called there.
    pub(crate) enter: &'static str,
    /// The counter of connections for which there was no place.
    pub(crate) refused: &'static str,
}

/// A port that is held, and the places behind it.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    refused: &'static str,
}

impl Door {
    /// Takes the port. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// When the address is public or taken, or there is no login.
    pub(crate) fn bind(names: Names, config: &DoorConfig) -> Result<Self, DoorError> {
        let Names { door, enter, refused } = names;
        let address = config.listen;
        if !address.ip().is_loopback() {
            return Err(DoorError::Public { door, address });
        }
        if config.logins.is_empty() {
            return Err(DoorError::NoLogins { door, enter });
        }
        let failed = |error| DoorError::Listen { address, error };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        Ok(Self { listener, places: Arc::new(Semaphore::new(config.connections_max)), refused })
    }

    /// The next connection and its place. One for which there is no place is closed at once. Cancel safe.
    pub(crate) async fn accept(&self) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Small answers leave at once.
                    let _ = stream.set_nodelay(true);
                    match Arc::clone(&self.places).try_acquire_owned() {
                        Ok(place) => return (stream, place),
                        Err(_) => metrics::counter!(self.refused).increment(1),
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}
