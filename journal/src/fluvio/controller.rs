//! What is asked of the stream controller (SC): topics, partitions, SPUs.
//!
//! The published client's admin connection is not used: it keeps three watches running on each connection, does
//! not notice when the SC has gone, and now and then never closes after it was dropped (seen: one or two left
//! open for every outage of an SPU).

use std::fmt;
use std::time::Duration;

use fluvio::dataplane::core::{Decoder, Encoder};
use fluvio::metadata::AdminSpec;
use fluvio::metadata::objects::{
    CommonCreateRequest, CreateRequest, ListRequest, ListResponse, Metadata, ObjectApiCreateRequest,
    ObjectApiListRequest,
};
use fluvio::metadata::topic::TopicSpec as FluvioTopic;
use fluvio_sc_schema::TryEncodableFrom;

use super::link::Link;
use crate::error::LogError;

/// A connection to the SC, opened for one purpose.
pub(super) struct Controller {
    link: Link,
    endpoint: String,
    limit: Duration,
}

impl Controller {
    pub(super) fn new(link: Link, endpoint: String, limit: Duration) -> Self {
        Self { link, endpoint, limit }
    }

    /// Everything of one kind: topics, partitions or SPUs.
    pub(super) async fn list<S>(&mut self) -> Result<Vec<Metadata<S>>, LogError>
    where
        S: AdminSpec,
        S::Status: Encoder + Decoder + fmt::Debug,
    {
        let all = ListRequest::<S>::new(Vec::new(), false);
        let version = self.link.version::<ObjectApiListRequest>().map_err(|lost| self.failed(lost))?;
        let request = ObjectApiListRequest::try_encode_from(all, version).map_err(|error| self.failed(error))?;
        let answer = self.link.call(request, self.limit).await.map_err(|lost| self.failed(lost))?;
        let listed: Option<ListResponse<S>> = answer.downcast().map_err(|error| self.failed(error))?;
        listed.map(ListResponse::inner).ok_or_else(|| self.failed("an answer of another kind"))
    }

    /// Asks for a topic.
    pub(super) async fn create(&mut self, name: &str, topic: FluvioTopic) -> Result<(), LogError> {
        let common = CommonCreateRequest { name: name.to_owned(), ..CommonCreateRequest::default() };
        let version = self.link.version::<ObjectApiCreateRequest>().map_err(|lost| self.failed(lost))?;
        let request = ObjectApiCreateRequest::try_encode_from(CreateRequest::new(common, topic), version);
        let request = request.map_err(|error| self.failed(error))?;
        let answer = self.link.call(request, self.limit).await.map_err(|lost| self.failed(lost))?;
        answer.as_result().map_err(|error| self.failed(error))
    }

    fn failed(&self, reason: impl fmt::Display) -> LogError {
        LogError::Broker(format!("controller {}: {reason:#}", self.endpoint))
    }
}
