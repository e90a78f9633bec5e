//! Bodies and fields of requests: every mistake is a sentence.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// A JSON body whose errors are [`Problem`]s.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            Problem::new(rejection.status(), "bad_body", format!("the body cannot be read: {}", rejection.body_text()))
        })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::bad_request("bad_body", format!("the body is not as expected: {error}")))
    }
}

/// Reads a field from its text.
pub(crate) fn parsed<T>(field: &str, text: &str) -> Result<T, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| Problem::bad_request("bad_value", format!("{field}: {error}")))
}

/// Reads a field that may be absent.
pub(crate) fn optional<T>(field: &str, text: Option<&str>) -> Result<Option<T>, Problem>
where
    T: FromStr,
    T::Err: Display,
{
    text.map(|text| parsed(field, text)).transpose()
}

/// Reads one of a few words.
pub(super) fn one_of<T: Copy>(field: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Problem> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("{field}: {:?} is not known: one of {}", crate::problem::shown(text), names.join(", "));
        Problem::bad_request("bad_value", message)
    })
}
