//! Errors in the protocol's form.

use tonic::Status;

use crate::error::{ErrorKind, SqlError};

/// The status of an error; its message begins with the place, where that is known.
pub(super) fn status(error: SqlError) -> Status {
    let message = error.to_string();
    match error.kind {
        ErrorKind::Syntax | ErrorKind::Meaning => Status::invalid_argument(message),
        ErrorKind::Refused => Status::permission_denied(message),
        ErrorKind::Limit => Status::resource_exhausted(message),
        ErrorKind::Data => Status::out_of_range(message),
        ErrorKind::Busy => Status::unavailable(message),
        ErrorKind::Cancelled => Status::cancelled(message),
        ErrorKind::Internal => Status::internal(message),
    }
}
