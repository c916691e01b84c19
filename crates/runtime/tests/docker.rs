//! The Docker runtime on the real Engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bollard::Docker;
use bollard::models::RestartPolicyNameEnum;
use gapless_core::spec::{Container, LogRotation, Resources, Volume, Workload};
use gapless_core::{Millis, PlacementId, Slot, Spec};
use gapless_runtime::conformance::{Subject, exited, running};
use gapless_runtime::docker::{DockerConfig, DockerRuntime};
use gapless_runtime::{InstancePlan, InstanceState, Runtime};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const GRACE: Millis = Millis(3_000);

/// An image of nothing but the probe, built once a test run.
fn image() -> &'static str {
    static BUILT: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    const TAG: &str = "gapless-probe:latest";
    BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/probe.rs");
        let compiled = Command::new("rustc")
            .args(["--edition", "2024", "-O", "-Ctarget-feature=+crt-static", "-o"])
            .arg(folder.path().join("probe"))
            .arg(source)
            .status();
        assert!(compiled.unwrap().success());
        std::fs::write(folder.path().join("Dockerfile"), "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\n")
            .unwrap();
        let archive = folder.path().join("context.tar");
        let packed = Command::new("tar")
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(folder.path())
            .args(["Dockerfile", "probe"])
            .status();
        assert!(packed.unwrap().success());
        let url = format!("http://docker/build?t={TAG}");
        let built = Command::new("curl")
            .args([
                "-sf",
                "--unix-socket",
                "/var/run/docker.sock",
                "-H",
                "Content-Type: application/x-tar",
                "--data-binary",
                "@-",
                &url,
            ])
            .stdin(std::fs::File::open(archive).unwrap())
            .output()
            .unwrap();
        assert!(built.status.success(), "the Docker Engine must run for these tests: ./scripts/test starts it");
    });
    TAG
}

fn spec(app: &str, image: &str) -> Spec {
    Spec {
        app: app.parse().unwrap(),
        env: "production".parse().unwrap(),
        workload: Workload::Docker(Container {
            image: image.to_owned(),
            command: None,
            entrypoint: None,
            user: None,
            volumes: Vec::new(),
            init: true,
        }),
        port: 9000,
        replicas: 1,
        variables: BTreeMap::new(),
        resources: Resources::default(),
        log: LogRotation::default(),
        host_ports: None,
        health: Default::default(),
        routes: Vec::new(),
        forward: Default::default(),
        timing: Default::default(),
    }
}

fn runtime(owner: &str) -> DockerRuntime {
    DockerRuntime::connect(DockerConfig { owner: owner.into(), ..DockerConfig::default() }).unwrap()
}

/// An owner that no other test run has.
fn owner(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

async fn plan(runtime: &DockerRuntime, spec: Spec) -> InstancePlan {
    let key = gapless_core::AppKey::new(spec.app.clone(), spec.env.clone());
    let name = PlacementId { key, slot: Slot::Green, deployment: 1 }.instance(1);
    let artifact = runtime.prepare(&spec.workload, Arc::new(|_| {})).await.unwrap();
    InstancePlan { name, release: 1, spec, artifact, host_port: None }
}

#[tokio::test]
async fn the_docker_runtime_conforms() {
    let owner = owner("conforms");
    Subject { make: || runtime(&owner), spec: spec("conformance", image()) }.all().await;
}

#[tokio::test]
async fn b5_an_out_of_memory_kill_is_seen_as_one() {
    let runtime = runtime(&owner("oom"));
    let mut spec = spec("test-oom", image());
    spec.resources.memory_bytes = Some(32 << 20);
    spec.variables.insert("HOARD".into(), "1".into());
    let plan = plan(&runtime, spec).await;
    runtime.start(&plan).await.unwrap();
    let status = exited(&runtime, &plan.name).await;
    runtime.stop(&plan.name, GRACE).await.unwrap();
    assert!(matches!(&status.state, InstanceState::Exited(exit) if exit.out_of_memory), "{status:?}");
}

#[tokio::test]
async fn everything_that_a_plan_says_is_applied() {
    let runtime = runtime(&owner("applied"));
    let data = tempfile::tempdir().unwrap();
    let mut spec = spec("test-applied", image());
    spec.resources = Resources { memory_bytes: Some(64 << 20), cpu_millis: Some(500) };
    spec.log = LogRotation { file_bytes: 1 << 20, file_count: 2 };
    spec.variables.insert("OWN".into(), "a b;$(id)".into());
    if let Workload::Docker(container) = &mut spec.workload {
        container.user = Some("65534:65534".into());
        container.volumes.push(Volume {
            source: data.path().display().to_string(),
            path: "/data".into(),
            read_only: true,
        });
    }
    let plan = plan(&runtime, spec).await;
    runtime.start(&plan).await.unwrap();
    running(&runtime, &plan.name).await;
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let policy = async || {
        let seen = docker.inspect_container(&plan.name.to_string(), None).await.unwrap();
        seen.host_config.unwrap().restart_policy.unwrap().name
    };
    assert_eq!(policy().await, Some(RestartPolicyNameEnum::NO), "what is not live must not come back by itself");
    runtime.set_restart(&plan.name, true).await.unwrap();
    assert_eq!(policy().await, Some(RestartPolicyNameEnum::UNLESS_STOPPED));
    let seen = docker.inspect_container(&plan.name.to_string(), None).await.unwrap();
    runtime.stop(&plan.name, GRACE).await.unwrap();
    let (host, config) = (seen.host_config.unwrap(), seen.config.unwrap());
    assert_eq!((host.memory, host.memory_swap, host.nano_cpus), (Some(64 << 20), Some(64 << 20), Some(500_000_000)));
    assert_eq!(host.binds.unwrap(), [format!("{}:/data:ro", data.path().display())]);
    assert_eq!(host.log_config.unwrap().config.unwrap()["max-file"], "2");
    assert_eq!(host.port_bindings.unwrap_or_default().len(), 0, "nothing is published");
    assert_eq!(config.user.as_deref(), Some("65534:65534"));
    let variables = config.env.unwrap();
    assert!(variables.contains(&"OWN=a b;$(id)".to_owned()) && variables.contains(&"GAPLESS_SLOT=green".to_owned()));
    let labels = config.labels.unwrap();
    assert_eq!((labels["dev.gapless.app"].as_str(), labels["dev.gapless.slot"].as_str()), ("test-applied", "green"));
}

#[tokio::test]
async fn c2_a_container_of_somebody_else_is_neither_listed_nor_stopped_nor_used() {
    let (mine, theirs) = (runtime(&owner("mine")), runtime(&owner("theirs")));
    let foreign = plan(&theirs, spec("test-foreign", image())).await;
    theirs.start(&foreign).await.unwrap();
    assert_eq!(mine.list_all().await.unwrap(), []);
    mine.stop(&foreign.name, GRACE).await.unwrap();
    running(&theirs, &foreign.name).await;
    let error = mine.start(&foreign).await.unwrap_err().to_string();
    assert!(error.contains("did not create"), "{error}");
    theirs.stop(&foreign.name, GRACE).await.unwrap();
}

#[tokio::test]
async fn a_network_that_was_removed_is_made_again() {
    let network = format!("gapless-test-{}", std::process::id());
    let config = DockerConfig { owner: owner("network"), network: network.clone(), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let docker = Docker::connect_with_unix_defaults().unwrap();
    let plan = plan(&runtime, spec("test-network", image())).await;
    for _ in 0..2 {
        runtime.start(&plan).await.unwrap();
        running(&runtime, &plan.name).await;
        runtime.stop(&plan.name, GRACE).await.unwrap();
        docker.remove_network(&network).await.unwrap();
    }
}

#[tokio::test]
async fn an_engine_that_is_away_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = DockerConfig { socket: Some(folder.path().join("docker.sock")), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let error = runtime.list_all().await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("systemctl start docker"), "{error}");
}

/// Debian's registry, on a free port, with users.
struct Registry {
    process: std::process::Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let users =
            Command::new("htpasswd").args(["-Bbn", "deployer", "secret"]).output().expect("apache2-utils is installed");
        std::fs::write(folder.path().join("users"), users.stdout).unwrap();
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {0}/images\nhttp:\n  addr: 127.0.0.1:{port}\n\
             auth:\n  htpasswd:\n    realm: test\n    path: {0}/users\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let give_up_at = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < give_up_at, "the registry does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Registry { process, address: format!("127.0.0.1:{port}"), _folder: folder }
    }

    /// Pushes the probe, and removes it from the host.
    fn push(&self, folder: &Path) -> String {
        let name = format!("{}/team/probe", self.address);
        let api = |method: &str, path: &str, headers: &[&str]| {
            let mut command = Command::new("curl");
            command.args(["-sf", "-X", method, "--unix-socket", "/var/run/docker.sock"]);
            for header in headers {
                command.args(["-H", header]);
            }
            let output = command.arg(format!("http://docker{path}")).output().unwrap();
            assert!(output.status.success(), "{method} {path}: {output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        api("POST", &format!("/images/{}/tag?repo={name}&tag=1", image()), &[]);
        let auth = base64(r#"{"username":"deployer","password":"secret"}"#);
        let pushed = api("POST", &format!("/images/{name}/push?tag=1"), &[&format!("X-Registry-Auth: {auth}")]);
        assert!(!pushed.contains("error"), "{pushed}");
        api("DELETE", &format!("/images/{name}:1"), &[]);
        std::fs::write(folder.join("config.json"), "{}").unwrap();
        format!("{name}:1")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn base64(text: &str) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::URL_SAFE.encode(text)
}

#[tokio::test]
async fn c5_a_private_registry_is_used_with_docker_s_own_credentials() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let reference = registry.push(folder.path());
    let config = DockerConfig { docker_config: Some(folder.path().to_owned()), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let workload = spec("test-registry", &reference).workload;
    let prepare = async || runtime.prepare(&workload, Arc::new(|_| {})).await;

    let error = prepare().await.unwrap_err().to_string();
    assert!(error.contains(&format!("docker login {}", registry.address)), "{error}");

    let auth = base64("deployer:secret");
    let auths = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.address);
    std::fs::write(folder.path().join("config.json"), auths).unwrap();
    let id = prepare().await.unwrap();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(prepare().await.unwrap(), id, "what is on the host is taken as it is");

    let missing = spec("test-registry", &format!("{}/team/nosuch:1", registry.address)).workload;
    let error = runtime.prepare(&missing, Arc::new(|_| {})).await.unwrap_err().to_string();
    assert!(error.contains("nosuch"), "{error}");
    remove_image(&reference).await;
}

#[tokio::test]
async fn c5_a_credential_helper_is_asked() {
    use std::os::unix::fs::PermissionsExt;
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let reference = registry.push(folder.path());
    // Helpers are found in PATH, which is this whole process's: a name of this test's own keeps others out of it.
    let helper = PathBuf::from("/usr/local/bin").join(format!("docker-credential-gapless-test-{}", std::process::id()));
    std::fs::write(&helper, "#!/bin/sh\nread host\necho '{\"Username\": \"deployer\", \"Secret\": \"secret\"}'\n")
        .unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let name = helper.file_name().unwrap().to_string_lossy().replace("docker-credential-", "");
    let helpers = format!(r#"{{"credHelpers": {{"{}": "{name}"}}}}"#, registry.address);
    std::fs::write(folder.path().join("config.json"), helpers).unwrap();
    let config = DockerConfig { docker_config: Some(folder.path().to_owned()), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let prepared = runtime.prepare(&spec("test-helper", &reference).workload, Arc::new(|_| {})).await;
    std::fs::remove_file(&helper).unwrap();
    prepared.unwrap();
    remove_image(&reference).await;
}

#[tokio::test]
async fn c5_a_registry_that_is_away_is_told() {
    let runtime = runtime(&owner("away"));
    let error =
        runtime.prepare(&spec("test-away", "127.0.0.1:1/probe:1").workload, Arc::new(|_| {})).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1 does not answer"), "{error}");
}

async fn remove_image(reference: &str) {
    let docker = Docker::connect_with_unix_defaults().unwrap();
    docker.remove_image(reference, None::<bollard::query_parameters::RemoveImageOptions>, None).await.unwrap();
}
