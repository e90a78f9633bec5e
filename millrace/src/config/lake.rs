//! `lake:` – where the tables land, and when.

use std::path::Path;
use std::time::Duration;

use sink::lake::{Place, S3Config, S3Keys};
use sink::land::Roll;

use super::scalar::{count, duration, one_of, size, text};
use super::section::{Context, Section};

/// The lake of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LakeSettings {
    /// Where it lies; none where nothing lands.
    pub(crate) place: Option<Place>,
    /// When open files are committed.
    pub(crate) roll: Roll,
    /// How often closed hours and dates are compacted; none where only `millrace compact` does it.
    pub(crate) compact_every: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    S3,
    None,
}

/// Reads the section. Without one nothing lands.
pub(super) fn read(root: &mut Section<'_>, folder: &Path, data_dir: &Path, context: &mut Context) -> LakeSettings {
    let mut settings =
        LakeSettings { place: None, roll: Roll::default(), compact_every: Some(Duration::from_secs(300)) };
    let Some(node) = root.node("lake") else { return settings };
    let mut section = Section::open(node, "lake", context);
    let kinds = [("directory", Kind::Directory), ("s3", Kind::S3), ("none", Kind::None)];
    match section.required("type", "directory", context, one_of(&kinds)) {
        Some(Kind::Directory) => {
            let path = section.optional("path", context, text);
            let path = path.map_or_else(|| data_dir.join("lake"), |path| folder.join(path));
            settings.place = Some(Place::Directory(path));
        }
        Some(Kind::S3) => {
            let mut config = section.required("url", "s3://market-lake/v1", context, s3_url);
            let endpoint = section.optional("endpoint", context, http_url);
            let region = section.optional("region", context, text);
            let access = section.optional("access_key", context, text);
            let secret = section.optional("secret_key", context, |value| {
                // The value is not repeated, whatever is wrong with it.
                text(value).map_err(|_| {
                    "a secret of 1 to 1024 bytes is needed: \"${NAME}\" takes it from the environment".into()
                })
            });
            if access.is_some() != secret.is_some() {
                context.complain(node.place, "lake", "access_key and secret_key go together: give both or none");
            }
            if let Some(config) = &mut config {
                (config.endpoint, config.region) = (endpoint, region);
                config.keys = access.zip(secret).map(|(access, secret)| S3Keys { access, secret });
            }
            settings.place = config.map(Place::S3);
        }
        Some(Kind::None) => settings.place = None,
        None => {}
    }
    if let Some(node) = section.node("roll") {
        let mut roll = Section::open(node, "lake.roll", context);
        let defaults = Roll::default();
        settings.roll = Roll {
            rows: roll.optional("rows", context, count(1..=10_000_000)).unwrap_or(defaults.rows),
            bytes: roll.optional("bytes", context, size((64 << 10)..=(1 << 30))).unwrap_or(defaults.bytes),
            age: roll
                .optional("age", context, duration(Duration::from_millis(100)..=Duration::from_secs(3_600)))
                .unwrap_or(defaults.age),
        };
        roll.finish(context);
    }
    let ages = Duration::from_secs(1)..=Duration::from_secs(86_400);
    settings.compact_every = section
        .optional("compact_every", context, |value| match value {
            "never" => Ok(None),
            other => duration(ages)(other).map(Some),
        })
        .unwrap_or(settings.compact_every);
    section.finish(context);
    settings
}

fn s3_url(value: &str) -> Result<S3Config, String> {
    let wrong = || format!("{value:?} is not a bucket: s3://BUCKET or s3://BUCKET/PREFIX");
    let rest = value.strip_prefix("s3://").ok_or_else(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(named) {
        return Err(wrong());
    }
    let prefix = prefix.trim_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'=');
    if prefix.contains("//") || !prefix.bytes().all(plain) {
        return Err(format!("prefix {prefix:?} not allowed: letters, digits and -_.=/ only"));
    }
    Ok(S3Config { bucket: bucket.to_owned(), prefix: prefix.to_owned(), endpoint: None, region: None, keys: None })
}

fn http_url(value: &str) -> Result<String, String> {
    let value = text(value)?;
    if (value.starts_with("http://") || value.starts_with("https://")) && !value.contains('@') {
        Ok(value)
    } else {
        // What stands before an @ may be a password and is not repeated.
        Err("an address that begins with http:// or https:// is needed; credentials come from the environment".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_read() {
        let config = s3_url("s3://market-lake/v1/a/").expect("a bucket");
        assert_eq!((config.bucket.as_str(), config.prefix.as_str()), ("market-lake", "v1/a"));
        assert_eq!(s3_url("s3://abc").expect("a bucket").prefix, "");
        for bad in ["", "abc", "http://abc", "s3://", "s3://ab", "s3://ABC", "s3://abc/a//b", "s3://abc/a b"] {
            assert!(s3_url(bad).is_err(), "{bad}");
        }
        assert!(http_url("http://user:secret@host").is_err_and(|what| !what.contains("secret")));
    }
}
