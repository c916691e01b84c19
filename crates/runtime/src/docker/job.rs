//! A container that is run to its end, such as a test: nothing of it stays.

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
/// How often, and after how long, it is asked again where it could not: for ten minutes at least.
const REMOVE_TRIES_MAX: u32 = 300;
const REMOVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How often it is looked whether one has ended of which nothing tells that.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A container to run to its end.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name; a container of this name that an earlier attempt left is removed.
    pub name: String,
    /// The image.
    pub image: String,
    /// In place of the image's command.
    pub command: Option<Vec<String>>,
    /// Its environment.
    pub variables: Vec<(String, String)>,
    /// A folder of the host, and where it is mounted.
    pub folder: (PathBuf, String),
}

/// The jobs of this owner. A container of a job that is not under way is left over: its server was killed, or the Engine said
/// that it was gone when it was not.
#[derive(Clone)]
pub(super) struct Jobs {
    engine: Arc<Connection>,
    /// The names of those that are.
    under_way: Arc<Mutex<BTreeSet<String>>>,
}

/// Runs a job; `told` gets what it writes, in pieces as they come. It ends with the future.
pub(super) async fn run(jobs: &Jobs, job: &Job, told: impl Fn(&[u8])) -> Result<i64, RuntimeError> {
    let engine = &*jobs.engine;
    let nothing: ProgressSink = Arc::new(|_| {});
    let image = image::resolve(engine, &job.image, nothing).await?;
    network::ensure(engine, false).await?;
    let docker = engine.docker().await?;
    let doing = |what: &str| format!("{what} {}", job.name);
    let _removed_at_the_end = jobs.begin(&job.name);
    remove(engine, &job.name).await;
    let options = CreateContainerOptionsBuilder::new().name(&job.name).build();
    let creating = docker.create_container(Some(options), body(engine, job, image));
    let id = engine.call(&doing("creating"), creating).await.map_err(Problem::into_error)?.id;
    // Attached before it starts, so that nothing that it writes is missed.
    let options = AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true).logs(true).build();
    let attaching = docker.attach_container(&id, Some(options));
    let mut output = engine.call(&doing("attaching to"), attaching).await.map_err(Problem::into_error)?.output;
    engine.call(&doing("starting"), docker.start_container(&id, None)).await.map_err(Problem::into_error)?;
    while let Some(Ok(piece)) = output.next().await {
        match &piece {
            LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message } => {
                told(message)
            }
            LogOutput::StdIn { .. } => {}
        }
    }
    // Its output has ended, and so has it, unless the Engine has broken that off: while it runs, its exit code is 0.
    loop {
        let inspected = engine.call(&doing("inspecting"), docker.inspect_container(&id, None)).await;
        let state = inspected.map_err(Problem::into_error)?.state.unwrap_or_default();
        match (state.status, state.exit_code) {
            (Some(Status::EXITED | Status::DEAD), Some(code)) => return Ok(code),
            (Some(Status::RUNNING | Status::PAUSED), _) => tokio::time::sleep(LOOK_EVERY).await,
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

/// Where this host is reached from containers of gapless's network.
pub(super) async fn gateway(engine: &Connection) -> Result<Option<String>, RuntimeError> {
    network::ensure(engine, false).await?;
    let docker = engine.docker().await?;
    let name = &engine.config().network;
    let network = engine.call("looking at the network", docker.inspect_network(name, None)).await;
    let ipam = network.map_err(Problem::into_error)?.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Ok(ipam.into_iter().find_map(|config| config.gateway))
}

/// Asks the Engine to remove a container. What it says to that proves nothing.
async fn remove(engine: &Connection, name: &str) {
    let Ok(docker) = engine.docker().await else { return };
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let removing = docker.remove_container(name, Some(options));
    let _ = engine.within(REMOVE_DEADLINE, &format!("removing {name}"), removing).await;
}

impl Jobs {
    pub(super) fn new(engine: Arc<Connection>) -> Self {
        Jobs { engine, under_way: Arc::default() }
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, name: &str) -> UnderWay {
        self.under_way().insert(name.to_owned());
        UnderWay { jobs: self.clone(), name: name.to_owned() }
    }

    /// Removes what is left over. An Engine that cannot now is asked again; the containers are gone once it lists none, and
    /// that not at the first look: one may just be being created.
    pub(super) async fn remove_left_over(&self) {
        let mut left = Vec::new();
        for attempt in 0..REMOVE_TRIES_MAX {
            if let Ok(ids) = self.left_over().await {
                if ids.is_empty() && attempt > 0 {
                    return;
                }
                // By their ids, since another job of the same name may begin meanwhile.
                join_all(ids.iter().map(|id| remove(&self.engine, id))).await;
                left = ids;
            }
            tokio::time::sleep(REMOVE_AGAIN_AFTER).await;
        }
        // Where there is no Docker nothing is left either.
        if !left.is_empty() {
            tracing::warn!(containers = left.join(", "), "containers of gates could not be removed");
        }
    }

    /// The ids of the containers that are.
    async fn left_over(&self) -> Result<Vec<String>, RuntimeError> {
        let of_jobs = vec![format!("{}={}", label::JOB, self.engine.config().owner)];
        let listed = observe::labelled(&self.engine, of_jobs).await?;
        // Looked at after they were listed: a job is under way before it has a container.
        let under_way = self.under_way();
        let is_under_way = |names: &[String]| names.iter().any(|name| under_way.contains(name.trim_start_matches('/')));
        let left = listed.into_iter().filter(|container| !is_under_way(container.names.as_deref().unwrap_or_default()));
        Ok(left.filter_map(|container| container.id).collect())
    }
}

/// A job that is under way; its container is removed however it ends.
struct UnderWay {
    jobs: Jobs,
    name: String,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let jobs = self.jobs.clone();
        jobs.under_way().remove(&self.name);
        tokio::spawn(async move { jobs.remove_left_over().await });
    }
}
