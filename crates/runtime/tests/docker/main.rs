//! The Docker runtime on the real Engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod front;
mod images;
mod jobs;
mod pull;

use bollard::Docker;
use bollard::models::{NetworkCreateRequest, RestartPolicyNameEnum};
use gapless_core::spec::{Container, LogRotation, Resources, Service, Volume, Workload};
use gapless_core::{AppKey, Artifacts, Millis, PlacementId, ServiceName, Slot};
use gapless_runtime::conformance::{Subject, exited, running};
use gapless_runtime::docker::{DockerConfig, DockerRuntime};
use gapless_runtime::{InstancePlan, InstanceState, Runtime};
use images::image;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

const GRACE: Millis = Millis(3_000);

fn service(image: &str) -> Service {
    let workload = Workload::Docker(Container {
        image: image.to_owned(),
        command: None,
        entrypoint: None,
        user: None,
        volumes: Vec::new(),
        init: true,
    });
    Service::new(workload, 9000)
}

fn runtime(owner: &str) -> DockerRuntime {
    DockerRuntime::connect(DockerConfig { owner: owner.into(), ..DockerConfig::default() }).unwrap()
}

/// An owner that is unique to this test run.
fn owner(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn key(app: &str) -> AppKey {
    format!("{app}/production").parse().unwrap()
}

async fn plan(runtime: &DockerRuntime, app: &str, service: Service) -> InstancePlan {
    let name = PlacementId { key: key(app), slot: Slot::Green, deployment: 1 }.instance(&ServiceName::default(), 1);
    let artifact = runtime.prepare(&service.workload, Arc::new(|_| {})).await.unwrap();
    InstancePlan { name, release: 1, service, artifact, host_port: None, peers: BTreeMap::new() }
}

#[tokio::test]
async fn docker_runtime_passes_conformance() {
    let owner = owner("conforms");
    Subject { make: || runtime(&owner), key: key("conformance"), service: service(image()) }.all().await;
}

/// Failure B5: an instance dies after its checks.
#[tokio::test]
async fn out_of_memory_kill_is_reported() {
    let runtime = runtime(&owner("oom"));
    let mut service = service(image());
    service.resources.memory_bytes = Some(32 << 20);
    service.variables.insert("HOARD".into(), "1".into());
    let plan = plan(&runtime, "test-oom", service).await;
    runtime.start(&plan).await.unwrap();
    let status = exited(&runtime, &plan.name).await;
    runtime.stop(&plan.name, GRACE).await.unwrap();
    assert!(matches!(&status.state, InstanceState::Exited(exit) if exit.out_of_memory), "{status:?}");
}

#[tokio::test]
async fn container_has_all_settings_of_its_plan() {
    let runtime = runtime(&owner("applied"));
    let data = tempfile::tempdir().unwrap();
    let mut service = service(image());
    service.resources = Resources { memory_bytes: Some(64 << 20), cpu_millis: Some(500) };
    service.log = LogRotation { file_bytes: 1 << 20, file_count: 2 };
    service.variables.insert("OWN".into(), "a b;$(id)".into());
    if let Workload::Docker(container) = &mut service.workload {
        container.user = Some("65534:65534".into());
        container.volumes.push(Volume {
            source: data.path().display().to_string(),
            path: "/data".into(),
            read_only: true,
        });
    }
    let plan = plan(&runtime, "test-applied", service).await;
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let policy = async || {
        let seen = docker.inspect_container(&plan.name.to_string(), None).await.unwrap();
        seen.host_config.unwrap().restart_policy.unwrap().name
    };
    assert_eq!(
        policy().await,
        Some(RestartPolicyNameEnum::NO),
        "a slot that is not live must not start after a reboot"
    );
    runtime.set_restart(&plan.name, true).await.unwrap();
    assert_eq!(policy().await, Some(RestartPolicyNameEnum::UNLESS_STOPPED));
    let seen = docker.inspect_container(&plan.name.to_string(), None).await.unwrap();
    runtime.stop(&plan.name, GRACE).await.unwrap();
    let (host, config) = (seen.host_config.unwrap(), seen.config.unwrap());
    assert_eq!((host.memory, host.memory_swap, host.nano_cpus), (Some(64 << 20), Some(64 << 20), Some(500_000_000)));
    assert_eq!(host.binds.unwrap(), [format!("{}:/data:ro", data.path().display())]);
    assert_eq!(host.log_config.unwrap().config.unwrap()["max-file"], "2");
    assert_eq!(host.port_bindings.unwrap_or_default().len(), 0, "no port is published");
    assert_eq!(config.user.as_deref(), Some("65534:65534"));
    let variables = config.env.unwrap();
    assert!(variables.contains(&"OWN=a b;$(id)".to_owned()) && variables.contains(&"GAPLESS_SLOT=green".to_owned()));
    let labels = config.labels.unwrap();
    assert_eq!((labels["dev.gapless.app"].as_str(), labels["dev.gapless.slot"].as_str()), ("test-applied", "green"));
}

/// Failure C2: containers of others.
#[tokio::test]
async fn foreign_container_is_never_listed_stopped_or_used() {
    let (mine, theirs) = (runtime(&owner("mine")), runtime(&owner("theirs")));
    let foreign = plan(&theirs, "test-foreign", service(image())).await;
    theirs.start(&foreign).await.unwrap();
    assert_eq!(mine.list_all().await.unwrap(), []);
    mine.stop(&foreign.name, GRACE).await.unwrap();
    running(&theirs, &foreign.name).await;
    let error = mine.start(&foreign).await.unwrap_err().to_string();
    assert!(error.contains("did not create"), "{error}");
    theirs.stop(&foreign.name, GRACE).await.unwrap();
}

/// Failure C1: retained images.
#[tokio::test]
async fn retained_images_have_a_tag_until_they_are_dropped() {
    let owner = owner("Keeps");
    let runtime = runtime(&owner);
    let id = runtime.prepare(&service(image()).workload, std::sync::Arc::new(|_| {})).await.unwrap();
    let key = "test-keep/production".parse().unwrap();
    let tags = || -> Vec<String> {
        let inspected = images::engine_api("GET", &format!("/images/{id}/json"), &[], std::process::Stdio::null());
        let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        let tags = inspected["RepoTags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned());
        tags.filter(|tag| tag.contains("test-keep/production:")).collect()
    };
    let kept = |releases: &[u64]| releases.iter().map(|release| (*release, Artifacts::only(id.clone()))).collect();
    for _ in 0..2 {
        runtime.keep(&key, &kept(&[3, 4])).await.unwrap();
        assert_eq!(tags().len(), 2, "{:?}", tags());
    }
    runtime.keep(&key, &kept(&[4])).await.unwrap();
    assert!(
        matches!(&tags()[..], [tag] if tag.starts_with("gapless.invalid/") && tag.ends_with(":web-4")),
        "{:?}",
        tags()
    );
    runtime.keep(&key, &kept(&[])).await.unwrap();
    assert_eq!(tags(), Vec::<String>::new());
    // An image that somebody removed is no reason to fail.
    runtime.keep(&key, &[(5, Artifacts::only("sha256:".to_owned() + &"0".repeat(64)))].into()).await.unwrap();
}

#[tokio::test]
async fn removed_network_is_recreated() {
    let network = format!("gapless-test-{}", std::process::id());
    let config = DockerConfig { owner: owner("network"), network: network.clone(), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let plan = plan(&runtime, "test-network", service(image())).await;
    for _ in 0..2 {
        runtime.start(&plan).await.unwrap();
        running(&runtime, &plan.name).await;
        runtime.stop(&plan.name, GRACE).await.unwrap();
        docker.remove_network(&network).await.unwrap();
    }
}

/// with two networks of one name, no instance could be started or stopped until one was removed by hand.
#[tokio::test]
async fn duplicate_network_is_removed() {
    let (owner, network) = (owner("twice"), format!("gapless-twice-{}", std::process::id()));
    let docker = Docker::connect_with_unix_defaults().unwrap();
    for _ in 0..2 {
        let labels = HashMap::from([("dev.gapless.network".to_owned(), owner.clone())]);
        let request = NetworkCreateRequest { name: network.clone(), labels: Some(labels), ..Default::default() };
        // Newer Engines reject the second network.
        let _ = docker.create_network(request).await;
    }
    let config = DockerConfig { owner, network: network.clone(), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let plan = plan(&runtime, "test-twice", service(image())).await;
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    runtime.stop(&plan.name, GRACE).await.unwrap();
    docker.remove_network(&network).await.unwrap();
}

/// an Engine that was killed at the wrong moment rejects every later start of that container.
#[tokio::test]
async fn container_is_recreated_when_it_cannot_be_restarted() {
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let lost: Arc<OnceLock<String>> = Arc::default();
    let is_lost = lost.clone();
    let _asked = front::listen(&socket, move |line| {
        let id = is_lost.get()?;
        line.contains(&format!("/{id}/start")).then(|| (500, format!("task {id}: already exists")))
    });
    let config = DockerConfig { socket: Some(socket), owner: owner("lost"), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let plan = plan(&runtime, "test-lost", service(image())).await;
    let id = async || docker.inspect_container(&plan.name.to_string(), None).await.unwrap().id.unwrap();
    runtime.start(&plan).await.unwrap();
    let first = id().await;
    docker.kill_container(&first, None).await.unwrap();
    exited(&runtime, &plan.name).await;

    lost.set(first.clone()).unwrap();
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    assert_ne!(id().await, first);
    runtime.stop(&plan.name, GRACE).await.unwrap();
}

#[tokio::test]
async fn check_says_if_containers_outlive_the_engine() {
    let info = Docker::connect_with_local_defaults().unwrap().info().await.unwrap();
    let outlive = if info.live_restore_enabled == Some(true) { "containers keep running" } else { "containers end" };
    let description = runtime(&owner("doctor")).check().await.unwrap();
    assert!(description.contains("Engine ") && description.contains(outlive), "{description}");
}

#[tokio::test]
async fn unreachable_engine_is_reported_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let config = DockerConfig { socket: Some(folder.path().join("docker.sock")), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let error = runtime.list_all().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("systemctl start docker"), "{error}");
}
