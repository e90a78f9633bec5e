//! `cache:` – where the newest prices are kept for those who ask.

use std::time::Duration;

use super::scalar::{duration, one_of, text};
use super::section::{Context, Section};

/// Where the newest prices are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheSettings {
    /// How long a price counts as current.
    pub(crate) ttl: Duration,
    /// The address of a Redis server; memory only without one.
    pub(crate) redis: Option<String>,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { ttl: aggregate::cache::TTL_DEFAULT, redis: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Redis,
}

/// Reads the section.
pub(super) fn read(root: &mut Section<'_>, context: &mut Context) -> CacheSettings {
    let mut settings = CacheSettings::default();
    let Some(node) = root.node("cache") else { return settings };
    let mut section = Section::open(node, "cache", context);
    let kinds = [("memory", Kind::Memory), ("redis", Kind::Redis)];
    let kind = section.required("type", "memory", context, one_of(&kinds));
    let range = Duration::from_millis(100)..=Duration::from_secs(3_600);
    settings.ttl = section.optional("ttl", context, duration(range)).unwrap_or(settings.ttl);
    match kind {
        Some(Kind::Redis) => {
            settings.redis = section.required("url", "redis://127.0.0.1:6379", context, |value| {
                let url = text(value)?;
                if url.starts_with("redis://") || url.starts_with("rediss://") || url.starts_with("unix://") {
                    Ok(url)
                } else {
                    // The value may hold a password and is not repeated.
                    Err("the address must begin with redis://, rediss:// or unix://".to_owned())
                }
            });
        }
        Some(Kind::Memory) | None => {}
    }
    section.finish(context);
    settings
}
