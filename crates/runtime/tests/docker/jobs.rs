//! Containers that run to their end, on the real Engine: all are removed, also those of a killed server.

use super::{front, images::image, owner, runtime};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use gapless_runtime::docker::{DockerConfig, DockerRuntime, Job};
use std::collections::HashMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// containers of a killed server's jobs were never removed.
#[tokio::test]
async fn only_leftover_jobs_of_a_killed_server_are_removed() {
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let (own, other) = (owner("jobs"), owner("jobs-of-another"));
    let named = |what: &str| format!("test-job-{what}-{}", std::process::id());
    for (name, owner) in [(named("left"), &own), (named("foreign"), &other)] {
        let labels = HashMap::from([("dev.gapless.job".to_owned(), owner.clone())]);
        let body = ContainerCreateBody { image: Some(image().to_owned()), labels: Some(labels), ..Default::default() };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        docker.create_container(Some(options), body).await.unwrap();
    }
    let runtime = Arc::new(runtime(&own));
    let folder = tempfile::tempdir().unwrap();
    let job = job(named("under-way"), folder.path());
    let in_progress = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.run_job(&job, |_| {}).await }
    });
    until(&docker, &named("under-way"), true).await;

    runtime.remove_leftover_jobs().await;
    let is_there = async |what: &str| exists(&docker, &named(what)).await;
    assert!(!is_there("left").await, "the leftover container exists");
    assert!(is_there("foreign").await, "the container of another owner is gone");
    assert!(is_there("under-way").await, "the container of a job in progress was removed");

    in_progress.abort();
    until(&docker, &named("under-way"), false).await;
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(&named("foreign"), Some(options)).await.unwrap();
}

/// the Engine reports the exit code 0 for a container that still runs.
#[tokio::test]
async fn job_has_not_ended_when_its_output_breaks_off() {
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let asked = front::listen(&socket, |_| None);
    let config = DockerConfig { socket: Some(socket), owner: owner("broken-off"), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let name = format!("test-job-broken-off-{}", std::process::id());
    let job = job(name.clone(), folder.path());
    let (sender, output) = mpsc::channel();
    let running = tokio::spawn(async move { runtime.run_job(&job, |text| drop(sender.send(text.to_vec()))).await });
    let breaking_off = tokio::task::spawn_blocking(move || {
        let is = |what: &'static str| move |(line, _): &(String, UnixStream)| line.contains(what);
        let next = |what| std::iter::from_fn(|| asked.recv_timeout(DEADLINE).ok()).find(is(what)).unwrap().1;
        let attached = next("/attach");
        assert_eq!(output.recv_timeout(DEADLINE).unwrap(), b"probe started\n");
        attached.shutdown(Shutdown::Both).unwrap();
        next("/json");
    });
    breaking_off.await.unwrap();
    let options = KillContainerOptionsBuilder::new().signal("KILL").build();
    docker.kill_container(&name, Some(options)).await.unwrap();
    assert_eq!(running.await.unwrap(), Ok(137));
    docker.remove_container(&name, None).await.unwrap();
}

/// A job that runs until it is killed.
fn job(name: String, folder: &Path) -> Job {
    Job {
        name,
        image: image().to_owned(),
        command: None,
        variables: vec![("PORT".to_owned(), "9000".to_owned()), ("DATA_DIR".to_owned(), "/".to_owned())],
        folder: (folder.to_owned(), "/results".to_owned()),
    }
}

async fn exists(docker: &Docker, name: &str) -> bool {
    docker.inspect_container(name, None).await.is_ok()
}

async fn until(docker: &Docker, name: &str, is_there: bool) {
    let give_up_at = Instant::now() + DEADLINE;
    while exists(docker, name).await != is_there {
        assert!(Instant::now() < give_up_at, "{name}: existence is not {is_there} within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
