//! An nginx in a container, with its folder on the host mounted read-only.

use super::docker::docker;
use crate::cli::CommandResult;
use crate::net::free_port;
use crate::wait::wait_for;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The image that `scripts/lib/nginx-image.sh` builds.
const IMAGE: &str = "gapless-nginx:latest";
const DEADLINE: Duration = Duration::from_secs(15);

/// A container with nginx, removed when this is dropped.
pub struct NginxContainer {
    name: String,
    folder: tempfile::TempDir,
    /// The network; `None` is the host's.
    network: Option<String>,
    port: u16,
    status: u16,
}

impl NginxContainer {
    /// A running container in this network, or in the host's.
    #[must_use]
    pub fn start(name: &str, network: Option<&str>) -> Self {
        let nginx = NginxContainer::prepared(name, network);
        nginx.run();
        nginx
    }

    /// A container that does not exist yet.
    #[must_use]
    pub fn prepared(name: &str, network: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), mode).expect("a folder's mode can be set");
        let name = format!("gapless-nginx-{name}-{}", std::process::id());
        let nginx = NginxContainer {
            name,
            folder,
            network: network.map(str::to_owned),
            port: free_port(),
            status: free_port(),
        };
        fs::create_dir(nginx.config_dir()).expect("the folder can be created");
        let main = "worker_processes 2;\nworker_shutdown_timeout 30s;\nerror_log stderr info;\npid /run/nginx.pid;\n\
                    events { worker_connections 1024; }\nhttp {\n    access_log off;\n    \
                    include /gapless/apps/*.conf;\n}\n";
        fs::write(nginx.folder.path().join("nginx.conf"), main).expect("the file can be written");
        nginx
    }

    /// Creates and starts the container.
    pub fn run(&self) {
        let mount = format!("{}:/gapless:ro", self.folder.path().display());
        let network = self.network.as_deref().unwrap_or("host");
        let words = ["run", "--detach", "--name", &self.name, "--network", network, "--volume", &mount, IMAGE];
        let command = ["nginx", "-c", "/gapless/nginx.conf", "-g", "daemon off;"];
        let all: Vec<&str> = words.into_iter().chain(command).collect();
        docker(&all).ok();
        wait_for("the container runs", DEADLINE, || self.ip_or_host().map(drop));
    }

    /// Runs `docker stop`, `start`, `pause` or `unpause` on the container.
    pub fn order(&self, what: &str) {
        docker(&[what, &self.name]).ok();
    }

    /// Removes the container.
    pub fn remove(&self) {
        docker(&["rm", "--force", &self.name]).ok();
    }

    /// The name of the container.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of gapless's files, on the host.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.folder.path().join("apps")
    }

    /// The address for gapless's applications.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let ip = self.ip_or_host().expect("the process runs");
        format!("{ip}:{}", self.port).parse().expect("the text is an address")
    }

    fn ip_or_host(&self) -> Option<String> {
        let format = "{{.State.Running}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let output = Command::new("docker").args(["inspect", "--format", format, &self.name]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let ip = text.strip_prefix("true")?.trim().to_owned();
        Some(if self.network.is_none() { "127.0.0.1".to_owned() } else { ip }).filter(|ip| !ip.is_empty())
    }

    /// The text of a `server.toml` for a server that has this nginx as its data plane.
    #[must_use]
    pub fn server_config(&self) -> String {
        let ip = if self.network.is_none() { "127.0.0.1" } else { "0.0.0.0" };
        format!(
            "[proxy]\nkind = \"nginx\"\ncontainer = \"{}\"\nconfig_dir = \"{}\"\ncontainer_config_dir = \"/gapless/apps\"\n\
             config = \"/gapless/nginx.conf\"\nstatus = \"{ip}:{}\"\nlisten = [\"{ip}:{}\"]\n",
            self.name,
            self.config_dir().display(),
            self.status,
            self.port,
        )
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        let CommandResult { stdout, stderr, .. } = docker(&["logs", "--tail", "40", &self.name]).0;
        format!("{stdout}{stderr}")
    }
}

impl Drop for NginxContainer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of nginx's log:\n{}", self.log());
        }
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}
