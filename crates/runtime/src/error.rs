//! Errors of a runtime, each with a remedy where there is one.

use gapless_core::InstanceName;

/// An error of a runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime does not answer: Docker is not running, or its socket may not be opened.
    #[error("{runtime} cannot be reached: {why}")]
    Unavailable {
        /// The runtime's name.
        runtime: &'static str,
        /// The cause and the remedy.
        why: String,
    },
    /// The image or program does not exist, or may not be read.
    #[error("{what} is not available: {why}")]
    Artifact {
        /// The image or program.
        what: String,
        /// The cause and the remedy.
        why: String,
    },
    /// The disk is full.
    #[error("no space left on the device while {doing}; free some space and deploy again")]
    DiskFull {
        /// The interrupted step.
        doing: String,
    },
    /// The fixed port of the release is taken.
    #[error("port {port} is taken{by}", by = owner.as_deref().map(|h| format!(" by {h}")).unwrap_or_default())]
    PortTaken {
        /// The port.
        port: u16,
        /// The process that listens on the port, if it can be found.
        owner: Option<String>,
    },
    /// The instance could not be created or started.
    #[error("{name} could not be started: {why}")]
    Start {
        /// The instance.
        name: InstanceName,
        /// The cause.
        why: String,
    },
    /// No answer in time.
    #[error("{runtime} did not answer within {seconds} s while {doing}")]
    Timeout {
        /// The runtime's name.
        runtime: &'static str,
        /// The interrupted step.
        doing: String,
        /// The deadline that passed.
        seconds: u64,
    },
    /// Any other error of the runtime.
    #[error("{doing} failed: {why}")]
    Failed {
        /// The failed step.
        doing: String,
        /// The cause, mostly in the runtime's words.
        why: String,
    },
}

impl RuntimeError {
    /// A retry may succeed: the runtime is unreachable or slow, and did not reject the call.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, RuntimeError::Unavailable { .. } | RuntimeError::Timeout { .. })
    }
}
