//! What can go wrong with a runtime, in words that say what to do.

use gapless_core::InstanceName;

/// What went wrong, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime does not answer: Docker is not running, or its socket may not be opened.
    #[error("{runtime} cannot be reached: {why}")]
    Unavailable {
        /// Which runtime.
        runtime: &'static str,
        /// Why, and what to do.
        why: String,
    },
    /// What should run does not exist, or may not be fetched.
    #[error("{what} cannot be had: {why}")]
    Artifact {
        /// The image or program.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// The disk is full.
    #[error("no space left on the device while {doing}; free some and deploy again")]
    DiskFull {
        /// What was being done.
        doing: String,
    },
    /// A port that the release asks for is taken.
    #[error("port {port} is taken{by}", by = holder.as_deref().map(|h| format!(" by {h}")).unwrap_or_default())]
    PortTaken {
        /// The port.
        port: u16,
        /// Who has it, as far as it can be told.
        holder: Option<String>,
    },
    /// The instance could not be created or started.
    #[error("{name} could not be started: {why}")]
    Start {
        /// Which instance.
        name: InstanceName,
        /// Why.
        why: String,
    },
    /// A call took too long.
    #[error("{runtime} did not answer within {seconds} s while {doing}")]
    Timeout {
        /// Which runtime.
        runtime: &'static str,
        /// What was being done.
        doing: String,
        /// The deadline that passed.
        seconds: u64,
    },
    /// Anything else that the runtime said.
    #[error("{doing} failed: {why}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What the runtime said.
        why: String,
    },
}

impl RuntimeError {
    /// Whether trying the same again later can help: the runtime is away or slow, rather than refusing.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, RuntimeError::Unavailable { .. } | RuntimeError::Timeout { .. })
    }
}
