//! A container that is run to its end, such as a test: nothing of it stays.

use super::connection::{Connection, Problem};
use super::image;
use super::network;
use super::observe::label;
use crate::{ProgressSink, RuntimeError};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the Engine may take to remove a container.
const REMOVE_DEADLINE: Duration = Duration::from_secs(20);
/// How often, and after how long, it is asked again where it could not: for ten minutes at least.
const REMOVE_TRIES_MAX: u32 = 300;
const REMOVE_AGAIN_AFTER: Duration = Duration::from_secs(2);

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

/// Runs a job; `told` gets what it writes, in pieces as they come. It ends with the future.
pub(super) async fn run(engine: &Connection, job: &Job, told: impl Fn(&[u8])) -> Result<i64, RuntimeError> {
    let nothing: ProgressSink = Arc::new(|_| {});
    let image = image::resolve(engine, &job.image, nothing).await?;
    network::ensure(engine, false).await?;
    let docker = engine.docker().await?.clone();
    let doing = |what: &str| format!("{what} {}", job.name);
    remove(&docker, &job.name).await;
    let options = CreateContainerOptionsBuilder::new().name(&job.name).build();
    let creating = docker.create_container(Some(options), body(engine, job, image));
    let id = engine.call(&doing("creating"), creating).await.map_err(Problem::into_error)?.id;
    let _removed_at_the_end = Removed { docker: docker.clone(), name: job.name.clone() };
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
    // Its output has ended, and so has it.
    let inspected = engine.call(&doing("inspecting"), docker.inspect_container(&id, None)).await;
    let state = inspected.map_err(Problem::into_error)?.state.unwrap_or_default();
    Ok(state.exit_code.unwrap_or(-1))
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

/// Removes the container, if there is one; whether that is so now.
async fn remove(docker: &bollard::Docker, name: &str) -> bool {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match tokio::time::timeout(REMOVE_DEADLINE, docker.remove_container(name, Some(options))).await {
        // 409: it is being removed.
        Ok(Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) | Ok(())) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Removes the container, however its job ends. An Engine that cannot now is asked again.
struct Removed {
    docker: bollard::Docker,
    name: String,
}

impl Drop for Removed {
    fn drop(&mut self) {
        let (docker, name) = (self.docker.clone(), std::mem::take(&mut self.name));
        tokio::spawn(async move {
            for _ in 0..REMOVE_TRIES_MAX {
                if remove(&docker, &name).await {
                    return;
                }
                tokio::time::sleep(REMOVE_AGAIN_AFTER).await;
            }
            tracing::warn!(container = name, "it could not be removed");
        });
    }
}
