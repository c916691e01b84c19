//! The HTTP API, `/v1`: JSON on a Unix socket.

mod api;
mod applications;
mod deployments;
mod error;
mod extract;
mod gate;
mod kv;
mod listener;
mod logs;
mod openapi;
mod peer;
mod serve;
mod system;

pub use api::{About, Api};
pub(crate) use error::Failure;
pub use gapless_api::Role;
pub use gate::ApiGate;
pub use kv::WATCHERS_MAX;
pub use listener::{ApiSocket, ListenError};
pub use openapi::document as openapi_document;
pub use peer::{Caller, FORWARDED_BY};
pub use serve::serve_until;

use axum::Router;
use axum::routing::{get, post, put};
use error::not_found_route;
use std::sync::Arc;

/// The maximum size of a request body, in bytes.
const BODY_BYTES_MAX: usize = 2 << 20;

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
