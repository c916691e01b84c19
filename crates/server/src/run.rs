//! Starts a server and runs it until it is told to end, or does not lead any more.

use crate::cluster;
use crate::http::{About, ApiSocket, Front, ListenError, Peer, Role};
use crate::lead::ControlPlane;
use crate::planes::nginx::NginxConfig;
use crate::planes::{ProxyProcess, SupervisorError};
use crate::records::RecordError;
use crate::registry::RegistryConfig;
use futures_util::future::{Either, select};
use gapless_core::Timestamp;
use gapless_runtime::RuntimeError;
use gapless_store::{EtcdConfig, SqliteStore, Store, StoreError};
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name among several.
    pub name: String,
    /// Where everything is kept that must survive.
    pub state_dir: PathBuf,
    /// Where the host's proxy and processes are; the state folder without it. Servers of one host share it.
    pub host_dir: Option<PathBuf>,
    /// The socket of the API.
    pub socket: ApiSocket,
    /// What the proxy listens on.
    pub listen: Vec<SocketAddr>,
    /// The nginx that is the data plane, where it is not gapless's own proxy.
    pub nginx: Option<NginxConfig>,
    /// The control socket of a proxy that something else keeps running, such as systemd; the server starts none then.
    pub proxy_socket: Option<PathBuf>,
    /// The program that runs a proxy (`proxy`) and a shim (`shim`): gapless itself.
    pub program: PathBuf,
    /// Where the records are.
    pub store: StoreConfig,
    /// How servers of one store reach each other.
    pub peers: Option<PeersConfig>,
    /// Which facts are published.
    pub registry: RegistryConfig,
}

impl ServerConfig {
    /// What stands before gapless's own keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match &self.store {
            StoreConfig::Sqlite => "",
            StoreConfig::Etcd(etcd) => &etcd.prefix,
        }
    }
}

/// Where the records are.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In a file in the state folder.
    Sqlite,
    /// In an etcd, shared with other servers.
    Etcd(Box<EtcdConfig>),
}

/// How servers of one store reach each other: by TLS, each showing a certificate that the same authority signed.
#[derive(Clone)]
pub struct PeersConfig {
    /// Where this server listens for the others.
    pub listen: SocketAddr,
    /// The name or address, and port, that others reach it by.
    pub address: String,
    /// The authority's certificate, as PEM.
    pub ca: Vec<u8>,
    /// The own certificate, as PEM.
    pub cert: Vec<u8>,
    /// Its key, as PEM.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for PeersConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeersConfig")
            .field("listen", &self.listen)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Whoever runs it begins it anew, in a process image of its own, so that nothing that was under way goes on: it does
    /// not lead any more, or cannot know whether it does.
    BeginsAnew,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The state folder cannot be used.
    #[error("the state folder {} cannot be used: {error}", path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another server uses the state folder.
    #[error("another gapless server uses the state folder {}; stop it first, or choose another --state-dir", .0.display())]
    StateDirInUse(PathBuf),
    /// Another server of the same store has the same name.
    #[error(
        "another server named {name} runs with the same etcd: process {pid} on {host}; give this one another `name` in \
         server.toml, or stop that one"
    )]
    SameName {
        /// The name.
        name: String,
        /// The other's process.
        pid: u32,
        /// The other's host.
        host: String,
    },
    /// The store was not filled to its end.
    #[error("an import into the store was broken off; import again, with `gapless store import --force FILE`")]
    HalfImported,
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A runtime cannot be set up.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The proxy cannot be had.
    #[error(transparent)]
    Proxy(#[from] SupervisorError),
    /// The API's socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The address for other servers cannot be used.
    #[error("other servers cannot reach this one at {address}: {why}")]
    Peers {
        /// The address.
        address: String,
        /// Why, and what to do.
        why: String,
    },
    /// The API broke.
    #[error("the API ended: {0}")]
    Api(std::io::Error),
}

/// Where a server has its things, as they really are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) state_dir: PathBuf,
    pub(crate) host_dir: PathBuf,
    pub(crate) started_at: Timestamp,
}

impl Place {
    /// How the host's proxy is started, or where it is found if something else does that.
    pub(crate) fn proxy(&self, config: &ServerConfig) -> ProxyProcess {
        let elsewhere = config.proxy_socket.clone();
        ProxyProcess {
            command: vec![config.program.clone(), "proxy".into()],
            is_own: elsewhere.is_none(),
            control_socket: elsewhere.unwrap_or_else(|| self.host_dir.join("proxy.sock")),
            table_file: self.host_dir.join("routes.json"),
            log: self.host_dir.join("proxy.log"),
            listen: config.listen.clone(),
        }
    }
}

/// Runs the server until `stop` is done. The proxy and all instances go on without it. `ready` is called once it
/// answers.
///
/// # Errors
/// If it cannot start.
pub async fn run(
    config: ServerConfig,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended, ServerError> {
    let state_dir = prepare(&config.state_dir)?;
    let place = Place {
        host_dir: config.host_dir.as_ref().map_or_else(|| Ok(state_dir.clone()), prepare)?,
        state_dir,
        started_at: crate::clock::Clock::system().now(),
    };
    match &config.store {
        StoreConfig::Sqlite => {
            let file = place.state_dir.join("state.db");
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file)?);
            let listener = config.socket.open().await?;
            let about = About {
                name: config.name.clone(),
                store: format!("SQLite in {}", file.display()),
                is_shared: false,
                role: Role::Leader,
                leader: None,
            };
            let plane = ControlPlane::begin(&config, &place, store, None, about).await?;
            let front = Front::closed("the server begins");
            front.open(plane.router.clone());
            tracing::info!(socket = %config.socket.path().display(), applications = plane.applications, "ready");
            ready();
            let told = async {
                stop.await;
                tracing::info!("ending; the proxy and all instances go on");
                Ok(Ended::Stopped)
            };
            answer_while(told, listener, &front).await
        }
        StoreConfig::Etcd(etcd) => cluster::run(&config, &place, etcd, ready, stop).await,
    }
}

/// How long whoever was accepted before the server ended has to ask.
const ASKS_WITHIN: Duration = Duration::from_millis(50);
/// How long what was asked before the server ended has to be answered.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Answers at the API's socket for as long as the server lives.
pub(crate) async fn answer_while(
    lives: impl Future<Output = Result<Ended, ServerError>>,
    listener: UnixListener,
    front: &Front,
) -> Result<Ended, ServerError> {
    let service = front.router().into_make_service_with_connect_info::<Peer>();
    let ended = front.ended();
    let all_have_asked = async {
        ended.await;
        tokio::time::sleep(ASKS_WITHIN).await;
    };
    let answering = axum::serve(front.accepting(listener), service).with_graceful_shutdown(all_have_asked);
    let answering = answering.into_future();
    match select(pin!(answering), pin!(lives)).await {
        Either::Left((answered, lives)) => {
            answered.map_err(ServerError::Api)?;
            lives.await
        }
        Either::Right((ended, answering)) => {
            front.end();
            let _ = tokio::time::timeout(LAST_ANSWERS_WITHIN, answering).await;
            ended
        }
    }
}

fn prepare(folder: &PathBuf) -> Result<PathBuf, ServerError> {
    use std::os::unix::fs::PermissionsExt;
    let unusable = |error| ServerError::StateDir { path: folder.clone(), error };
    gapless_store::make_folder(folder).map_err(unusable)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    std::fs::canonicalize(folder).map_err(unusable)
}
