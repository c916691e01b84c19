//! Instances as values: their plan and their observed status.

use gapless_core::spec::Service;
use gapless_core::{InstanceName, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Everything needed to create an instance. The same name always comes with the same plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePlan {
    /// The instance's name.
    pub name: InstanceName,
    /// The number of the instance's release.
    pub release: u64,
    /// The configuration of its service.
    pub service: Service,
    /// The resolved artifact, from [`crate::Runtime::prepare`].
    pub artifact: String,
    /// The fixed port on the host, if the release has one.
    pub host_port: Option<u16>,
    /// All services of the release, this one included, if there are several: they reach each other within the slot.
    pub peers: BTreeMap<ServiceName, SiblingService>,
}

/// A service of the same slot, as its sibling services see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiblingService {
    /// The port that the service listens on in its container; 0 if it does not listen.
    pub port: u16,
    /// How many instances the service has.
    pub replicas: u16,
}

/// The name of the variable with the address of a sibling service.
pub(crate) fn peer_variable(service: &ServiceName) -> String {
    format!("GAPLESS_SERVICE_{}", service.in_variable())
}

/// The variables that gapless sets for an instance that listens on `port`.
pub(crate) fn variables(plan: &InstancePlan, port: u16) -> Vec<(String, String)> {
    let placement = &plan.name.placement;
    // An instance that does not listen gets no port.
    let port = (port != 0).then(|| ("PORT", port.to_string()));
    let own = [
        ("GAPLESS_APP", placement.key.app.to_string()),
        ("GAPLESS_ENVIRONMENT", placement.key.env.to_string()),
        ("GAPLESS_SERVICE", plan.name.service.to_string()),
        ("GAPLESS_SLOT", placement.slot.to_string()),
        ("GAPLESS_RELEASE", plan.release.to_string()),
        ("GAPLESS_DEPLOYMENT", placement.deployment.to_string()),
        ("GAPLESS_INSTANCE", plan.name.to_string()),
    ];
    port.into_iter().chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The observed status of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// The instance's name.
    pub name: InstanceName,
    /// The runtime's own id: the container id, or process id and start time. A different id under the same name means
    /// another run.
    pub id: String,
    /// Its state.
    pub state: InstanceState,
    /// How often the runtime itself restarted the instance.
    pub restarts: u32,
}

impl InstanceStatus {
    /// The instance has processes, running or frozen.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        matches!(self.state, InstanceState::Running { .. } | InstanceState::Frozen { .. })
    }

    /// The instance runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.state, InstanceState::Running { .. })
    }
}

/// The state of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Created and not started yet.
    Created,
    /// Running.
    Running {
        /// The address of the application's port.
        address: SocketAddr,
        /// When this run began.
        since: Timestamp,
    },
    /// The processes are frozen.
    Frozen {
        /// When this run began.
        since: Timestamp,
    },
    /// Ended.
    Exited(Exit),
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; 128 + n if signal n ended the process.
    pub code: Option<i64>,
    /// The kernel killed the instance for its memory.
    pub out_of_memory: bool,
    /// The time of the end.
    pub at: Timestamp,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.out_of_memory, self.code) {
            (true, _) => f.write_str("was killed by the kernel because it ran out of memory"),
            (false, Some(code)) => write!(f, "exited with code {code}"),
            (false, None) => f.write_str("ended, with an exit code that was not recorded"),
        }
    }
}

/// The progress of a long step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The step, such as `pulling shop:42`.
    pub step: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in total, if known.
    pub total_bytes: u64,
}

/// A hint that an instance has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// The instance's name.
    pub name: InstanceName,
    /// `start`, `die`, `oom` and so on, for logs only.
    pub what: String,
}

/// A request for output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// How many lines from the end.
    pub tail: usize,
    /// Continue with future lines.
    pub follow: bool,
}

/// The stream that a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of an instance's output, without its newline, at most [`LogLine::BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The time of the write.
    pub at: Timestamp,
    /// The stream of the line.
    pub stream: LogStream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl LogLine {
    /// The longest line in bytes; the rest of a longer line is dropped.
    pub const BYTES_MAX: usize = 64 << 10;
}
