//! The HTTP API: JSON on a Unix socket, `/v1`.

mod applications;
mod deployments;
mod error;
mod front;
mod kv;
mod listener;
mod logs;
mod openapi;
mod system;

pub(crate) use error::Failure;
pub use front::Front;
pub use gapless_api::Role;
pub use listener::{ApiSocket, FORWARDED_BY, ListenError, Peer};
pub use openapi::document as openapi_document;

use crate::controller::Shared;
use crate::kv::UserKeys;
use crate::operations::Operations;
use crate::planes::HostPlane;
use axum::Router;
use axum::routing::{get, post, put};
use error::not_found_route;
use gapless_core::command::Requester;
use gapless_core::{AppKey, AppName, EnvName, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 2 << 20;

/// What the handlers work with.
pub struct Api {
    /// What the controllers work with.
    pub shared: Arc<Shared>,
    /// What people ask for.
    pub operations: Operations,
    /// The host's data plane.
    pub proxy: HostPlane,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// Since when the server runs.
    pub started_at: Timestamp,
    /// What the server is among several.
    pub about: About,
    /// Keys of the user's own, and published facts.
    pub keys: UserKeys,
    /// Places for those who wait for changes of them.
    pub watchers: Semaphore,
}

impl Api {
    /// Places for those who wait for changes.
    #[must_use]
    pub fn watchers() -> Semaphore {
        Semaphore::new(kv::WATCHERS_MAX)
    }
}

/// What a server is among several.
#[derive(Debug, Clone)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Where the records are, for people.
    pub store: String,
    /// Whether the store is other programs', too.
    pub is_shared: bool,
    /// Whether it leads.
    pub role: Role,
    /// The name of the server that leads, where it is another one.
    pub leader: Option<String>,
}

/// The routes of the API.
pub fn router(api: Arc<Api>) -> Router {
    let application = "/v1/applications/{app}/{env}";
    let at = |rest: &str| format!("{application}{rest}");
    Router::new()
        .route("/v1/server", get(system::server))
        .route("/v1/doctor", get(system::doctor))
        .route("/v1/store/export", get(system::export))
        .route("/v1/kv", get(kv::list).put(kv::put).delete(kv::delete))
        .route("/v1/kv/watch", get(kv::watch))
        .route("/v1/openapi.json", get(openapi::serve))
        .route("/v1/applications", get(applications::list))
        .route(application, get(applications::show).delete(applications::remove))
        .route(&at("/stop"), post(applications::stop))
        .route(&at("/start"), post(applications::start))
        .route(&at("/maintenance"), put(applications::begin_maintenance).delete(applications::end_maintenance))
        .route(&at("/logs"), get(logs::logs))
        .route(&at("/deployments"), get(deployments::list).post(deployments::deploy))
        .route(&at("/deployments/{number}"), get(deployments::show))
        .route(&at("/deployments/{number}/events"), get(deployments::events))
        .route(&at("/releases/{number}"), get(deployments::release))
        .route(&at("/deployments/{number}/approve"), post(deployments::approve))
        .route(&at("/deployments/{number}/reject"), post(deployments::reject))
        .route(&at("/canary"), post(deployments::steer))
        .route(&at("/plan"), post(deployments::plan))
        .route(&at("/promotions"), post(deployments::promote))
        .route(&at("/rollback"), post(deployments::rollback))
        .route(&at("/abort"), post(deployments::abort))
        .fallback(not_found_route)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

impl Api {
    fn by(&self, peer: &listener::Peer) -> Requester {
        Requester { name: peer.name(), at: self.shared.clock.now(), secret: secret() }
    }
}

/// A text of 128 random bits.
pub(crate) fn secret() -> String {
    let mut bytes = [0_u8; 16];
    // It blocks only in the first moments after the host's start, and never fails after them.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key((app, env): (String, String)) -> Result<AppKey, Failure> {
    let bad = |error: gapless_core::NameError| Failure::bad_request(error.to_string());
    let app: AppName = app.parse().map_err(bad)?;
    let env: EnvName = env.parse().map_err(bad)?;
    Ok(AppKey::new(app, env))
}
