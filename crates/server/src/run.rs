//! Starts a server and runs it until it is stopped or loses the lead.

#[cfg(feature = "etcd")]
use crate::cluster;
use crate::config::{Paths, ServerConfig, StoreConfig};
use crate::control_plane::ControlPlane;
use crate::error::{Ended, ServerError};
use crate::http::{About, ApiGate, Role, serve_until};
use gapless_store::{SqliteStore, Store};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

/// Runs the server until `stop` completes. The proxy and all instances keep running after the end. `ready` is called
/// when the API answers.
///
/// # Errors
/// If the server cannot start.
pub async fn run(
    config: ServerConfig,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended, ServerError> {
    let state_dir = prepare(&config.state_dir)?;
    let paths = Paths {
        host_dir: config.host_dir.as_ref().map_or_else(|| Ok(state_dir.clone()), prepare)?,
        state_dir,
        started_at: crate::clock::Clock::system().now(),
    };
    match &config.store {
        StoreConfig::Sqlite => {
            let file = paths.state_dir.join("state.db");
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file)?);
            let listener = config.socket.open().await?;
            let about = About {
                name: config.name.clone(),
                store: format!("SQLite in {}", file.display()),
                is_shared: false,
                role: Role::Leader,
                leader: None,
            };
            let plane = ControlPlane::start(&config, &paths, store, None, about).await?;
            let gate = ApiGate::closed("the server is starting");
            gate.open(plane.router.clone());
            let socket = config.socket.path().display();
            tracing::info!(%socket, applications = plane.applications, "server is ready");
            ready();
            let stopped = async {
                stop.await;
                tracing::info!("server is stopping: requested; the proxy and all instances keep running");
                Ok(Ended::Stopped)
            };
            serve_until(stopped, listener, &gate).await
        }
        #[cfg(not(feature = "etcd"))]
        StoreConfig::Etcd(_) => Err(ServerError::BuiltWithoutEtcd),
        #[cfg(feature = "etcd")]
        StoreConfig::Etcd(etcd) => cluster::run(&config, &paths, etcd, ready, stop).await,
    }
}

fn prepare(folder: &PathBuf) -> Result<PathBuf, ServerError> {
    use std::os::unix::fs::PermissionsExt;
    let unusable = |error| ServerError::StateDir { path: folder.clone(), error };
    gapless_store::make_folder(folder).map_err(unusable)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    std::fs::canonicalize(folder).map_err(unusable)
}
