//! `server:` – where the API listens.

use std::net::SocketAddr;

use super::scalar::text;
use super::section::{Context, Section};

/// Where the API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    /// A loopback address: there is neither TLS nor authentication for others yet.
    pub(crate) listen: SocketAddr,
    /// Host names under which browsers may call, as a proxy in front has them.
    pub(crate) host_names: Vec<String>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), host_names: Vec::new() }
    }
}

/// Reads the section.
pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> ServerSettings {
    let mut settings = ServerSettings::default();
    let Some(node) = root.node("server") else { return settings };
    let mut section = Section::open(node, "server", context);
    settings.listen = section.optional("listen", context, listen).unwrap_or(settings.listen);
    settings.host_names = section.list("host_names", context, text).unwrap_or_default();
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
