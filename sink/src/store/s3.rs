//! A bucket as an object store, over `aws-sdk-s3`: one client, one chain of credentials.
//!
//! Large files go up in parts; what must be conditional is one PUT, since no two servers agree on what a
//! conditional end of a multipart upload means (`docs/decisions/0011-s3.md`).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{BucketLocationConstraint, CompletedMultipartUpload, CompletedPart, CreateBucketConfiguration};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::lake::LakeError;

/// Files above this size go up in parts of it. S3 asks for 5 MiB at least.
const PART_BYTES: usize = 16 << 20;
/// One request, at most, answer included.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(20);
/// Opening a connection, at most.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Attempts within one call; whoever calls tries again by itself.
const ATTEMPTS: u32 = 3;
/// Before the second of them, at most; doubled before the next.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Deletions under way at a time.
const DELETES: usize = 8;

/// A bucket, or a prefix in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with, without slashes at its ends; empty for the whole bucket.
    pub prefix: String,
    /// The server, where it is not AWS: `http://127.0.0.1:8333`.
    pub endpoint: Option<String>,
    /// The region, where the environment does not say.
    pub region: Option<String>,
    /// Credentials, where they are not to come from the environment.
    pub keys: Option<S3Keys>,
}

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// Whose.
    pub access: String,
    /// Never shown.
    pub secret: String,
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "S3Keys({})", self.access)
    }
}

impl fmt::Display for S3Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(out, "/{}", self.prefix)?;
        }
        match &self.endpoint {
            Some(endpoint) => write!(out, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

/// A bucket as an object store.
#[derive(Debug, Clone)]
pub(crate) struct S3Store {
    client: Client,
    config: Arc<S3Config>,
}

impl fmt::Display for S3Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.config)
    }
}

/// A failed call in our words.
fn error_of<E, R>(path: &str, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let code = error.code().unwrap_or_default().to_owned();
    let text = DisplayErrorContext(&error).to_string();
    let path = path.to_owned();
    match &*code {
        "NoSuchKey" | "NotFound" | "NoSuchBucket" => Error::NotFound { path, source: text.into() },
        "PreconditionFailed" => Error::AlreadyExists { path, source: text.into() },
        "NotModified" => Error::NotModified { path, source: text.into() },
        "AccessDenied" | "Forbidden" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
            Error::PermissionDenied { path, source: text.into() }
        }
        _ => Error::Generic { store: "S3", source: format!("{path}: {text}").into() },
    }
}

fn time(stamp: Option<&DateTime>) -> chrono::DateTime<chrono::Utc> {
    let parts = stamp.map(|stamp| (stamp.secs(), stamp.subsec_nanos())).unwrap_or_default();
    chrono::DateTime::from_timestamp(parts.0, parts.1).unwrap_or_default()
}

impl S3Store {
    /// A client of the bucket; nothing is asked yet. Credentials come from where AWS' own tools look for them:
    /// environment, profile, instance.
    pub(crate) async fn open(config: &S3Config) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(keys) = &config.keys {
            loader = loader.credentials_provider(Credentials::new(&keys.access, &keys.secret, None, None, "pipeline"));
        }
        let shared = loader.load().await;
        let region = shared.region().cloned().unwrap_or_else(|| Region::new("us-east-1"));
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_WITHIN).operation_attempt_timeout(ATTEMPT_WITHIN).build();
        // Unless told otherwise all clients of the process share 500 tokens, and a store that fails now and then
        // leaves them with none: each failure is then the caller's.
        let retries = RetryPartition::custom("lake").token_bucket(TokenBucket::unlimited()).build();
        let mut builder = aws_sdk_s3::config::Builder::from(&shared)
            .region(region)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE))
            .retry_partition(retries)
            .timeout_config(timeouts);
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint).force_path_style(true);
        }
        Self { client: Client::from_conf(builder.build()), config: Arc::new(config.clone()) }
    }

    /// Makes sure that the bucket is there, and makes it where it is not.
    ///
    /// # Errors
    /// When we may not, or the server cannot be reached.
    pub(crate) async fn ensure_bucket(&self) -> Result<(), LakeError> {
        let bucket = &self.config.bucket;
        let looked = self.client.head_bucket().bucket(bucket).send().await;
        let Err(error) = looked else { return Ok(()) };
        let status = error.raw_response().map(|answer| answer.status().as_u16());
        let refuse = |what: String| LakeError::Place { place: self.config.to_string(), what };
        match status {
            Some(404) => {}
            Some(403) => return Err(refuse(format!("access to bucket {bucket} is denied: check the credentials"))),
            Some(301) => return Err(refuse(format!("bucket {bucket} is in another region: set `region`"))),
            _ => return Err(error_of(bucket, error).into()),
        }
        let mut request = self.client.create_bucket().bucket(bucket);
        if let Some(region) = self.config.region.as_deref().filter(|region| *region != "us-east-1") {
            let place = BucketLocationConstraint::from(region);
            let configuration = CreateBucketConfiguration::builder().location_constraint(place).build();
            request = request.create_bucket_configuration(configuration);
        }
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.code() {
                Some("BucketAlreadyOwnedByYou") => Ok(()),
                Some("BucketAlreadyExists") => Err(refuse(format!("bucket {bucket} belongs to somebody else"))),
                Some("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                    Err(refuse(format!("bucket {bucket} does not exist and may not be made with these credentials")))
                }
                _ => Err(error_of(bucket, error).into()),
            },
        }
    }

    fn key(&self, location: &Path) -> String {
        match (self.config.prefix.as_str(), location.as_ref()) {
            ("", location) => location.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, location) => format!("{prefix}/{location}"),
        }
    }

    fn location(&self, key: &str) -> Result<Path> {
        let inside = match self.config.prefix.as_str() {
            "" => key,
            prefix => key.strip_prefix(prefix).map_or(key, |rest| rest.trim_start_matches('/')),
        };
        Ok(Path::parse(inside)?)
    }

    async fn put_parts(&self, key: &str, bytes: Bytes) -> Result<Option<String>> {
        let bucket = &self.config.bucket;
        let started = self.client.create_multipart_upload().bucket(bucket).key(key).send().await;
        let id = started.map_err(|error| error_of(key, error))?.upload_id.unwrap_or_default();
        let sent = self.send_parts(key, &id, bytes).await;
        if sent.is_err() {
            // Parts of an upload that nobody ends cost money; a bucket's life-cycle rule catches what is left here.
            let _ = self.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(&id).send().await;
        }
        sent
    }

    async fn send_parts(&self, key: &str, id: &str, bytes: Bytes) -> Result<Option<String>> {
        let bucket = &self.config.bucket;
        let mut done = CompletedMultipartUpload::builder();
        let mut number = 0;
        for start in (0..bytes.len()).step_by(PART_BYTES) {
            number += 1;
            let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
            let request = self.client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number);
            let sent = request.body(ByteStream::from(part)).send().await.map_err(|error| error_of(key, error))?;
            done = done.parts(
                CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(sent.e_tag)
                    .set_checksum_crc32(sent.checksum_crc32)
                    .build(),
            );
        }
        let request = self.client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id);
        let ended = request.multipart_upload(done.build()).send().await.map_err(|error| error_of(key, error))?;
        Ok(ended.e_tag)
    }

    /// One page of a listing.
    async fn page(
        &self,
        prefix: String,
        after: Option<String>,
        token: Option<String>,
        delimiter: Option<&str>,
    ) -> Result<ListObjectsV2Output> {
        let request = self.client.list_objects_v2().bucket(&self.config.bucket).prefix(&prefix);
        let request = request.set_start_after(after).set_continuation_token(token);
        let request = request.set_delimiter(delimiter.map(str::to_owned));
        request.send().await.map_err(|error| error_of(&prefix, error))
    }

    fn metas(&self, page: &ListObjectsV2Output) -> Result<Vec<ObjectMeta>> {
        let of = |object: &aws_sdk_s3::types::Object| {
            Ok(ObjectMeta {
                location: self.location(object.key().unwrap_or_default())?,
                last_modified: time(object.last_modified()),
                size: u64::try_from(object.size().unwrap_or_default()).unwrap_or_default(),
                e_tag: object.e_tag().map(str::to_owned),
                version: None,
            })
        };
        page.contents().iter().map(of).collect()
    }

    /// The prefix of a folder's keys, with the slash that ends its name.
    fn folder(&self, prefix: Option<&Path>) -> String {
        let key = self.key(prefix.unwrap_or(&Path::default()));
        if key.is_empty() { key } else { format!("{key}/") }
    }

    fn listed(&self, prefix: Option<&Path>, after: Option<String>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, folder) = (self.clone(), self.folder(prefix));
        let pages = stream::try_unfold(Some((after, None::<String>)), move |at| {
            let (store, folder) = (store.clone(), folder.clone());
            async move {
                let Some((after, token)) = at else { return Ok(None) };
                let page = store.page(folder, after, token, None).await?;
                let next = page.next_continuation_token().map(|token| (None, Some(token.to_owned())));
                let metas = store.metas(&page)?;
                Ok::<_, Error>(Some((stream::iter(metas.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }
}

fn range_header(range: &GetRange) -> String {
    match range {
        GetRange::Bounded(Range { start, end }) => format!("bytes={start}-{}", end.saturating_sub(1)),
        GetRange::Offset(start) => format!("bytes={start}-"),
        GetRange::Suffix(len) => format!("bytes=-{len}"),
    }
}

/// Start and whole size out of `bytes 0-9/100`.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let key = self.key(location);
        let bytes = Bytes::from(payload);
        let create = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite if bytes.len() > PART_BYTES => {
                return Ok(PutResult { e_tag: self.put_parts(&key, bytes).await?, version: None });
            }
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotSupported { source: "the lake never updates an object".into() });
            }
        };
        let mut request = self.client.put_object().bucket(&self.config.bucket).key(&key);
        if create {
            request = request.if_none_match("*");
        }
        let put = request.body(ByteStream::from(bytes)).send().await.map_err(|error| error_of(&key, error))?;
        Ok(PutResult { e_tag: put.e_tag, version: put.version_id })
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotSupported { source: format!("{location}: files of the lake are given whole").into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = self.key(location);
        if options.head {
            let head = self.client.head_object().bucket(&self.config.bucket).key(&key).send().await;
            let head = head.map_err(|error| match error.raw_response().map(|answer| answer.status().as_u16()) {
                Some(404) => Error::NotFound { path: key.clone(), source: "no such key".into() },
                _ => error_of(&key, error),
            })?;
            let size = u64::try_from(head.content_length().unwrap_or_default()).unwrap_or_default();
            let meta = ObjectMeta {
                location: location.clone(),
                last_modified: time(head.last_modified()),
                size,
                e_tag: head.e_tag,
                version: None,
            };
            options.check_preconditions(&meta)?;
            let payload = GetResultPayload::Stream(stream::empty().boxed());
            return Ok(GetResult { payload, meta, range: 0..0, attributes: Attributes::new() });
        }
        let request = self.client.get_object().bucket(&self.config.bucket).key(&key);
        let request = request.set_if_match(options.if_match.clone()).set_if_none_match(options.if_none_match.clone());
        let request = request.set_range(options.range.as_ref().map(range_header));
        let got = request.send().await.map_err(|error| error_of(&key, error))?;
        let len = u64::try_from(got.content_length().unwrap_or_default()).unwrap_or_default();
        let (start, size) = got.content_range().and_then(content_range).unwrap_or((0, len));
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: time(got.last_modified()),
            size,
            e_tag: got.e_tag,
            version: None,
        };
        let body = stream::unfold(Some(got.body), move |body| {
            let key = key.clone();
            async move {
                let mut body = body?;
                match body.next().await? {
                    Ok(bytes) => Some((Ok(bytes), Some(body))),
                    Err(error) => {
                        let source = format!("{key}: {error}").into();
                        Some((Err(Error::Generic { store: "S3", source }), None))
                    }
                }
            }
        });
        let payload = GetResultPayload::Stream(body.boxed());
        Ok(GetResult { payload, meta, range: start..start + len, attributes: Attributes::new() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let deleted = locations.map(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                let key = store.key(&location);
                let request = store.client.delete_object().bucket(&store.config.bucket).key(&key);
                request.send().await.map_err(|error| error_of(&key, error))?;
                Ok(location)
            }
        });
        deleted.buffered(DELETES).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(self.key(offset)))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = self.folder(prefix);
        let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        let mut token = None;
        loop {
            let page = self.page(folder.clone(), None, token, Some("/")).await?;
            for prefix in page.common_prefixes() {
                result.common_prefixes.push(self.location(prefix.prefix().unwrap_or_default().trim_end_matches('/'))?);
            }
            result.objects.extend(self.metas(&page)?);
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                return Ok(result);
            }
        }
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotSupported { source: format!("{from}: files of the lake are never copied").into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        assert_eq!(range_header(&GetRange::Bounded(5..10)), "bytes=5-9");
        assert_eq!(range_header(&GetRange::Suffix(8)), "bytes=-8");
        assert_eq!(content_range("bytes 5-9/100"), Some((5, 100)));
        assert_eq!(content_range("bytes */100"), None);
    }
}
