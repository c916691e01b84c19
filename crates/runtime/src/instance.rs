//! Instances as values: what is to run, and what was seen of it.

use gapless_core::spec::Service;
use gapless_core::{InstanceName, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Everything needed to create one instance. The same name always comes with the same plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePlan {
    /// What it is called.
    pub name: InstanceName,
    /// The number of the release that it runs.
    pub release: u64,
    /// The configuration of its service.
    pub service: Service,
    /// What exactly runs, as [`crate::Runtime::prepare`] answered.
    pub artifact: String,
    /// The fixed port on the host, where the release asks for one.
    pub host_port: Option<u16>,
    /// All services of the release, its own included, where there are several: they reach each other within the slot.
    pub peers: BTreeMap<ServiceName, Peer>,
}

/// A service as the others of its slot see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens in its container; 0 where it listens nowhere.
    pub port: u16,
    /// How many instances it has.
    pub replicas: u16,
}

/// The variable that says where a service is reached from within its slot.
pub(crate) fn peer_variable(service: &ServiceName) -> String {
    format!("GAPLESS_SERVICE_{}", service.in_variable())
}

/// The variables that gapless itself gives to an instance that answers on `port`.
pub(crate) fn variables(plan: &InstancePlan, port: u16) -> Vec<(String, String)> {
    let placement = &plan.name.placement;
    // What listens nowhere is given no port.
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

/// What was seen of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Which instance.
    pub name: InstanceName,
    /// The runtime's own identity of it: the container id, or process id and start time. Another one under the same
    /// name is another run.
    pub id: String,
    /// Its state.
    pub state: InstanceState,
    /// How often the runtime itself started it again.
    pub restarts: u32,
}

impl InstanceStatus {
    /// Whether its processes are there, running or frozen.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        matches!(self.state, InstanceState::Running { .. } | InstanceState::Frozen { .. })
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.state, InstanceState::Running { .. })
    }
}

/// The state of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// It exists and was not started yet.
    Created,
    /// It runs; there it can be reached.
    Running {
        /// The address of the application's port.
        address: SocketAddr,
        /// When this run began.
        since: Timestamp,
    },
    /// It exists and its processes are frozen.
    Frozen {
        /// When this run began.
        since: Timestamp,
    },
    /// It ended.
    Exited(Exit),
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 + n where a signal n ended it.
    pub code: Option<i64>,
    /// Whether the kernel killed it for its memory.
    pub out_of_memory: bool,
    /// When.
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

/// How far a long step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, such as `pulling shop:42`.
    pub step: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all, as far as they are known.
    pub total_bytes: u64,
}

/// That an instance changed, and how as far as the runtime said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Which instance.
    pub name: InstanceName,
    /// `start`, `die`, `oom` and so on, for logs only.
    pub what: String,
}

/// Which output is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// How many lines from the end.
    pub tail: usize,
    /// Whether to go on with lines that are yet to come.
    pub follow: bool,
}

/// Where a line of output was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of an instance's output, without its newline; at most [`LogLine::BYTES_MAX`] bytes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// Where to.
    pub stream: LogStream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl LogLine {
    /// The longest line that is passed on; the rest of a longer one is dropped.
    pub const BYTES_MAX: usize = 64 << 10;
}
