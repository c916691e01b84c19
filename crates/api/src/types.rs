//! The bodies of requests and answers.

use gapless_core::application::{Desired, Maintenance};
use gapless_core::command::Steer;
use gapless_core::deployment::Traffic;
use gapless_core::plan::Plan;
use gapless_core::{AppName, Artifacts, Deployment, EnvName, HostPattern, ServiceName, Slot, Spec, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use utoipa::ToSchema;

/// A request for a deployment of a new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The release's configuration. Its application and environment must be those of the path.
    pub spec: Spec,
    /// The configurations of further environments, to which the release is promoted automatically once it has succeeded
    /// in the environments that they require.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Spec>,
    /// Deploys even if the same release is live, and even if it has not succeeded in the environments that this one
    /// requires.
    #[serde(default)]
    pub force: bool,
}

/// A request for the plan of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The configuration.
    pub spec: Spec,
}

/// The plan of a deployment, and the host's free resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// The changes and steps of the deployment.
    #[serde(flatten)]
    pub plan: Plan,
    /// Free memory of the server's host, in bytes.
    pub memory_free_bytes: Option<u64>,
    /// Free space on the disk of the server's state, in bytes.
    pub disk_free_bytes: Option<u64>,
}

/// A request to deploy what has succeeded in another environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The environment in which the release has succeeded.
    pub from: EnvName,
    /// The configuration of the path's environment. Its image or program is replaced by that of the promoted release.
    pub spec: Spec,
    /// The configurations of further environments, to which the release is promoted automatically.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Spec>,
}

/// A rejection of a deployment that waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectRequest {
    /// The reason.
    pub reason: String,
}

/// A request to steer the current canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// The requested step.
    pub steer: Steer,
}

/// A request for a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the release to return to; by default the release that was live before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// Rolls back even past migrations that no hook undoes.
    #[serde(default)]
    pub force: bool,
}

/// A request to turn maintenance mode on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// The HTML of the answers; by default the release's own page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// The current state of an application in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationView {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
    /// The requested state.
    pub desired: Desired,
    /// The maintenance mode, if it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The slot that serves requests.
    pub live: Option<Slot>,
    /// The releases in the slots, and those that are leaving them.
    pub slots: Vec<SlotView>,
    /// The deployment in progress.
    pub active: Option<Deployment>,
    /// The numbers of the queued deployments.
    pub queue: Vec<u64>,
    /// The hosts that the application owns.
    pub hosts: BTreeSet<HostPattern>,
    /// The target of a rollback without a number.
    pub previous_release: Option<u64>,
    /// Data planes that do not use the current routes yet.
    pub planes_behind: Vec<String>,
}

/// A release in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// The slot.
    pub slot: Slot,
    /// The release's purpose in the slot.
    pub state: SlotState,
    /// The number of the release.
    pub release: u64,
    /// The number of the deployment that started it.
    pub deployment: u64,
    /// The image or program, as configured.
    pub source: String,
    /// The resolved artifacts, by service.
    pub artifacts: Artifacts,
    /// The slot's instances.
    pub instances: Vec<InstanceView>,
    /// Requests since the data planes started.
    pub traffic: Traffic,
    /// The time until which a rollback to this slot is instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_until: Option<Timestamp>,
}

/// The purpose of a release in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    /// Serves the requests.
    Live,
    /// Was live; its application is stopped.
    Stopped,
    /// Is being started and checked.
    Candidate,
    /// Finishes its requests, and takes over again if the live slot fails.
    Fallback,
    /// Keeps running for a rollback.
    Standby,
    /// Frozen, for a rollback.
    Parked,
    /// Serves a share of the requests.
    Canary,
    /// Finishes its requests and is then stopped.
    Leaving,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// The instance's name, which is also its container's.
    pub name: String,
    /// The instance's service.
    pub service: ServiceName,
    /// The address that the instance serves on, if it runs.
    #[schema(value_type = Option<String>)]
    pub address: Option<SocketAddr>,
    /// The instance gets its share of the slot's requests.
    pub in_rotation: bool,
}

/// An event of a followed deployment: sent once at the beginning, then at each change, and for the last time at the
/// end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowEvent {
    /// The current state of the deployment.
    pub deployment: Deployment,
    /// The progress of a long step, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// Output of gates since the last event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<OutputLine>,
}

/// A line of a gate's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputLine {
    /// The gate.
    pub gate: String,
    /// The text.
    pub line: String,
}

/// The progress of a long step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    /// The step, such as `pulling shop:42`.
    pub step: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in total, if known.
    pub total_bytes: u64,
}

/// A line of an instance's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// The instance.
    pub instance: String,
    /// The instance's slot.
    pub slot: Slot,
    /// The time of the write.
    pub at: Timestamp,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text.
    pub text: String,
}

/// The server's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// The version of gapless.
    pub version: String,
    /// The process id.
    pub pid: u32,
    /// The time of the server's start.
    pub started_at: Timestamp,
    /// The folder of its state.
    pub state_dir: String,
    /// The data planes.
    pub planes: Vec<PlaneInfo>,
    /// The server's name among several.
    #[serde(default)]
    pub name: String,
    /// The store, for people.
    #[serde(default)]
    pub store: String,
    /// The role among several servers.
    #[serde(default)]
    pub role: Role,
    /// The name of the leader, if another server leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// The role of a server among several that share a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Decides and acts. A server with its own store always leads.
    #[default]
    Leader,
    /// Answers reads and forwards everything else.
    Follower,
}

/// A data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaneInfo {
    /// The data plane's name.
    pub name: String,
    /// The process id.
    pub pid: Option<u32>,
    /// The addresses that the data plane listens on.
    #[schema(value_type = Vec<String>)]
    pub listen: Vec<SocketAddr>,
    /// The data plane answers.
    pub is_up: bool,
}

/// A check of `gapless doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// The checked thing.
    pub name: String,
    /// The check has passed.
    pub is_ok: bool,
    /// The finding and the remedy.
    pub message: String,
}

/// A user's key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KvPair {
    /// The key; it begins with a slash.
    pub key: String,
    /// The value, a text.
    pub value: String,
}

/// The pairs below a prefix, all of one revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvPairs {
    /// The store's revision at the time of the read; a watch continues after it.
    pub revision: u64,
    /// The pairs, sorted by key.
    pub pairs: Vec<KvPair>,
}

/// The result of setting or removing a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvChanged {
    /// The revision of the change.
    pub revision: u64,
}
