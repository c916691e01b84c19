//! The Engine's API: its socket, its version, deadlines, and its errors as messages with a remedy.

use super::addresses::Addresses;
use crate::RuntimeError;
use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell};

/// How long the Engine may take to answer, by default.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// The oldest supported API: that of Docker 20.10.
const VERSION_MIN: (usize, usize) = (1, 41);

/// The Engine, and the names that gapless uses in it.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// The Engine's socket; by default that of `DOCKER_HOST`, else `/var/run/docker.sock`.
    pub socket: Option<PathBuf>,
    /// The owner of the containers: containers of other owners are never touched.
    pub owner: String,
    /// The network of the instances; created if missing.
    pub network: String,
    /// The folder of Docker's `config.json` with credentials; by default `$DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: Option<PathBuf>,
}

impl Default for DockerConfig {
    fn default() -> Self {
        DockerConfig { socket: None, owner: String::new(), network: "gapless".to_owned(), docker_config: None }
    }
}

/// A connection to an Engine.
pub(super) struct Connection {
    config: DockerConfig,
    socket: PathBuf,
    docker: OnceCell<Docker>,
    /// The addresses of the network that are reserved for instances, if any; `None` until the network was inspected.
    pub(super) network: Mutex<Option<Option<Addresses>>>,
}

/// A failed call.
#[derive(Debug)]
pub(super) enum Problem {
    /// The Engine returned an error, or the connection failed.
    Engine { doing: String, error: Error, socket: PathBuf },
    /// The Engine did not answer in time.
    Timeout { doing: String, seconds: u64 },
    /// There is no connection to the Engine.
    Unavailable(RuntimeError),
}

impl Connection {
    pub(super) fn new(config: DockerConfig) -> Result<Self, RuntimeError> {
        let socket = match (&config.socket, std::env::var("DOCKER_HOST")) {
            (Some(socket), _) => socket.clone(),
            (None, Ok(host)) => match host.strip_prefix("unix://") {
                Some(path) => path.into(),
                None => {
                    let why = format!(
                        "DOCKER_HOST is {host}; set it to the Engine of this host, such as unix:///var/run/docker.sock"
                    );
                    return Err(RuntimeError::Unavailable { runtime: "Docker", why });
                }
            },
            (None, Err(_)) => "/var/run/docker.sock".into(),
        };
        Ok(Connection { config, socket, docker: OnceCell::new(), network: Mutex::default() })
    }

    pub(super) const fn config(&self) -> &DockerConfig {
        &self.config
    }

    pub(super) fn socket(&self) -> String {
        self.socket.display().to_string()
    }

    /// The client, with the API version that both sides support.
    pub(super) async fn docker(&self) -> Result<&Docker, RuntimeError> {
        self.docker.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Docker, RuntimeError> {
        let doing = "connecting";
        let seconds = ANSWER_DEADLINE.as_secs();
        let connected = Docker::connect_with_unix(&self.socket(), seconds.saturating_mul(1000), API_DEFAULT_VERSION);
        let docker = connected.map_err(|error| self.problem(doing, error).into_error())?;
        let docker = self.call(doing, docker.negotiate_version()).await.map_err(Problem::into_error)?;
        let version = docker.client_version();
        if (version.major_version, version.minor_version) < VERSION_MIN {
            let (major, minor) = VERSION_MIN;
            let why = format!(
                "the Engine speaks API {version}; gapless needs {major}.{minor}, which is Docker 20.10 or newer"
            );
            return Err(RuntimeError::Unavailable { runtime: "Docker", why });
        }
        Ok(docker)
    }

    /// Fails if the Engine accepts no new connections.
    pub(super) async fn must_accept(&self) -> Result<(), RuntimeError> {
        let connecting = tokio::time::timeout(ANSWER_DEADLINE, UnixStream::connect(&self.socket));
        match connecting.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let why = why_away(&self.socket, &error.to_string());
                Err(RuntimeError::Unavailable { runtime: "Docker", why })
            }
            Err(_) => {
                let (doing, seconds) = ("connecting".to_owned(), ANSWER_DEADLINE.as_secs());
                Err(RuntimeError::Timeout { runtime: "Docker", doing, seconds })
            }
        }
    }

    pub(super) async fn call<T>(
        &self,
        doing: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Problem> {
        self.within(ANSWER_DEADLINE, doing, call).await
    }

    pub(super) async fn within<T>(
        &self,
        deadline: Duration,
        doing: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Problem> {
        match tokio::time::timeout(deadline, call).await {
            Ok(result) => result.map_err(|error| self.problem(doing, error)),
            Err(_) => Err(Problem::Timeout { doing: doing.to_owned(), seconds: deadline.as_secs() }),
        }
    }

    pub(super) fn problem(&self, doing: &str, error: Error) -> Problem {
        Problem::Engine { doing: doing.to_owned(), error, socket: self.socket.clone() }
    }
}

impl Problem {
    /// The HTTP status of the Engine's answer.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Problem::Engine { error: Error::DockerResponseServerError { status_code, .. }, .. } => Some(*status_code),
            _ => None,
        }
    }

    /// The Engine's message.
    pub(super) fn message(&self) -> String {
        match self {
            Problem::Engine { error: Error::DockerResponseServerError { message, .. }, .. } => message.clone(),
            Problem::Engine { error: Error::DockerStreamError { error }, .. } => error.clone(),
            Problem::Engine { error, .. } => error.to_string(),
            Problem::Timeout { seconds, .. } => format!("no answer within {seconds} s"),
            Problem::Unavailable(error) => error.to_string(),
        }
    }

    pub(super) fn into_error(self) -> RuntimeError {
        let message = self.message();
        match self {
            Problem::Unavailable(error) => error,
            Problem::Timeout { doing, seconds } => RuntimeError::Timeout { runtime: "Docker", doing, seconds },
            Problem::Engine { doing, .. } if message.contains("no space left on device") => {
                RuntimeError::DiskFull { doing }
            }
            Problem::Engine {
                error: Error::DockerResponseServerError { .. } | Error::DockerStreamError { .. },
                doing,
                ..
            } => RuntimeError::Failed { doing, why: message },
            Problem::Engine { socket, .. } => {
                RuntimeError::Unavailable { runtime: "Docker", why: why_away(&socket, &message) }
            }
        }
    }
}

/// Treats answers of these statuses as success: the requested state already exists.
pub(super) fn ignore_statuses(result: Result<(), Problem>, statuses: &[u16]) -> Result<(), RuntimeError> {
    match result {
        Err(problem) if problem.status().is_some_and(|status| statuses.contains(&status)) => Ok(()),
        other => other.map_err(Problem::into_error),
    }
}

/// Why the socket does not answer: bollard's error is vague, so this opens the socket itself.
fn why_away(socket: &Path, message: &str) -> String {
    let shown = socket.display();
    match std::os::unix::net::UnixStream::connect(socket) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("{shown} does not exist; install Docker, or start it with `systemctl start docker`")
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            format!(
                "this user may not open {shown}: add it to the group `docker` (`usermod -aG docker USER`), and restart gapless"
            )
        }
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("nothing answers at {shown}; start Docker with `systemctl start docker`")
        }
        Err(error) => format!("{shown}: {error}"),
        Ok(_) => format!("{shown}: {message}"),
    }
}
