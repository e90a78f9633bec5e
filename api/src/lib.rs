//! REST, WebSocket and server-sent events over the pipeline's topics and caches.
//!
//! [`Server`] holds the port and serves; [`Deps`] are the log, the cache and what reports health. Prices are
//! rendered once when they are published, never per request or per client.

mod audit;
mod catalog;
mod clock;
mod config;
mod error;
mod exchange;
mod health;
mod hub;
mod link;
mod listeners;
mod origin;
mod problem;
mod refresh;
mod routes;
mod server;
mod stall;
mod state;
mod tape;
mod view;

pub use config::{ApiConfig, Limits};
pub use error::ApiError;
pub use exchange::{ApiKey, ExchangeDeps};
pub use health::{Condition, HealthRegistry, HealthReport, PartHealth};
pub use routes::{Access, RouteEntry, SqlDeps, table as routes};
pub use server::{Server, serve};
pub use state::Deps;
