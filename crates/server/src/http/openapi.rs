//! The description of the API, generated from the handlers and their types.

use axum::response::IntoResponse;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(title = "gapless", description = "Zero-downtime, blue-green continuous deployment."),
    paths(
        super::system::server,
        super::system::doctor,
        super::system::export,
        super::applications::list,
        super::applications::show,
        super::applications::stop,
        super::applications::start,
        super::applications::begin_maintenance,
        super::applications::end_maintenance,
        super::applications::remove,
        super::logs::logs,
        super::kv::list,
        super::kv::watch,
        super::kv::put,
        super::kv::delete,
        super::deployments::deploy,
        super::deployments::list,
        super::deployments::show,
        super::deployments::events,
        super::deployments::release,
        super::deployments::promote,
        super::deployments::plan,
        super::deployments::approve,
        super::deployments::reject,
        super::deployments::steer,
        super::deployments::rollback,
        super::deployments::abort,
    )
)]
struct Document;

/// The OpenAPI document, as JSON.
#[must_use]
pub fn document() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

pub(super) async fn serve() -> impl IntoResponse {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], document())
}
