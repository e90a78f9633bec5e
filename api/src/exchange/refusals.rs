//! What every route that sends a command may answer instead of an outcome: for the OpenAPI document.

use utoipa::IntoResponses;

use crate::problem::ErrorBody;

/// The errors of commands. Only the document makes use of it.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "its attributes are what is read")]
pub(crate) enum Refusals {
    /// The request cannot be read: nothing was done.
    #[response(status = 400)]
    BadRequest(ErrorBody),
    /// No key, or an unknown one.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// Not this key's to do: another account's order or money, or an operator's business.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// No such open order, pending withdrawal or trade.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// Rejected by the exchange: the reason is the code.
    #[response(status = 422)]
    Rejected(ErrorBody),
    /// Too many commands; `Retry-After` says when to come back.
    #[response(status = 429)]
    TooMany(ErrorBody),
    /// The exchange takes no commands: nothing was done.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// `UNKNOWN`: it may have been done; send the same again.
    #[response(status = 504)]
    Unknown(ErrorBody),
}
