//! Pulling: private registries, unreachable registries, and a full disk.

use crate::images::{big_image, engine_api, image};
use crate::{owner, runtime, service};
use bollard::Docker;
use gapless_runtime::Runtime;
use gapless_runtime::docker::{DockerConfig, DockerRuntime};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Debian's registry on a free port, with authentication.
struct Registry {
    process: Child,
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

    /// Pushes an image, removes it from the host, and returns its reference.
    fn push(&self, image: &str) -> String {
        let name = format!("{}/team/probe", self.address);
        engine_api("POST", &format!("/images/{image}/tag?repo={name}&tag=1"), &[], Stdio::null());
        let auth = format!("X-Registry-Auth: {}", base64(r#"{"username":"deployer","password":"secret"}"#));
        engine_api("POST", &format!("/images/{name}/push?tag=1"), &[&auth], Stdio::null());
        engine_api("DELETE", &format!("/images/{name}:1"), &[], Stdio::null());
        format!("{name}:1")
    }

    /// Writes a Docker configuration with credentials for this registry.
    fn log_in(&self, folder: &Path) {
        let auth = base64("deployer:secret");
        let auths = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, self.address);
        std::fs::write(folder.join("config.json"), auths).unwrap();
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

/// Failure C5: registries.
#[tokio::test]
async fn private_registry_is_used_with_docker_credentials() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let reference = registry.push(image());
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let config = DockerConfig { docker_config: Some(folder.path().to_owned()), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let workload = service(&reference).workload;
    let prepare = async || runtime.prepare(&workload, Arc::new(|_| {})).await;

    let error = prepare().await.unwrap_err().to_string();
    assert!(error.contains(&format!("docker login {}", registry.address)), "{error}");

    registry.log_in(folder.path());
    let id = prepare().await.unwrap();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(prepare().await.unwrap(), id, "a local image is used unchanged");

    let missing = service(&format!("{}/team/nosuch:1", registry.address)).workload;
    let error = runtime.prepare(&missing, Arc::new(|_| {})).await.unwrap_err().to_string();
    assert!(error.contains("nosuch"), "{error}");
    remove_image(&reference).await;
}

/// Failure C5: registries.
#[tokio::test]
async fn credential_helper_is_used() {
    use std::os::unix::fs::PermissionsExt;
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let reference = registry.push(image());
    // Helpers are found in PATH, which belongs to the whole process: a unique name keeps other tests out of it.
    let helper = PathBuf::from("/usr/local/bin").join(format!("docker-credential-gapless-test-{}", std::process::id()));
    std::fs::write(&helper, "#!/bin/sh\nread host\necho '{\"Username\": \"deployer\", \"Secret\": \"secret\"}'\n")
        .unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let name = helper.file_name().unwrap().to_string_lossy().replace("docker-credential-", "");
    let helpers = format!(r#"{{"credHelpers": {{"{}": "{name}"}}}}"#, registry.address);
    std::fs::write(folder.path().join("config.json"), helpers).unwrap();
    let config = DockerConfig { docker_config: Some(folder.path().to_owned()), ..DockerConfig::default() };
    let runtime = DockerRuntime::connect(config).unwrap();
    let prepared = runtime.prepare(&service(&reference).workload, Arc::new(|_| {})).await;
    std::fs::remove_file(&helper).unwrap();
    prepared.unwrap();
    remove_image(&reference).await;
}

/// Failure C5: registries.
#[tokio::test]
async fn unreachable_registry_is_reported() {
    let runtime = runtime(&owner("away"));
    let error = runtime.prepare(&service("127.0.0.1:1/probe:1").workload, Arc::new(|_| {})).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1:1 does not answer"), "{error}");
}

/// A Docker Engine for one test, with a disk of a chosen size.
struct SmallEngine {
    process: Child,
    folder: tempfile::TempDir,
}

impl SmallEngine {
    fn start(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "gapless-test"], &disk);
        let process = Command::new("dockerd")
            .arg("--data-root")
            .arg(&disk)
            .arg("--exec-root")
            .arg(folder.path().join("exec"))
            .arg("--pidfile")
            .arg(folder.path().join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", folder.path().join("docker.sock").display()))
            .args(["--bridge", "none", "--iptables=false"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dockerd is installed");
        let engine = SmallEngine { process, folder };
        let give_up_at = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(engine.socket()).is_err() {
            assert!(Instant::now() < give_up_at, "the engine does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        engine
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    fn grow(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.folder.path().join("disk"));
    }
}

impl Drop for SmallEngine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
        let _ = Command::new("umount").arg("--recursive").arg(self.folder.path().join("disk")).status();
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(mounted.success(), "this test mounts a small disk, and needs to be root for it");
}

/// Failures A16 and C4: a full disk.
#[tokio::test]
async fn pull_continues_when_a_full_disk_has_space_again() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let tag = format!("gapless-test-big:{}", std::process::id());
    big_image(&tag, 48 << 20);
    let reference = registry.push(&tag);
    registry.log_in(folder.path());
    let engine = SmallEngine::start("40m");
    let config = DockerConfig {
        socket: Some(engine.socket()),
        docker_config: Some(folder.path().to_owned()),
        ..DockerConfig::default()
    };
    let runtime = DockerRuntime::connect(config).unwrap();
    let workload = service(&reference).workload;
    let error = runtime.prepare(&workload, Arc::new(|_| {})).await.unwrap_err().to_string();
    assert!(error.contains("no space left on the device"), "{error}");

    engine.grow("256m");
    runtime.prepare(&workload, Arc::new(|_| {})).await.unwrap();
    remove_image(&tag).await;
}

async fn remove_image(reference: &str) {
    let docker = Docker::connect_with_unix_defaults().unwrap();
    docker.remove_image(reference, None::<bollard::query_parameters::RemoveImageOptions>, None).await.unwrap();
}
