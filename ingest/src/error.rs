//! What can go wrong with the stage as a whole. What a venue does wrong never does: it is a dead letter.

use journal::LogError;

/// Why ingest stopped, or a replay did.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigErrors),
    /// The log failed for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A topic that must be there is not.
    #[error("topic {0} does not exist")]
    NoTopic(&'static str),
    /// The HTTP client could not be made.
    #[error("http client: {0}")]
    Http(String),
    /// A captured file cannot be read.
    #[error("{path}: {reason}")]
    Capture {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A task ended in a panic.
    #[error("{0} panicked")]
    Panicked(&'static str),
}
