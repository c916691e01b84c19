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

/// Asks for a deployment of a new release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The release's configuration. Its application and environment are those of the path.
    pub spec: Spec,
    /// The configurations of the environments that it goes on to by itself, once it has succeeded in those that they
    /// require.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Spec>,
    /// Whether it is deployed although the very same is live, and although the environment requires others to have
    /// succeeded with it before.
    #[serde(default)]
    pub force: bool,
}

/// Asks what a deployment would change and do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The configuration.
    pub spec: Spec,
}

/// What a deployment would change and do, and what there is for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// What it would change and do.
    #[serde(flatten)]
    pub plan: Plan,
    /// Memory that is free on the server's host, in bytes.
    pub memory_free_bytes: Option<u64>,
    /// What is free on the disk of the server's state, in bytes.
    pub disk_free_bytes: Option<u64>,
}

/// Asks for a deployment of what has succeeded in another environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The environment where it has succeeded.
    pub from: EnvName,
    /// The configuration of the environment of the path. What it runs is replaced by what runs there.
    pub spec: Spec,
    /// The configurations of the environments that it goes on to by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Spec>,
}

/// Refuses a deployment that waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectRequest {
    /// Why.
    pub reason: String,
}

/// Steers the canary that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// What is wanted of it.
    pub steer: Steer,
}

/// Asks for a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the release to go back to; without it the one that was live before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    /// Whether it goes past migrations that nothing undoes.
    #[serde(default)]
    pub force: bool,
}

/// Puts an application under maintenance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// The HTML of the answers; the release's own page without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// An application in an environment, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationView {
    /// The application.
    pub app: AppName,
    /// The environment.
    pub env: EnvName,
    /// What people want of it.
    pub desired: Desired,
    /// Whether it is under maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// The slot that requests go to.
    pub live: Option<Slot>,
    /// What stands in the slots, and what is leaving them.
    pub slots: Vec<SlotView>,
    /// The deployment that is under way.
    pub active: Option<Deployment>,
    /// The numbers of the deployments that wait.
    pub queue: Vec<u64>,
    /// The hosts that it owns.
    pub hosts: BTreeSet<HostPattern>,
    /// Where a rollback without a number goes.
    pub previous_release: Option<u64>,
    /// Data planes that do not go by its present routes yet.
    pub planes_behind: Vec<String>,
}

/// A release in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// The slot.
    pub slot: Slot,
    /// What it is there for.
    pub state: SlotState,
    /// The number of the release.
    pub release: u64,
    /// The number of the deployment that put it there.
    pub deployment: u64,
    /// The image or the program, as it was written.
    pub source: String,
    /// What exactly runs, by service.
    pub artifacts: Artifacts,
    /// Its instances.
    pub instances: Vec<InstanceView>,
    /// Requests since the data planes were started.
    pub traffic: Traffic,
    /// Until when a rollback to it is instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_until: Option<Timestamp>,
}

/// What a release is in a slot for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    /// Requests go to it.
    Live,
    /// It was live, and nothing of it is to run now.
    Stopped,
    /// It is started and checked.
    Candidate,
    /// It finishes its requests and takes over again if the live one fails.
    Fallback,
    /// It is kept running for a rollback.
    Standby,
    /// It is kept for a rollback, frozen.
    Parked,
    /// It gets a share of the requests: a canary.
    Canary,
    /// It finishes its requests and is then stopped.
    Leaving,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceView {
    /// Its name, which is its container's name, too.
    pub name: String,
    /// The service that it is an instance of.
    pub service: ServiceName,
    /// Where it answers, if it runs.
    #[schema(value_type = Option<String>)]
    pub address: Option<SocketAddr>,
    /// Whether it gets its share of the slot's requests.
    pub in_rotation: bool,
}

/// News of a deployment that is followed: sent once at the beginning, then whenever something changes, and for the
/// last time at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowEvent {
    /// The deployment as it is.
    pub deployment: Deployment,
    /// How far a long step is, where one is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// What gates have said since the last event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<OutputLine>,
}

/// A line that a gate said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputLine {
    /// The gate.
    pub gate: String,
    /// The line.
    pub line: String,
}

/// How far a long step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    /// What is being done.
    pub step: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all, as far as they are known.
    pub total_bytes: u64,
}

/// A line of an instance's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogRecord {
    /// The instance.
    pub instance: String,
    /// Its slot.
    pub slot: Slot,
    /// When it was written.
    pub at: Timestamp,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text.
    pub text: String,
}

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// The version of gapless.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started_at: Timestamp,
    /// Where its state is.
    pub state_dir: String,
    /// The data planes.
    pub planes: Vec<PlaneInfo>,
    /// Its name among several.
    #[serde(default)]
    pub name: String,
    /// Where the records are, for people.
    #[serde(default)]
    pub store: String,
    /// Whether it leads.
    #[serde(default)]
    pub role: Role,
    /// The name of the server that leads, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// What a server is among several that share a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It decides and acts. A server with a store of its own always does.
    #[default]
    Leader,
    /// It answers reads and forwards everything else.
    Follower,
}

/// A data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlaneInfo {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it listens.
    #[schema(value_type = Vec<String>)]
    pub listen: Vec<SocketAddr>,
    /// Whether it answers.
    pub is_up: bool,
}

/// One thing that `gapless doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub is_ok: bool,
    /// What was seen, and what to do.
    pub message: String,
}

/// A key of the user's own, and its value.
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
    /// The store's revision of the reading: what is newer is asked for with it.
    pub revision: u64,
    /// The pairs, sorted by key.
    pub pairs: Vec<KvPair>,
}

/// A key was set or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KvChanged {
    /// The revision of the change.
    pub revision: u64,
}
