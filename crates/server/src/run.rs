//! Starts the control plane and runs it until it is told to end.

use crate::clock::Clock;
use crate::controller::{Bells, Controllers, Shared};
use crate::gates;
use crate::health::http_prober;
use crate::http::{Api, ListenError, Listener, router};
use crate::operations::Operations;
use crate::planes::{Builtin, Planes, ProxyProcess, Supervisor, SupervisorError};
use crate::records::{RecordError, Records};
use crate::runtimes::Runtimes;
use crate::tables::Tables;
use gapless_core::Millis;
use gapless_core::command::Requester;
use gapless_runtime::RuntimeError;
use gapless_runtime::docker::{DockerConfig, DockerRuntime};
use gapless_runtime::process::{ProcessConfig, ProcessRuntime};
use gapless_store::{SqliteStore, Store, StoreError, Txn};
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// Changes that a follower may be behind before it reads everything again.
const CHANGES_WAITING_MAX: usize = 1024;
/// Lines of gates that a follower may be behind before it misses some.
const LINES_WAITING_MAX: usize = 4096;
/// How long an instance that nothing in the records names has from SIGTERM to SIGKILL.
const LEFT_OVER_GRACE: Millis = Millis::from_secs(10);
/// Names this installation, so that its instances are told from another's on the same host.
const OWNER_KEY: &str = "/gapless/owner";

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where everything is kept that must survive.
    pub state_dir: PathBuf,
    /// The socket of the API.
    pub socket: PathBuf,
    /// What the proxy listens on.
    pub listen: Vec<SocketAddr>,
    /// The program that runs a proxy (`proxy`) and a shim (`shim`): gapless itself.
    pub program: PathBuf,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The state folder cannot be used.
    #[error("the state folder {} cannot be used: {error}", path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
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
    /// The API broke.
    #[error("the API ended: {0}")]
    Api(std::io::Error),
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
) -> Result<(), ServerError> {
    let state_dir = prepare_state_dir(&config)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&state_dir.join("state.db"))?);
    let listener = Listener::bind(&config.socket).await?;
    let owner = owner(store.as_ref()).await?;
    let records = Records::new(store);
    let (revision, apps) = records.applications().await?;
    let (runtimes, docker) = runtimes(&config, &owner)?;
    let supervisor = Supervisor::begin(ProxyProcess {
        command: vec![config.program.clone(), "proxy".into()],
        control_socket: state_dir.join("proxy.sock"),
        table_file: state_dir.join("routes.json"),
        log: state_dir.join("proxy.log"),
        listen: config.listen.clone(),
    })
    .await?;

    let (promotions, promotions_asked) = tokio::sync::mpsc::unbounded_channel();
    let bells = Bells::default();
    let clock = Clock::system();
    let wake = {
        let bells = bells.clone();
        move |key: &_| bells.ring(key)
    };
    let shared = Arc::new(Shared {
        records,
        runtimes,
        planes: Planes::new(clock.clone(), wake),
        tables: Tables::new(revision, &apps),
        promotions,
        run: crate::http::secret(),
        clock: clock.clone(),
        prober: http_prober(),
        gate_runner: gates::runner(docker, config.listen.clone()),
        outputs: broadcast::channel(LINES_WAITING_MAX).0,
        changes: broadcast::channel(CHANGES_WAITING_MAX).0,
        progress: Default::default(),
    });
    let controllers = Arc::new(Controllers::new(shared.clone(), bells));
    let mut tasks = JoinSet::new();
    let plane = Arc::new(Builtin::new(state_dir.join("proxy.sock")));
    tasks.spawn(shared.planes.clone().keep(plane, shared.tables.clone()));
    tasks.spawn(supervisor.clone().go_on());
    for (name, runtime) in shared.runtimes.all() {
        let (controllers, runtime) = (controllers.clone(), runtime.clone());
        tasks.spawn(async move { controllers.follow_events(name, runtime).await });
    }
    tasks.spawn(stop_left_over(shared.clone()));
    apps.iter().for_each(|app| controllers.wake(&app.key));

    let operations = Operations::new(shared.clone(), controllers);
    let by = {
        let clock = clock.clone();
        let name = "gapless (promote = auto)";
        move || Requester { name: name.to_owned(), at: clock.now(), secret: crate::http::secret() }
    };
    tasks.spawn(crate::promotions::carry_out(operations.clone(), promotions_asked, by));
    let api = Api { shared, operations, proxy: supervisor.info(), state_dir, started_at: clock.now() };
    let service = router(Arc::new(api)).into_make_service_with_connect_info::<crate::http::Peer>();
    tracing::info!(socket = %config.socket.display(), applications = apps.len(), "ready");
    ready();
    // Streams that are followed never end by themselves: when the server ends, they end with it.
    tokio::select! {
        ended = async { axum::serve(listener, service).await } => ended.map_err(ServerError::Api),
        () = stop => {
            tracing::info!("ending; the proxy and all instances go on");
            Ok(())
        }
    }
}

fn prepare_state_dir(config: &ServerConfig) -> Result<PathBuf, ServerError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let unusable = |error| ServerError::StateDir { path: config.state_dir.clone(), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.state_dir).map_err(unusable)?;
    std::fs::set_permissions(&config.state_dir, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    std::fs::canonicalize(&config.state_dir).map_err(unusable)
}

fn runtimes(config: &ServerConfig, owner: &str) -> Result<(Runtimes, Arc<DockerRuntime>), ServerError> {
    let docker = DockerRuntime::connect(DockerConfig { owner: owner.to_owned(), ..DockerConfig::default() })?;
    let process = ProcessRuntime::new(ProcessConfig {
        root: config.state_dir.join("processes"),
        owner: owner.to_owned(),
        shim: vec![config.program.clone().into_os_string(), "shim".into()],
    })?;
    let docker = Arc::new(docker);
    Ok((Runtimes { docker: docker.clone(), process: Arc::new(process) }, docker))
}

/// The name of this installation, drawn at its first start.
async fn owner(store: &dyn Store) -> Result<String, ServerError> {
    loop {
        if let Some(entry) = store.get(OWNER_KEY).await? {
            return Ok(String::from_utf8_lossy(&entry.value).into_owned());
        }
        let mut bytes = [0_u8; 8];
        let drawn = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
        drawn.map_err(|error| ServerError::StateDir { path: "/dev/urandom".into(), error })?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Drawn by another server at the same time, it is that one's: read again.
        store.commit(Txn::new().expect(OWNER_KEY, 0).put(OWNER_KEY, name)).await?;
    }
}

/// Stops what runs and no record names, such as what was just being started when the server was killed.
pub(crate) async fn stop_left_over(shared: Arc<Shared>) {
    for (runtime_name, runtime) in shared.runtimes.all() {
        let Ok(instances) = runtime.list_all().await else { continue };
        for name in instances.iter().map(|instance| &instance.name) {
            // Read after it was listed: a record comes before the instances that it names.
            let Ok(app) = shared.records.application(&name.placement.key).await else { continue };
            if app.is_none_or(|app| app.record.placement_of(name).is_none()) {
                tracing::warn!(instance = %name, runtime = runtime_name, "stopping what was left over");
                let _ = runtime.stop(name, LEFT_OVER_GRACE).await;
            }
        }
    }
}
