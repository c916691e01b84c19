//! The location of nginx, on this host or in a container: finds and reloads nginx, and runs its program.

use super::master::{Master, MasterError};
use super::settings::{NginxConfig, NginxContainer};
use gapless_runtime::RuntimeError;
use gapless_runtime::docker::{DockerRuntime, ForeignContainer, ForeignNetwork};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;

/// How long nginx's program may run: a test of a thousand servers takes 70 ms.
const DEADLINE: Duration = Duration::from_secs(10);
/// The maximum size of a program's output that is read, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Why nginx was not found, or could not be reloaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocationError {
    #[error(transparent)]
    Master(#[from] MasterError),
    #[error("nginx does not run: there is no container {0}; start it, or set `container` in server.toml")]
    Missing(String),
    #[error(
        "nginx does not run: its container {name} has ended (exit code {exit_code}); `docker start {name}` starts it, and \
         `docker logs {name}` says why it ended"
    )]
    Stopped { name: String, exit_code: i64 },
    #[error("nginx does not answer: its container {0} is paused; `docker unpause {0}` resumes it")]
    Paused(String),
    #[error(
        "nginx does not run: no visible process of the container {0} is its master; run nginx as the container's command \
         (`nginx -g 'daemon off;'`), and gapless on the host itself, not in a container"
    )]
    NoMaster(String),
    #[error(
        "nginx cannot be reached at {status}: its container {name} has a network of its own; write \
         `status = \"0.0.0.0:{port}\"` in server.toml, or run the container with `--network host`",
        port = status.port()
    )]
    OtherLoopback { name: String, status: SocketAddr },
    #[error("nginx cannot be reached: its container {0} is in no network; connect it to the network of the instances")]
    NoNetwork(String),
    #[error("cannot inspect nginx's container {name}: {error}")]
    Docker { name: String, error: RuntimeError },
}

/// A running nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) master: Master,
    /// The address at which nginx reports its configuration.
    pub(super) status: SocketAddr,
}

/// The result of a run of nginx's program.
pub(super) struct Ran {
    pub(super) is_success: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// The location of nginx.
pub(super) enum Location {
    Host,
    Container {
        container: NginxContainer,
        docker: Arc<DockerRuntime>,
        /// The last found nginx and its start time, so that Docker is not asked each time.
        found: Mutex<Option<(Running, u64)>>,
    },
}

impl Location {
    pub(super) fn new(settings: &NginxConfig, docker: Arc<DockerRuntime>) -> Self {
        match settings.container.clone() {
            Some(container) => Location::Container { container, docker, found: Mutex::default() },
            None => Location::Host,
        }
    }

    /// Finds the running nginx.
    pub(super) async fn find(&self, settings: &NginxConfig) -> Result<Running, LocationError> {
        let Location::Container { container, docker, found } = self else {
            return Ok(Running { master: Master::find(&settings.pid_file)?, status: settings.status });
        };
        let last = *found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((running, started)) = last
            && running.master.is_still(started)
        {
            return Ok(running);
        }
        let running = inspect(container, docker, settings.status).await?;
        let started = running.master.started();
        *found.lock().unwrap_or_else(PoisonError::into_inner) = started.map(|started| (running, started));
        Ok(running)
    }

    /// Forgets the last found nginx after it did not answer: the next call asks Docker again.
    pub(super) fn forget_found(&self) {
        if let Location::Container { found, .. } = self {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Signals nginx to read its configuration again.
    pub(super) async fn reload(&self, master: Master) -> Result<(), LocationError> {
        match self {
            Location::Host => Ok(master.reload()?),
            Location::Container { container, docker, .. } => {
                let signalled = docker.signal_foreign(&container.name, "HUP").await;
                signalled.map_err(|error| LocationError::Docker { name: container.name.clone(), error })
            }
        }
    }

    /// Runs nginx's program with the option `-t` or `-T` on that configuration.
    pub(super) async fn run(&self, settings: &NginxConfig, config: &Path, option: &str) -> Result<Ran, String> {
        match self {
            Location::Host => on_host(settings, config, option).await,
            Location::Container { container, docker, .. } => {
                let show = |path: &Path| path.display().to_string();
                let command =
                    [show(&settings.binary), option.to_owned(), "-q".to_owned(), "-c".to_owned(), show(config)];
                let executed = docker.execute_in_foreign(&container.name, &command, DEADLINE, OUTPUT_BYTES_MAX).await;
                let ran = executed.map_err(|error| error.to_string())?;
                // The program did not run: the Engine's runtime writes the reason to either output.
                if let 126 | 127 = ran.code {
                    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).trim().to_owned();
                    let (program, name) = (settings.binary.display(), &container.name);
                    return Err(format!(
                        "{program} cannot run in the container {name}: {said}; set `binary` in server.toml"
                    ));
                }
                Ok(Ran { is_success: ran.code == 0, stdout: ran.stdout, stderr: ran.stderr })
            }
        }
    }
}

async fn inspect(
    container: &NginxContainer,
    docker: &DockerRuntime,
    status: SocketAddr,
) -> Result<Running, LocationError> {
    let name = || container.name.clone();
    let inspected = docker.inspect_foreign(&container.name).await;
    let (pid, network) = match inspected.map_err(|error| LocationError::Docker { name: name(), error })? {
        ForeignContainer::Missing => return Err(LocationError::Missing(name())),
        ForeignContainer::Stopped { exit_code } => return Err(LocationError::Stopped { name: name(), exit_code }),
        ForeignContainer::Paused => return Err(LocationError::Paused(name())),
        ForeignContainer::Running { pid, network } => (pid, network),
    };
    let status = match network {
        ForeignNetwork::Host if status.ip().is_unspecified() => {
            let loopback = if status.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(loopback, status.port())
        }
        ForeignNetwork::Host => status,
        _ if status.ip().is_loopback() => return Err(LocationError::OtherLoopback { name: name(), status }),
        ForeignNetwork::Own(address) => SocketAddr::new(address, status.port()),
        ForeignNetwork::Nowhere => return Err(LocationError::NoNetwork(name())),
    };
    let master = Master::among(pid).map_err(|error| MasterError::inspect(&error))?;
    let master = master.ok_or_else(|| LocationError::NoMaster(name()))?;
    Ok(Running { master, status })
}

async fn on_host(settings: &NginxConfig, config: &Path, option: &str) -> Result<Ran, String> {
    let program = settings.binary.display();
    let running = Command::new(&settings.binary)
        .arg(option)
        .arg("-q")
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(DEADLINE, running).await {
        Ok(Ok(output)) => Ok(Ran { is_success: output.status.success(), stdout: output.stdout, stderr: output.stderr }),
        Ok(Err(error)) => Err(format!("{program} cannot run: {error}; install nginx, or set `binary` in server.toml")),
        Err(_) => Err(format!("`{program} {option}` did not end within {} s", DEADLINE.as_secs())),
    }
}
