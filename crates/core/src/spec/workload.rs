//! The program of a service, its limits, its log files and its ports on the host.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The program of a service and its runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Workload {
    /// A container of an image.
    Docker(Container),
    /// A process of the host.
    Process(Process),
    /// A service of the host's systemd.
    Systemd(Process),
}

impl Workload {
    /// The name of the runtime, as written in `gapless.toml`.
    #[must_use]
    pub const fn runtime(&self) -> &'static str {
        match self {
            Workload::Docker(_) => "docker",
            Workload::Process(_) => "process",
            Workload::Systemd(_) => "systemd",
        }
    }
}

/// A container to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// The image as the user wrote it: `shop:42`, `registry.example.com/shop@sha256:…`. Resolved in preparation.
    pub image: String,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Replaces the image's entrypoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The user in the container, `name` or `uid[:gid]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The mounts.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// A small init runs as process 1, for images whose own process 1 ignores signals.
    #[serde(default)]
    pub init: bool,
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// A named volume, or an absolute path of the host.
    pub source: String,
    /// An absolute path in the container.
    pub path: String,
    /// The mount is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program (an absolute path) and its arguments. `{port}` in an argument is replaced by the instance's port.
    pub command: Vec<String>,
    /// The working directory, absolute.
    pub directory: String,
    /// The name of the user that it runs as; by default the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Limits on each instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory in bytes; an instance that exceeds it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
}

/// The limits of an instance's log on disk: `file_count` files of `file_bytes` each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogRotation {
    /// The size of a file in bytes.
    pub file_bytes: u64,
    /// The number of files.
    pub file_count: u16,
}

impl Default for LogRotation {
    fn default() -> Self {
        LogRotation { file_bytes: 10 << 20, file_count: 3 }
    }
}

/// Fixed ports on the host, one for each slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostPorts {
    /// The port of the blue slot.
    pub blue: u16,
    /// The port of the green slot.
    pub green: u16,
}

impl HostPorts {
    /// The port of `slot`.
    #[must_use]
    pub const fn of(self, slot: crate::Slot) -> u16 {
        match slot {
            crate::Slot::Blue => self.blue,
            crate::Slot::Green => self.green,
        }
    }
}
