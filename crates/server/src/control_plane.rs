//! The control plane: the controllers, the syncers of the data planes, and the API. Only a server that leads runs one;
//! a server with a store of its own always leads.

use crate::clock::Clock;
use crate::controller::{Controllers, Shared, Wakers};
use crate::failpoints;
use crate::gates;
use crate::health::http_prober;
use crate::http::{About, Api, WATCHERS_MAX};
use crate::operations::Operations;
use crate::records::IMPORTING;
use crate::registry::keys::UserKeys;

use crate::config::{Paths, ServerConfig};
use crate::error::ServerError;
use crate::planes::Planes;
use crate::records::Records;
use crate::registry::Registry;
use crate::runtimes::Runtimes;
use crate::tables::Tables;
use axum::Router;
use gapless_core::command::Requester;
use gapless_core::{Application, Millis};
use gapless_plane::DataPlane;
use gapless_plane::builtin::{Builtin, Supervisor};
use gapless_plane::nginx::{Nginx, NginxConfig, unsupported};
use gapless_runtime::docker::{DockerConfig, DockerRuntime};
use gapless_runtime::process::{ProcessConfig, ProcessRuntime};
use gapless_runtime::systemd::{SystemdConfig, SystemdRuntime};
use gapless_store::{Store, Txn};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;

/// The changes that a client that follows them may lag behind before it reads everything again.
const CHANGES_WAITING_MAX: usize = 1024;
/// The output lines of gates that a client that follows them may lag behind before it misses some.
const LINES_WAITING_MAX: usize = 4096;
/// The time from SIGTERM to SIGKILL of an instance that no record names.
const LEFT_OVER_GRACE: Millis = Millis::from_secs(10);
/// The key of this installation's name, which distinguishes its instances from those of another installation on the
/// host.
const OWNER_KEY: &str = "/gapless/owner";

/// A running control plane. Dropping it ends its tasks; the proxy and all instances keep running.
pub(crate) struct ControlPlane {
    /// The API.
    pub(crate) router: Router,
    /// The number of applications at the start.
    pub(crate) applications: usize,
    controllers: Arc<Controllers>,
    _tasks: JoinSet<()>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Responses in progress own references to the controllers.
        self.controllers.end();
    }
}

/// The parts of a control plane before any task runs. A follower, which only reads, uses them too.
pub(crate) struct Components {
    shared: Arc<Shared>,
    controllers: Arc<Controllers>,
    operations: Operations,
    apps: Vec<Application>,
    keys: UserKeys,
    docker: Arc<DockerRuntime>,
    promotion_requests:
        tokio::sync::mpsc::UnboundedReceiver<(gapless_core::AppKey, gapless_core::application::Promotion)>,
}

impl Components {
    pub(crate) async fn new(
        config: &ServerConfig,
        paths: &Paths,
        store: Arc<dyn Store>,
        owner: &str,
    ) -> Result<Components, ServerError> {
        let keys = UserKeys::new(store.clone(), config.prefix());
        let records = Records::new(store);
        let (revision, apps) = records.applications().await?;
        let (runtimes, docker) = runtimes(config, paths, owner)?;
        let runtimes = failpoints::runtimes(runtimes);
        let (promotions, promotion_requests) = tokio::sync::mpsc::unbounded_channel();
        let wakers = Wakers::default();
        let clock = Clock::system();
        clock.advance_to_records(&records, &apps).await?;
        let wake = {
            let wakers = wakers.clone();
            move |key: Option<&_>| wakers.wake(key)
        };
        let shared = Arc::new(Shared {
            records,
            runtimes,
            planes: Planes::new(clock.clone(), wake),
            tables: Tables::new(revision, &apps),
            promotions,
            run: crate::secret::secret(),
            clock,
            prober: http_prober(),
            gate_runner: failpoints::gates(gates::runner(docker.clone(), served_on(config).to_vec())),
            outputs: broadcast::channel(LINES_WAITING_MAX).0,
            changes: broadcast::channel(CHANGES_WAITING_MAX).0,
            progress: Default::default(),
        });
        let controllers = Arc::new(Controllers::new(shared.clone(), wakers));
        let operations = Operations::new(shared.clone(), controllers.clone());
        let operations = if config.nginx.is_some() { operations.rejecting("nginx", unsupported) } else { operations };
        Ok(Components { shared, controllers, operations, apps, keys, docker, promotion_requests })
    }

    /// The driver of the configured nginx.
    pub(crate) fn nginx(&self, config: &NginxConfig) -> Arc<dyn DataPlane> {
        Arc::new(Nginx::new(config.clone(), self.docker.clone()))
    }

    /// The API of these components.
    pub(crate) fn api(&self, paths: &Paths, plane: Arc<dyn DataPlane>, about: About) -> Router {
        let api = Api {
            shared: self.shared.clone(),
            operations: self.operations.clone(),
            plane,
            state_dir: paths.state_dir.clone(),
            started_at: paths.started_at,
            about,
            keys: self.keys.clone(),
            watchers: Semaphore::new(WATCHERS_MAX),
        };
        crate::http::router(Arc::new(api))
    }
}

impl ControlPlane {
    /// Starts the control of all recorded applications.
    ///
    /// # Errors
    /// If the records cannot be read, or a runtime or the proxy cannot be set up.
    pub(crate) async fn start(
        config: &ServerConfig,
        paths: &Paths,
        store: Arc<dyn Store>,
        supervisor: Option<Arc<Supervisor>>,
        about: About,
    ) -> Result<ControlPlane, ServerError> {
        if store.get(IMPORTING).await?.is_some() {
            return Err(ServerError::ImportIncomplete);
        }
        let owner = owner(store.as_ref()).await?;
        let store = failpoints::store(store);
        let components = Components::new(config, paths, store.clone(), &owner).await?;
        let registry = Registry::new(store.clone(), components.keys.clone(), config.registry.clone());
        let mut tasks = JoinSet::new();
        let plane = match &config.nginx {
            Some(nginx) => components.nginx(nginx),
            None => {
                let supervisor = match supervisor {
                    Some(supervisor) => supervisor,
                    None => Supervisor::start(paths.proxy(config)).await?,
                };
                tasks.spawn(supervisor.clone().run());
                Arc::new(Builtin::new(supervisor))
            }
        };
        let router = components.api(paths, plane.clone(), about);
        let Components { shared, controllers, operations, apps, docker, promotion_requests, .. } = components;

        let planes = shared.planes.clone();
        tasks.spawn(planes.sync(failpoints::plane(plane), shared.tables.clone(), shared.records.clone()));
        for (name, runtime) in shared.runtimes.all() {
            let (controllers, runtime) = (controllers.clone(), runtime.clone());
            tasks.spawn(async move { controllers.follow_events(name, runtime).await });
        }
        tasks.spawn({
            let controllers = controllers.clone();
            async move { controllers.follow_records(store).await }
        });
        tasks.spawn(stop_left_over(shared.clone()));
        tasks.spawn(async move { docker.remove_leftover_jobs().await });
        tasks.spawn(registry.run(shared.changes.subscribe()));
        apps.iter().for_each(|app| controllers.wake(&app.key));
        let by = {
            let clock = shared.clock.clone();
            let name = "gapless (promote = auto)";
            move || Requester { name: name.to_owned(), at: clock.now(), secret: crate::secret::secret() }
        };
        tasks.spawn(crate::promotions::carry_out(operations, promotion_requests, by));
        Ok(ControlPlane { router, applications: apps.len(), controllers, _tasks: tasks })
    }
}

/// The addresses on which users' requests arrive.
fn served_on(config: &ServerConfig) -> &[SocketAddr] {
    config.nginx.as_ref().map_or(&config.listen, |nginx| &nginx.listen)
}

fn runtimes(config: &ServerConfig, paths: &Paths, owner: &str) -> Result<(Runtimes, Arc<DockerRuntime>), ServerError> {
    let docker = DockerRuntime::connect(DockerConfig { owner: owner.to_owned(), ..DockerConfig::default() })?;
    let process = ProcessRuntime::new(ProcessConfig {
        root: paths.host_dir.join("processes"),
        owner: owner.to_owned(),
        shim: vec![config.program.clone().into_os_string(), "shim".into()],
    })?;
    let systemd = SystemdRuntime::new(SystemdConfig {
        root: paths.host_dir.join("systemd"),
        units: "/etc/systemd/system".into(),
    })?;
    let docker = Arc::new(docker);
    let runtimes = Runtimes {
        docker: docker.clone(),
        process: Arc::new(process),
        systemd: Arc::new(systemd),
        // sd_booted(3)
        has_systemd: std::path::Path::new("/run/systemd/system").is_dir(),
    };
    Ok((runtimes, docker))
}

/// The name of this installation: random, drawn at the first start.
async fn owner(store: &dyn Store) -> Result<String, ServerError> {
    loop {
        if let Some(entry) = store.get(OWNER_KEY).await? {
            return Ok(String::from_utf8_lossy(&entry.value).into_owned());
        }
        let mut bytes = [0_u8; 8];
        let drawn = std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
        drawn.map_err(|error| ServerError::StateDir { path: "/dev/urandom".into(), error })?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // If another server drew a name at the same time, the next read returns that name.
        store.commit(Txn::new().expect(OWNER_KEY, 0).put(OWNER_KEY, name)).await?;
    }
}

/// Stops instances that run and that no record names, such as one whose start was interrupted by a kill of the server.
async fn stop_left_over(shared: Arc<Shared>) {
    for (runtime_name, runtime) in shared.runtimes.all() {
        let Ok(instances) = runtime.list_all().await else { continue };
        for name in instances.iter().map(|instance| &instance.name) {
            // Read after the listing: a record is written before the instances that it names start.
            let Ok(app) = shared.records.application(&name.placement.key).await else { continue };
            if app.is_none_or(|app| app.record.placement_of(name).is_none()) {
                tracing::warn!(instance = %name, runtime = runtime_name, "leftover instance: no record names it; stopping");
                let _ = runtime.stop(name, LEFT_OVER_GRACE).await;
            }
        }
    }
}
