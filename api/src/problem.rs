//! Errors as callers see them: a code for programs, a sentence for people.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::audit::{Code, Command};

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    error: ErrorDetail,
    retry_after_s: Option<u32>,
    /// Offset of the command that was refused, where there was one.
    command: Option<u64>,
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// A stable word for programs.
    #[schema(example = "unknown_asset")]
    code: &'static str,
    /// A sentence for people; it may change.
    #[schema(example = "asset FOO is not served: there are BTCUSDT, ETHUSDT")]
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, error: ErrorDetail { code, message: message.into() }, retry_after_s: None, command: None }
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(1)
    }

    /// Tells the caller when to come back.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Says which command was refused.
    pub(crate) const fn of_command(mut self, offset: u64) -> Self {
        self.command = Some(offset);
        self
    }

    /// Offset of the command that was refused, where there was one.
    pub(crate) const fn command(&self) -> Option<u64> {
        self.command
    }

    /// The word for programs.
    pub(crate) const fn code(&self) -> &'static str {
        self.error.code
    }

    /// The status that HTTP gives it.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The sentence, cut to what fits a WebSocket's close frame.
    pub(crate) fn short(&self) -> String {
        let mut text = self.error.message.clone();
        while text.len() > 123 {
            text.pop();
        }
        text
    }

    /// Code and sentence, for streams that carry errors inside.
    pub(crate) fn into_detail(self) -> ErrorDetail {
        self.error
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (retry_after, code, command) = (self.retry_after_s, self.error.code, self.command);
        let mut response = (self.status, Json(ErrorBody { error: self.error })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Code(code));
        if let Some(offset) = command {
            response.extensions_mut().insert(Command(offset));
        }
        response
    }
}

/// What a caller wrote, cut to a length that an error may repeat.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Query parameters whose errors are [`Problem`]s.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(QueryRejection::FailedToDeserializeQueryString(error)) => {
                let text = error.body_text();
                let reason = text.rsplit(": ").next().unwrap_or(&text);
                Err(Problem::bad_request("bad_query", format!("query parameters are not as expected: {reason}")))
            }
            Err(other) => Err(Problem::bad_request("bad_query", other.to_string())),
        }
    }
}

/// The one parameter of a path, as text; what is no text is a [`Problem`].
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(error) => Err(Problem::bad_request("bad_path", format!("the path is not understood: {error}"))),
        }
    }
}
