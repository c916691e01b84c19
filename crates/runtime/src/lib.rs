//! The Runtime: runs the instances of a release, as Docker containers, as processes of the host, or as services of
//! systemd.
//!
//! **Architecture Invariant:** this crate knows instances and nothing of deployments' phases, the store or the proxy.
//! Every call can be repeated: the names it gets are functions of the recorded state.

#[doc(hidden)]
pub mod conformance;
pub mod docker;
mod error;
mod instance;
mod lines;
mod pidfd;
mod port;
pub mod proc;
pub mod process;
pub mod systemd;
pub mod user;

pub use error::RuntimeError;
pub use instance::{
    Exit, InstancePlan, InstanceState, InstanceStatus, LogLine, LogQuery, LogStream, Progress, RuntimeEvent,
    SiblingService,
};
pub use lines::Lines;
pub use pidfd::ended;
pub use port::port_owner;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gapless_core::spec::Workload;
use gapless_core::{AppKey, Artifacts, InstanceName, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Receives the progress of a long step, such as a pull.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// Runs instances. Every call has a deadline, is safe to repeat, and touches only instances that this runtime created
/// for the same owner.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Resolves a workload to an immutable artifact, fetched if missing: an image's digest, a program's checksum. The
    /// answer is recorded with the release and passed to [`Runtime::start`] from then on.
    async fn prepare(&self, workload: &Workload, progress: ProgressSink) -> Result<String, RuntimeError>;

    /// The artifact that [`Runtime::prepare`] would return, if it is known without fetching anything.
    async fn look_up(&self, workload: &Workload) -> Result<Option<String>, RuntimeError>;

    /// Ensures that the instance exists and runs. A running instance is left unchanged; an exited one is started again.
    async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError>;

    /// The instances of one application and environment in any state, sorted by name.
    async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError>;

    /// The instances of this owner, of all applications, sorted by name.
    async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError>;

    /// Sends SIGTERM, waits for `grace`, then kills all processes of the instance and removes it. Does nothing if there
    /// is no such instance.
    async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError>;

    /// Freezes the instance: it keeps its memory and sockets, and gets no processor time. Does nothing if the instance
    /// is frozen or does not run.
    async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError>;

    /// Thaws the instance. Does nothing if it is not frozen.
    async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError>;

    /// Retains on this host the artifacts of these releases of an application, by release number, and drops all its
    /// others.
    async fn keep(&self, key: &AppKey, kept: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError>;

    /// Sets if the instance starts by itself after a restart of the host; only instances of the live slot do.
    async fn set_restart(&self, name: &InstanceName, starts_at_boot: bool) -> Result<(), RuntimeError>;

    /// The output of an instance, oldest line first; with `follow` it continues until the instance is removed.
    async fn logs(
        &self,
        name: &InstanceName,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError>;

    /// Hints that an instance changed: started, exited, was killed for its memory. Events can be lost;
    /// [`Runtime::list`] is authoritative. The stream ends when the runtime goes away.
    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError>;

    /// The TCP ports that the instance's processes listen on, to explain a failed health check; empty if unknown.
    async fn listening_ports(&self, name: &InstanceName) -> Vec<u16>;

    /// Checks that the runtime is usable, and describes it in a sentence for `gapless doctor`.
    async fn check(&self) -> Result<String, RuntimeError>;
}
