//! Where nginx runs: on this host, or in a container. It is found, told to reload, and its program run, there.

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

/// How long a program may run: a test of a thousand servers takes 70 ms.
const DEADLINE: Duration = Duration::from_secs(10);
/// The most of a program's output that is looked at, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Why nginx is not found there, or cannot be told anything.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    #[error(transparent)]
    Master(#[from] MasterError),
    #[error("nginx does not run: there is no container {0}; start it, or set `container` in server.toml")]
    Missing(String),
    #[error(
        "nginx does not run: its container {name} has ended (exit code {exit_code}); `docker start {name}` starts it, and `docker logs {name}` says why it ended"
    )]
    Stopped { name: String, exit_code: i64 },
    #[error("nginx does not go on: its container {0} is paused; `docker unpause {0}` lets it go on")]
    Paused(String),
    #[error(
        "nginx does not run: no process of the container {0} that can be seen from here is its master; run nginx as the container's command (`nginx -g 'daemon off;'`), and gapless on the host itself, not in a container"
    )]
    NoMaster(String),
    #[error(
        "nginx cannot be asked at {status}: its container {name} has a network of its own; write `status = \"0.0.0.0:{port}\"` in server.toml, or run the container with `--network host`",
        port = status.port()
    )]
    OtherLoopback { name: String, status: SocketAddr },
    #[error("nginx cannot be asked: its container {0} is in no network; connect it to the one that instances are in")]
    NoNetwork(String),
    #[error("nginx runs in the container {name}, which only Docker can tell of: {error}")]
    Docker { name: String, error: RuntimeError },
}

/// An nginx that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) master: Master,
    /// Where it says which configuration it goes by.
    pub(super) status: SocketAddr,
}

/// What a program did.
pub(super) struct Ran {
    pub(super) is_good: bool,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Where nginx runs.
pub(super) enum Place {
    Host,
    Container {
        container: NginxContainer,
        docker: Arc<DockerRuntime>,
        /// What was found last, so that Docker is not asked each time it is looked.
        found: Mutex<Option<(Running, u64)>>,
    },
}

impl Place {
    pub(super) fn new(settings: &NginxConfig, docker: Arc<DockerRuntime>) -> Self {
        match settings.container.clone() {
            Some(container) => Place::Container { container, docker, found: Mutex::default() },
            None => Place::Host,
        }
    }

    /// The nginx that runs there.
    pub(super) async fn find(&self, settings: &NginxConfig) -> Result<Running, PlaceError> {
        let Place::Container { container, docker, found } = self else {
            return Ok(Running { master: Master::find(&settings.pid_file)?, status: settings.status });
        };
        let last = *found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((running, started)) = last
            && running.master.is_still(started)
        {
            return Ok(running);
        }
        let running = look(container, docker, settings.status).await?;
        let started = running.master.started();
        *found.lock().unwrap_or_else(PoisonError::into_inner) = started.map(|started| (running, started));
        Ok(running)
    }

    /// It did not answer: Docker is asked again how it is.
    pub(super) fn doubt(&self) {
        if let Place::Container { found, .. } = self {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Tells it to read its configuration anew.
    pub(super) async fn reload(&self, master: Master) -> Result<(), PlaceError> {
        match self {
            Place::Host => Ok(master.reload()?),
            Place::Container { container, docker, .. } => {
                let told = docker.signal_foreign(&container.name, "HUP").await;
                told.map_err(|error| PlaceError::Docker { name: container.name.clone(), error })
            }
        }
    }

    /// Runs nginx's program there on that configuration: `-t` or `-T`.
    pub(super) async fn run(&self, settings: &NginxConfig, config: &Path, what: &str) -> Result<Ran, String> {
        match self {
            Place::Host => on_host(settings, config, what).await,
            Place::Container { container, docker, .. } => {
                let show = |path: &Path| path.display().to_string();
                let command = [show(&settings.binary), what.to_owned(), "-q".to_owned(), "-c".to_owned(), show(config)];
                let executed = docker.execute_in_foreign(&container.name, &command, DEADLINE, OUTPUT_BYTES_MAX).await;
                let ran = executed.map_err(|error| error.to_string())?;
                // Nothing of the program ran: the Engine's runtime says why, on either output.
                if let 126 | 127 = ran.code {
                    let said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).trim().to_owned();
                    let (program, name) = (settings.binary.display(), &container.name);
                    return Err(format!(
                        "{program} cannot be run in the container {name}: {said}; set `binary` in server.toml"
                    ));
                }
                Ok(Ran { is_good: ran.code == 0, stdout: ran.stdout, stderr: ran.stderr })
            }
        }
    }
}

async fn look(container: &NginxContainer, docker: &DockerRuntime, status: SocketAddr) -> Result<Running, PlaceError> {
    let name = || container.name.clone();
    let looked = docker.inspect_foreign(&container.name).await;
    let (pid, network) = match looked.map_err(|error| PlaceError::Docker { name: name(), error })? {
        ForeignContainer::Missing => return Err(PlaceError::Missing(name())),
        ForeignContainer::Stopped { exit_code } => return Err(PlaceError::Stopped { name: name(), exit_code }),
        ForeignContainer::Paused => return Err(PlaceError::Paused(name())),
        ForeignContainer::Running { pid, network } => (pid, network),
    };
    let status = match network {
        ForeignNetwork::Host if status.ip().is_unspecified() => {
            let loopback = if status.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(loopback, status.port())
        }
        ForeignNetwork::Host => status,
        _ if status.ip().is_loopback() => return Err(PlaceError::OtherLoopback { name: name(), status }),
        ForeignNetwork::Own(address) => SocketAddr::new(address, status.port()),
        ForeignNetwork::Nowhere => return Err(PlaceError::NoNetwork(name())),
    };
    let master = Master::among(pid).map_err(|error| MasterError::unseen(&error))?;
    let master = master.ok_or_else(|| PlaceError::NoMaster(name()))?;
    Ok(Running { master, status })
}

async fn on_host(settings: &NginxConfig, config: &Path, what: &str) -> Result<Ran, String> {
    let program = settings.binary.display();
    let running = Command::new(&settings.binary)
        .arg(what)
        .arg("-q")
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(DEADLINE, running).await {
        Ok(Ok(output)) => Ok(Ran { is_good: output.status.success(), stdout: output.stdout, stderr: output.stderr }),
        Ok(Err(error)) => {
            Err(format!("{program} cannot be run: {error}; install nginx, or set `binary` in server.toml"))
        }
        Err(_) => Err(format!("`{program} {what}` did not end within {} s", DEADLINE.as_secs())),
    }
}
