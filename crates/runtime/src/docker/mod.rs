//! Instances as containers, through the Docker Engine's API; the `docker` command is never used.

mod addresses;
mod connection;
mod container;
mod credentials;
mod foreign;
mod image;
mod job;
mod keep;
mod logs;
mod network;
mod observe;

pub use connection::DockerConfig;
pub use foreign::{Executed, ForeignContainer, ForeignNetwork};
pub use job::Job;

use crate::{InstancePlan, InstanceStatus, LogLine, LogQuery, ProgressSink, Runtime, RuntimeError, RuntimeEvent, port};
use async_trait::async_trait;
use bollard::query_parameters::StopContainerOptionsBuilder;
use connection::{Connection, Problem, ignore_statuses};
use futures_util::stream::BoxStream;
use gapless_core::spec::Workload;
use gapless_core::{AppKey, Artifacts, InstanceName, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long the Engine may take beyond the grace period of an instance.
const STOP_MARGIN: Duration = Duration::from_secs(20);

/// Runs instances as containers on the Docker Engine of this host.
pub struct DockerRuntime {
    engine: Arc<Connection>,
    jobs: job::Jobs,
}

impl DockerRuntime {
    /// Creates a runtime on that Engine. Does not contact the Engine, which may start later, or never.
    ///
    /// # Errors
    /// If the configuration names an invalid socket.
    pub fn connect(config: DockerConfig) -> Result<Self, RuntimeError> {
        let engine = Arc::new(Connection::new(config)?);
        Ok(DockerRuntime { jobs: job::Jobs::new(engine.clone()), engine })
    }

    /// Runs a container to its end and returns its exit code; `on_output` gets its output piece by piece. Dropping the
    /// future ends the job. The container is removed in any case.
    ///
    /// # Errors
    /// If the job cannot be run.
    pub async fn run_job(&self, job: &Job, on_output: impl Fn(&[u8])) -> Result<i64, RuntimeError> {
        job::run(&self.jobs, job, on_output).await
    }

    /// Removes the containers of jobs that are not in progress, such as those of a server that was killed. Retries for
    /// ten minutes at least if the Engine fails.
    pub async fn remove_leftover_jobs(&self) {
        self.jobs.remove_leftovers().await;
    }

    /// Inspects a container that gapless did not create.
    ///
    /// # Errors
    /// If the Engine does not answer.
    pub async fn inspect_foreign(&self, name: &str) -> Result<ForeignContainer, RuntimeError> {
        foreign::inspect(&self.engine, name).await
    }

    /// Runs a program in a container that gapless did not create, without a shell. Keeps at most `bytes_max` bytes of
    /// each of its outputs. A program that exceeds `deadline` keeps running, since the Engine cannot end it.
    ///
    /// # Errors
    /// If the program cannot be run, or does not end within `deadline`.
    pub async fn execute_in_foreign(
        &self,
        name: &str,
        command: &[String],
        deadline: Duration,
        bytes_max: usize,
    ) -> Result<Executed, RuntimeError> {
        foreign::execute(&self.engine, name, command, deadline, bytes_max).await
    }

    /// Sends a signal, such as `HUP`, to the first process of a container that gapless did not create.
    ///
    /// # Errors
    /// If the Engine fails.
    pub async fn signal_foreign(&self, name: &str, signal: &str) -> Result<(), RuntimeError> {
        foreign::signal(&self.engine, name, signal).await
    }

    /// The address of this host as seen from containers.
    ///
    /// # Errors
    /// If the Engine does not answer.
    pub async fn gateway(&self) -> Result<Option<String>, RuntimeError> {
        job::gateway(&self.engine).await
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn prepare(&self, workload: &Workload, progress: ProgressSink) -> Result<String, RuntimeError> {
        match workload {
            Workload::Docker(container) => image::resolve(&self.engine, &container.image, progress).await,
            Workload::Process(_) | Workload::Systemd(_) => Err(RuntimeError::Failed {
                doing: "preparing".to_owned(),
                why: "a process cannot run in Docker".to_owned(),
            }),
        }
    }

    async fn look_up(&self, workload: &Workload) -> Result<Option<String>, RuntimeError> {
        match workload {
            Workload::Docker(container) => image::local(&self.engine, &container.image).await,
            Workload::Process(_) | Workload::Systemd(_) => Ok(None),
        }
    }

    async fn start(&self, plan: &InstancePlan) -> Result<(), RuntimeError> {
        container::start(&self.engine, plan).await
    }

    async fn list(&self, key: &AppKey) -> Result<Vec<InstanceStatus>, RuntimeError> {
        observe::list(&self.engine, Some(key)).await
    }

    async fn list_all(&self) -> Result<Vec<InstanceStatus>, RuntimeError> {
        observe::list(&self.engine, None).await
    }

    async fn stop(&self, name: &InstanceName, grace: Millis) -> Result<(), RuntimeError> {
        let Some(id) = observe::own(&self.engine, name).await? else { return Ok(()) };
        // A frozen container cannot handle the signal.
        self.thaw(name).await?;
        let seconds = i32::try_from(grace.0.div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let stopping = self.engine.docker().await?.stop_container(&id, Some(options));
        let stopped =
            self.engine.within(grace.to_duration() + STOP_MARGIN, &format!("stopping {name}"), stopping).await;
        ignore_statuses(stopped, &[304, 404])?;
        // Before the container is removed: the container shows that the network still exists.
        network::leave(&self.engine, &name.placement).await?;
        container::remove(&self.engine, name, &id).await
    }

    async fn freeze(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        let name = name.to_string();
        let freezing = self.engine.docker().await?.pause_container(&name);
        // 409: the container is already frozen, or does not run.
        ignore_statuses(self.engine.call(&format!("freezing {name}"), freezing).await, &[304, 404, 409])
    }

    async fn thaw(&self, name: &InstanceName) -> Result<(), RuntimeError> {
        let name = name.to_string();
        let thawing = self.engine.docker().await?.unpause_container(&name);
        match self.engine.call(&format!("thawing {name}"), thawing).await {
            Err(problem) if problem.message().contains("is not paused") => Ok(()),
            other => ignore_statuses(other, &[304, 404, 409]),
        }
    }

    async fn keep(&self, key: &AppKey, kept: &BTreeMap<u64, Artifacts>) -> Result<(), RuntimeError> {
        keep::keep(&self.engine, key, kept).await
    }

    async fn set_restart(&self, name: &InstanceName, starts_at_boot: bool) -> Result<(), RuntimeError> {
        container::set_restart(&self.engine, name, starts_at_boot).await
    }

    async fn logs(
        &self,
        name: &InstanceName,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<LogLine, RuntimeError>>, RuntimeError> {
        logs::logs(&self.engine, name, query).await
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        observe::events(&self.engine).await
    }

    async fn listening_ports(&self, name: &InstanceName) -> Vec<u16> {
        match observe::process_of(&self.engine, name).await {
            Some(pid) => {
                tokio::task::spawn_blocking(move || port::ports_in_namespace_of(pid)).await.unwrap_or_default()
            }
            None => Vec::new(),
        }
    }

    async fn check(&self) -> Result<String, RuntimeError> {
        let docker = self.engine.docker().await?;
        let version =
            self.engine.call("asking for the version", docker.version()).await.map_err(Problem::into_error)?;
        let unknown = || "unknown".to_owned();
        let (engine, api) = (version.version.unwrap_or_else(unknown), version.api_version.unwrap_or_else(unknown));
        let info = self.engine.call("asking for its settings", docker.info()).await.map_err(Problem::into_error)?;
        let when_restarted = match info.live_restore_enabled {
            Some(true) => "containers keep running while it restarts (live-restore)",
            _ => "containers end when it restarts; set \"live-restore\": true in its daemon.json to keep them running",
        };
        Ok(format!("Engine {engine}, API {api}, at {}; {when_restarted}", self.engine.socket()))
    }
}
