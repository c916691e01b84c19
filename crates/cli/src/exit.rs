//! Failures as a person and a script see them: a message on standard error, and an exit code that is stable.

use gapless_api::{ClientError, Code};
use gapless_config::ConfigError;
use gapless_core::Deployment;
use gapless_core::Phase;
use gapless_core::deployment::{Cause, Outcome};
use std::process::ExitCode;

/// Failed.
const FAILED: u8 = 1;
/// Usage or configuration.
const USAGE: u8 = 2;
/// The new release was not healthy.
const UNHEALTHY: u8 = 3;
/// A gate failed.
const GATE: u8 = 4;
/// Another deployment is in the way.
const BUSY: u8 = 5;
/// The new release was live and was taken back.
const REVERTED: u8 = 6;
/// It waits for an approval, or was refused one.
pub const APPROVAL: u8 = 7;
/// A person pressed Ctrl-C, as shells tell it.
pub const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(Box<ConfigError>),
    /// The command was used wrongly.
    #[error("{0}")]
    Usage(String),
    /// The server did not do as asked, or cannot be reached.
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

    /// Says what went wrong, and how the process is to exit.
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

/// The exit code that a deployment's end comes to.
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
