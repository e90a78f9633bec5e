//! What can keep the simulated venues from starting.

use std::net::SocketAddr;

use model::Venue;

use crate::config::ConfigError;
use crate::faults::FaultError;

/// A refused start or request.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The configuration cannot be simulated; every reason is listed.
    #[error("simulated venues not started: {}", list(.0))]
    Config(Vec<ConfigError>),
    /// The port of a venue is in use.
    #[error("port {} is taken: simulated venue {venue} cannot listen on {address}", .address.port())]
    PortTaken {
        /// The venue.
        venue: Venue,
        /// Where it should listen.
        address: SocketAddr,
    },
    /// The address of a venue cannot be listened on for another reason.
    #[error("simulated venue {venue} cannot listen on {address}: {reason}")]
    Listen {
        /// The venue.
        venue: Venue,
        /// Where it should listen.
        address: SocketAddr,
        /// The system's reason.
        reason: String,
    },
    /// There is no venue of this name.
    #[error("no simulated venue is called {0}")]
    UnknownVenue(String),
    /// A fault was refused.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// The venues were stopped.
    #[error("the simulated venues have stopped")]
    Stopped,
}

fn list(problems: &[ConfigError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
