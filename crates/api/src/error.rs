//! Errors of the API and of its client.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error answer of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The kind of error, for programs.
    pub code: Code,
    /// The cause and the remedy, for people.
    pub message: String,
}

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The API has no such request, or its body is invalid.
    BadRequest,
    /// The configuration violates a rule.
    BadConfiguration,
    /// There is no such application, deployment or release.
    NotFound,
    /// A host belongs to another application.
    HostTaken,
    /// Another deployment is in progress.
    Busy,
    /// The request does not fit the current state, such as a rollback without an earlier release.
    Conflict,
    /// The server cannot serve the request at the moment.
    Unavailable,
}

impl Code {
    /// The HTTP status of this kind of error.
    #[must_use]
    pub const fn status(self) -> http::StatusCode {
        match self {
            Code::BadRequest => http::StatusCode::BAD_REQUEST,
            Code::BadConfiguration => http::StatusCode::UNPROCESSABLE_ENTITY,
            Code::NotFound => http::StatusCode::NOT_FOUND,
            Code::HostTaken | Code::Busy | Code::Conflict => http::StatusCode::CONFLICT,
            Code::Unavailable => http::StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// No server listens on the socket.
    #[error(
        "no gapless server answers at {socket}: start one with `gapless server`, or set the socket with --socket or \
         GAPLESS_SOCKET"
    )]
    NoServer {
        /// The socket.
        socket: String,
    },
    /// This user may not open the socket.
    #[error("this user may not open {socket}: join the group that owns it, or run gapless as its owner")]
    NotPermitted {
        /// The socket.
        socket: String,
    },
    /// The connection broke, or the answer was invalid.
    #[error("the server's answer is incomplete: {0}; the request may have been executed: check with `gapless status`")]
    Broken(String),
}
