//! `server:` – where the API listens, and what SQL may take.

use std::net::SocketAddr;
use std::time::Duration;

use queries::Limits;

use super::scalar::{count, duration, size, text};
use super::section::{Context, Section};

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    /// A loopback address: there is neither TLS nor authentication for others yet.
    pub(crate) listen: SocketAddr,
    /// Host names under which browsers may call, as a proxy in front has them.
    pub(crate) host_names: Vec<String>,
    /// What SQL may take; none where the file does not ask for SQL.
    pub(crate) sql: Option<SqlSettings>,
}

/// What SQL may take, and where it is served beside the API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SqlSettings {
    pub(crate) limits: Limits,
    /// Where the Postgres protocol is served; nowhere when not given.
    pub(crate) postgres: Option<SocketAddr>,
    /// Where Arrow Flight SQL is served; nowhere when not given.
    pub(crate) flight: Option<SocketAddr>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), host_names: Vec::new(), sql: None }
    }
}

/// Reads the section.
pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> ServerSettings {
    let mut settings = ServerSettings::default();
    let Some(node) = root.node("server") else { return settings };
    let mut section = Section::open(node, "server", context);
    settings.listen = section.optional("listen", context, listen).unwrap_or(settings.listen);
    settings.host_names = section.list("host_names", context, text).unwrap_or_default();
    if let Some(node) = section.node("sql") {
        settings.sql = Some(read_sql(&mut Section::open(node, "server.sql", context), context));
    }
    section.finish(context);
    settings
}

fn read_sql(section: &mut Section<'_>, context: &mut Context) -> SqlSettings {
    let mut settings = SqlSettings::default();
    let limits = &mut settings.limits;
    let times = Duration::from_millis(100)..=Duration::from_secs(3_600);
    limits.time_max = section.optional("timeout", context, duration(times)).unwrap_or(limits.time_max);
    let mut bytes = |name, context: &mut Context, default: usize| {
        let given = section.optional(name, context, size(16 << 20..=1 << 40));
        given.map_or(default, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    };
    limits.memory_bytes_max = bytes("memory", context, limits.memory_bytes_max);
    limits.tail_bytes_max = bytes("tail", context, limits.tail_bytes_max);
    limits.spill_bytes_max = section.optional("spill", context, size(0..=1 << 40)).unwrap_or(limits.spill_bytes_max);
    limits.statements_max = section.optional("concurrency", context, count(1..=256)).unwrap_or(limits.statements_max);
    limits.rows_max = section.optional("rows", context, count(1..=u64::MAX)).unwrap_or(limits.rows_max);
    settings.postgres = section.optional("postgres", context, listen);
    settings.flight = section.optional("flight", context, listen);
    section.finish(context);
    settings
}

fn listen(value: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        value.parse().map_err(|_| format!("{value:?} is not an address: ip:port, as in 127.0.0.1:8080"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!(
            "{address} is reachable from outside, and there is no TLS and no authentication: \
             listen on 127.0.0.1 and put a proxy in front"
        ))
    }
}
