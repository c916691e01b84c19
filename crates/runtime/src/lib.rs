//! The Runtime: what runs the instances of a release, as Docker containers or as processes of the host.
//!
//! **Architecture Invariant:** this crate knows instances and nothing of deployments' phases, the store or the proxy.
//! Everything it does can be repeated: it is told names that are functions of the recorded state.

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
    Exit, InstancePlan, InstanceState, InstanceStatus, LogLine, LogQuery, LogStream, Peer, Progress, RuntimeEvent,
};
pub use lines::Lines;
pub use pidfd::ended;
pub use port::port_holder;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use gapless_core::spec::Workload;
use gapless_core::{AppKey, Artifacts, InstanceName, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a runtime tells how far a long step is, such as a pull.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// Runs instances. Every call has a deadline of its own, is safe to repeat, and touches only instances that this
/// runtime created for the same owner.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Resolves a workload to what exactly will run, fetching it where it is not here: the digest of an image, the
    /// checksum of a program. The answer is recorded with the release and given to [`Runtime::start`] ever after.
    async fn prepare(&self, workload: &Workload, progress: ProgressSink) -> Result<String, RuntimeError>;

    /// What exactly would run, as [`Runtime::prepare`] would answer, if that can be told without fetching anything.
    async fn look_up(&self, workload: &Workload) -> Result<Option<String>, RuntimeError>;

    /// Sees to it that the instance exists and runs. An instance that runs already is left alone; one that exited is
    /// started again.
    async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError>;

    /// The instances of one application and environment, in whatever state, sorted by name.
    async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError>;

    /// The instances of this owner, of all applications, sorted by name.
    async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError>;

    /// Sends SIGTERM, waits for `grace`, then kills everything that the instance started, and removes what is left of
    /// it. Nothing happens where there is no such instance.
    async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError>;

    /// Freezes the instance: it keeps its memory and its sockets, and takes no processor time. Nothing happens where it
    /// is frozen or does not run.
    async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError>;

    /// Lets a frozen instance go on. Nothing happens where it is not frozen.
    async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError>;

    /// Keeps on this host what these releases of an application run, by the number of the release, and nothing else of
    /// it that was kept before.
    async fn keep(&self, key: &AppKey, kept: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError>;

    /// Says whether the instance comes back by itself after the host restarts; only those of the live slot do.
    async fn set_restart(&self, name: &InstanceName, comes_back: bool) -> Result<(), RuntimeError>;

    /// The output of an instance, oldest line first; with `follow` it goes on until the instance is gone.
    async fn logs(
        &self,
        name: &InstanceName,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError>;

    /// Hints that an instance changed: started, exited, was killed for its memory. Events can be lost; what
    /// [`Runtime::list`] says is the truth. The stream ends when the runtime goes away.
    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError>;

    /// The TCP ports that the instance's processes listen on, for explaining a failed health check; empty where it
    /// cannot be told.
    async fn listening_ports(&self, name: &InstanceName) -> Vec<u16>;

    /// Whether the runtime can be used at all, in a sentence for `gapless doctor`; the error says what to do.
    async fn check(&self) -> Result<String, RuntimeError>;
}
