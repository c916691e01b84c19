//! Failures for people and scripts: a message on standard error, and a stable exit code.

use gapless_api::{ClientError, Code};
use gapless_config::ConfigError;
use gapless_core::Deployment;
use gapless_core::Phase;
use gapless_core::deployment::{Cause, Outcome};
use std::process::ExitCode;

/// Any other failure.
const FAILED: u8 = 1;
/// Wrong usage or configuration.
const USAGE: u8 = 2;
/// The new release was not healthy.
const UNHEALTHY: u8 = 3;
/// A gate failed.
const GATE: u8 = 4;
/// Another deployment is in progress.
const BUSY: u8 = 5;
/// The new release was live and was reverted.
const REVERTED: u8 = 6;
/// An approval is pending, was refused or has expired.
pub const APPROVAL: u8 = 7;
/// A person pressed Ctrl-C: 128 and the number of SIGINT, as in shells.
pub const INTERRUPTED: u8 = 130;

/// The reason for which a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is invalid.
    #[error("{0}")]
    Config(Box<ConfigError>),
    /// The command was used wrongly.
    #[error("{0}")]
    Usage(String),
    /// The server refused the request, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::Usage(message.into())
    }

    pub fn other(message: impl ToString) -> Self {
        Failure::Other(message.to_string())
    }

    /// Prints the failure and returns the exit code.
    pub fn report(self) -> ExitCode {
        let code = self.code();
        match self {
            Failure::Config(error) => eprintln!("{:?}", miette::Report::new(*error)),
            other => eprintln!("gapless: {other}"),
        }
        ExitCode::from(code)
    }

    fn code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Usage(_) => USAGE,
            Failure::Client(ClientError::Api(error)) => match error.code {
                Code::BadRequest | Code::BadConfiguration | Code::HostTaken => USAGE,
                Code::Busy => BUSY,
                Code::NotFound | Code::Conflict | Code::Unavailable => FAILED,
            },
            Failure::Client(_) | Failure::Other(_) => FAILED,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::Config(Box::new(error))
    }
}

/// The exit code for the outcome of a deployment.
pub fn of_deployment(deployment: &Deployment) -> ExitCode {
    let code = match &deployment.phase {
        Phase::Ended(Outcome::Failed(reason)) => match reason.cause {
            Cause::Unhealthy | Cause::Exited | Cause::OutOfMemory => UNHEALTHY,
            Cause::Gate => GATE,
            Cause::Rejected | Cause::Expired => APPROVAL,
            _ => FAILED,
        },
        Phase::Ended(Outcome::Cancelled(_)) => FAILED,
        Phase::Ended(Outcome::Reverted(_)) => REVERTED,
        _ => 0,
    };
    ExitCode::from(code)
}
