//! Why the server does not start or stops.

use std::net::SocketAddr;

/// A server that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address is open to other machines.
    #[error(
        "listen address {0} not allowed: it is open to other machines, which takes TLS and authentication; \
         listen on 127.0.0.1 and put a proxy with both in front"
    )]
    PublicListen(SocketAddr),
    /// Another process listens there.
    #[error("port {port} of {host} is taken by another process: stop it, or set another port in server.listen", port = .0.port(), host = .0.ip())]
    PortTaken(SocketAddr),
    /// The system does not let us listen there.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        reason: String,
    },
    /// Nothing to serve.
    #[error("no instruments are configured: the server needs at least 1")]
    NoInstruments,
}
