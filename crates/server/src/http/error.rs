//! Errors of handlers, as answers of the API.

use crate::operations::OperationError;
use crate::records::RecordError;
use axum::Json;
use axum::response::{IntoResponse, Response};
use gapless_api::{ApiError, Code};
use gapless_core::command::CommandError;

/// The error that a handler answers with.
pub(crate) struct Failure(ApiError);

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Failure(ApiError { code, message: message.into() })
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Failure::new(Code::BadRequest, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0.code.status(), Json(self.0)).into_response()
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        OperationError::Record(error).into()
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let code = match &error {
            OperationError::Record(RecordError::HostTaken { .. }) => Code::HostTaken,
            OperationError::Record(RecordError::Conflict)
            | OperationError::Command(
                CommandError::Busy { .. } | CommandError::QueueFull { .. } | CommandError::BeingRemoved { .. },
            ) => Code::Busy,
            OperationError::Record(RecordError::Store(_) | RecordError::Unreadable { .. }) => Code::Unavailable,
            OperationError::Command(CommandError::Weight(_)) | OperationError::Unsupported { .. } => Code::BadRequest,
            OperationError::Command(_) => Code::Conflict,
            OperationError::NoApplication(_) | OperationError::NoDeployment(..) | OperationError::NoRelease(..) => {
                Code::NotFound
            }
        };
        Failure::new(code, error.to_string())
    }
}

pub(super) async fn not_found_route() -> Failure {
    Failure::new(Code::NotFound, "there is no such path in the API; see /v1/openapi.json")
}
