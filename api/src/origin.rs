//! Which browsers may call: those that show a page of this server.
//!
//! A server on loopback is reachable from every web page that the same machine shows. The `Host` check stops
//! pages whose name was pointed here (DNS rebinding), the `Origin` check stops those that open a WebSocket or
//! post across origins, which browsers allow. Reads across origins fail in the browser, since no answer
//! carries a CORS header.

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, StatusCode, header};

use crate::problem::{Problem, shown};

/// Refuses requests that come through a foreign page.
pub(crate) fn check(method: &Method, headers: &HeaderMap, names: &[String]) -> Result<(), Problem> {
    let host = match headers.get(header::HOST) {
        Some(host) => host.to_str().unwrap_or("").trim(),
        None => return Ok(()),
    };
    if !is_ours(name_of(host), names) {
        let message = format!("host {:?} is not served here: only localhost and the configured names", shown(host));
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !changes && !headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("");
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    if authority.eq_ignore_ascii_case(host) {
        return Ok(());
    }
    let message = format!("pages of {:?} may not call this server", shown(origin));
    Err(Problem::new(StatusCode::FORBIDDEN, "foreign_origin", message))
}

/// The name in `name`, `name:port` or `[address]:port`.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(name, _)| name);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_ours(name: &str, names: &[String]) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, fields: &[(header::HeaderName, &str)]) -> Option<StatusCode> {
        let headers = fields.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
        let checked = check(&method, &headers, &["prices.example".into()]);
        checked.err().map(|problem| axum::response::IntoResponse::into_response(problem).status())
    }

    #[test]
    fn foreign_pages_are_refused_and_everybody_else_is_not() {
        let (host, origin, upgrade) = (header::HOST, header::ORIGIN, header::UPGRADE);
        for ours in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "prices.example"] {
            assert_eq!(call(Method::POST, &[(host.clone(), ours)]), None, "{ours}");
        }
        for foreign in ["evil.example", "evil.example:8080", "10.0.0.1", "localhost.evil.example", "", "[::2]:1"] {
            let refused = Some(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(call(Method::GET, &[(host.clone(), foreign)]), refused, "{foreign}");
        }
        let at = (host, "localhost:8080");
        assert_eq!(call(Method::POST, &[at.clone(), (origin.clone(), "http://localhost:8080")]), None);
        for foreign in ["http://evil.example", "null", "http://localhost:3000", ""] {
            let refused = Some(StatusCode::FORBIDDEN);
            assert_eq!(call(Method::POST, &[at.clone(), (origin.clone(), foreign)]), refused, "{foreign}");
            let socket = [at.clone(), (upgrade.clone(), "websocket"), (origin.clone(), foreign)];
            assert_eq!(call(Method::GET, &socket), refused, "{foreign}");
            assert_eq!(call(Method::GET, &[at.clone(), (origin.clone(), foreign)]), None, "{foreign}");
        }
    }
}
