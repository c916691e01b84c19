//! Errors that travel, and those of travelling.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why the server did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of error it is, for programs.
    pub code: Code,
    /// What happened, why, and what to do, for people.
    pub message: String,
}

/// The kinds of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is not one that the API knows, or its body is not as it must be.
    BadRequest,
    /// The configuration breaks a rule.
    BadConfiguration,
    /// There is no such application, deployment or release.
    NotFound,
    /// A host belongs to another application.
    HostTaken,
    /// Another deployment is in the way.
    Busy,
    /// What was asked for makes no sense as things stand, such as a rollback without an earlier release.
    Conflict,
    /// The server cannot do it just now.
    Unavailable,
}

impl Code {
    /// The HTTP status that goes with it.
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

/// Why an answer was not had.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server did not do as asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no server at the socket.
    #[error(
        "no gapless server answers at {socket}: start one with `gapless server`, or name its socket with --socket or GAPLESS_SOCKET"
    )]
    NoServer {
        /// The socket.
        socket: String,
    },
    /// The socket may not be opened.
    #[error("{socket} may not be opened by this user: join the group that owns it, or run gapless as its owner")]
    NotPermitted {
        /// The socket.
        socket: String,
    },
    /// The connection broke, or the answer was not one of gapless's.
    #[error("the server's answer was cut short: {0}; what was asked for may have been done: see `gapless status`")]
    Broken(String),
}
