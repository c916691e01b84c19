//! Runs a container to its end, such as a test, and removes it.

use super::connection::{Connection, Problem};
use super::image;
use super::network;
use super::observe::{self, label};
use crate::{ProgressSink, RuntimeError};
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, ContainerStateStatusEnum as Status, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the Engine may take to remove a container.
const REMOVE_DEADLINE: Duration = Duration::from_secs(20);
/// How often the removal of a leftover container is retried: for ten minutes at least.
const REMOVE_TRIES_MAX: u32 = 300;
const REMOVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// The interval at which a job is inspected when its output has ended before its exit was reported.
const INSPECT_INTERVAL: Duration = Duration::from_millis(100);

/// A container that runs to its end.
#[derive(Debug, Clone)]
pub struct Job {
    /// The container's name; a container of this name that an earlier attempt left is removed.
    pub name: String,
    /// The image.
    pub image: String,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// A folder of the host, and its mount point.
    pub folder: (PathBuf, String),
}

/// The jobs of this owner. A container whose job is not in progress is left over: its server was killed, or the Engine
/// reported a removal that it had not done.
#[derive(Clone)]
pub(super) struct Jobs {
    engine: Arc<Connection>,
    /// The names of the jobs in progress.
    in_progress: Arc<Mutex<BTreeSet<String>>>,
}

/// Runs a job; `on_output` gets its output piece by piece. Dropping the future ends the job.
pub(super) async fn run(jobs: &Jobs, job: &Job, on_output: impl Fn(&[u8])) -> Result<i64, RuntimeError> {
    let engine = &*jobs.engine;
    let nothing: ProgressSink = Arc::new(|_| {});
    let image = image::resolve(engine, &job.image, nothing).await?;
    network::ensure(engine, false).await?;
    let docker = engine.docker().await?;
    let doing = |what: &str| format!("{what} {}", job.name);
    let _removed_at_the_end = jobs.start(&job.name);
    remove(engine, &job.name).await;
    let options = CreateContainerOptionsBuilder::new().name(&job.name).build();
    let creating = docker.create_container(Some(options), body(engine, job, image));
    let id = engine.call(&doing("creating"), creating).await.map_err(Problem::into_error)?.id;
    // Attached before the start, so that no output is missed.
    let options = AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true).logs(true).build();
    let attaching = docker.attach_container(&id, Some(options));
    let mut output = engine.call(&doing("attaching to"), attaching).await.map_err(Problem::into_error)?.output;
    engine.call(&doing("starting"), docker.start_container(&id, None)).await.map_err(Problem::into_error)?;
    while let Some(Ok(piece)) = output.next().await {
        match &piece {
            LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } => {
                on_output(message)
            }
            LogOutput::StdIn { .. } => {}
        }
    }
    // The end of the output normally means the end of the job. If the Engine merely broke the output off, the job still
    // runs, and its exit code in the Engine is 0.
    loop {
        let inspected = engine.call(&doing("inspecting"), docker.inspect_container(&id, None)).await;
        let state = inspected.map_err(Problem::into_error)?.state.unwrap_or_default();
        match (state.status, state.exit_code) {
            (Some(Status::EXITED | Status::DEAD), Some(code)) => return Ok(code),
            (Some(Status::RUNNING | Status::PAUSED), _) => tokio::time::sleep(INSPECT_INTERVAL).await,
            (status, _) => {
                let status = status.map_or("unknown".to_owned(), |status| status.to_string());
                let why = format!("its output has ended, and its state is {status}");
                return Err(RuntimeError::Failed { doing: doing("running"), why });
            }
        }
    }
}

fn body(engine: &Connection, job: &Job, image: String) -> ContainerCreateBody {
    let (folder, path) = &job.folder;
    ContainerCreateBody {
        image: Some(image),
        cmd: job.command.clone(),
        env: Some(job.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(HashMap::from([(label::JOB.to_owned(), engine.config().owner.clone())])),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some(engine.config().network.clone()),
            binds: Some(vec![format!("{}:{path}", folder.display())]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The address of this host from the containers of gapless's network.
pub(super) async fn gateway(engine: &Connection) -> Result<Option<String>, RuntimeError> {
    network::ensure(engine, false).await?;
    let docker = engine.docker().await?;
    let name = &engine.config().network;
    let network = engine.call("inspecting the network", docker.inspect_network(name, None)).await;
    let ipam = network.map_err(Problem::into_error)?.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Ok(ipam.into_iter().find_map(|config| config.gateway))
}

/// Asks the Engine to remove a container. The answer proves nothing, so it is ignored.
async fn remove(engine: &Connection, name: &str) {
    let Ok(docker) = engine.docker().await else { return };
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removing = docker.remove_container(name, Some(options));
    let _ = engine.within(REMOVE_DEADLINE, &format!("removing {name}"), removing).await;
}

impl Jobs {
    pub(super) fn new(engine: Arc<Connection>) -> Self {
        Jobs { engine, in_progress: Arc::default() }
    }

    fn in_progress(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, name: &str) -> InProgress {
        self.in_progress().insert(name.to_owned());
        InProgress { jobs: self.clone(), name: name.to_owned() }
    }

    /// Removes leftover containers, with retries. They count as gone when the Engine lists none, but not at the first
    /// time: a container may be in creation.
    pub(super) async fn remove_leftovers(&self) {
        let mut left = Vec::new();
        for attempt in 0..REMOVE_TRIES_MAX {
            if let Ok(ids) = self.leftovers().await {
                if ids.is_empty() && attempt > 0 {
                    return;
                }
                // By id, since another job of the same name may start meanwhile.
                join_all(ids.iter().map(|id| remove(&self.engine, id))).await;
                left = ids;
            }
            tokio::time::sleep(REMOVE_AGAIN_AFTER).await;
        }
        // Without Docker there are no containers either.
        if !left.is_empty() {
            tracing::warn!(
                containers = left.join(", "),
                "removal of gates' containers failed; remove them with `docker rm -f`"
            );
        }
    }

    /// The ids of the leftover containers.
    async fn leftovers(&self) -> Result<Vec<String>, RuntimeError> {
        let of_jobs = vec![format!("{}={}", label::JOB, self.engine.config().owner)];
        let listed = observe::labelled(&self.engine, of_jobs).await?;
        // Read after the listing: a job is in progress before it has a container.
        let in_progress = self.in_progress();
        let is_in_progress =
            |names: &[String]| names.iter().any(|name| in_progress.contains(name.trim_start_matches('/')));
        let left =
            listed.into_iter().filter(|container| !is_in_progress(container.names.as_deref().unwrap_or_default()));
        Ok(left.filter_map(|container| container.id).collect())
    }
}

/// A job in progress; dropping it removes its container.
struct InProgress {
    jobs: Jobs,
    name: String,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let jobs = self.jobs.clone();
        jobs.in_progress().remove(&self.name);
        tokio::spawn(async move { jobs.remove_leftovers().await });
    }
}
