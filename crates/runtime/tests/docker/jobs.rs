//! Containers that are run to their end, on the real Engine: nothing of them stays, whoever began them.

use super::{images::image, owner, runtime};
use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use gapless_runtime::docker::Job;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// what a server that was killed had begun stayed for ever.
#[tokio::test]
async fn what_jobs_of_a_killed_server_left_is_removed_and_nothing_else() {
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
    let job = Job {
        name: named("under-way"),
        image: image().to_owned(),
        command: None,
        variables: vec![("PORT".to_owned(), "9000".to_owned()), ("DATA_DIR".to_owned(), "/".to_owned())],
        folder: (folder.path().to_owned(), "/results".to_owned()),
    };
    let under_way = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.run_job(&job, |_| {}).await }
    });
    until(&docker, &named("under-way"), true).await;

    runtime.remove_left_jobs().await;
    let is_there = async |what: &str| exists(&docker, &named(what)).await;
    assert!(!is_there("left").await, "it is left over");
    assert!(is_there("foreign").await, "that of another owner is gone");
    assert!(is_there("under-way").await, "one that is under way was removed");

    under_way.abort();
    until(&docker, &named("under-way"), false).await;
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    docker.remove_container(&named("foreign"), Some(options)).await.unwrap();
}

async fn exists(docker: &Docker, name: &str) -> bool {
    docker.inspect_container(name, None).await.is_ok()
}

async fn until(docker: &Docker, name: &str, is_there: bool) {
    let give_up_at = Instant::now() + DEADLINE;
    while exists(docker, name).await != is_there {
        assert!(Instant::now() < give_up_at, "{name}: is it there? not {is_there} within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
