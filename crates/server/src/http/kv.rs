//! `/v1/kv`: the keys of users, and the published facts.

use super::api::Api;
use super::error::Failure;
use super::extract::{Body, Params};
use crate::registry::keys::KvError;
use axum::Json;
use axum::extract::State;
use gapless_api::{Code, KvChanged, KvPair, KvPairs};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a request waits for a change before it is answered without one.
const WATCH_WITHIN: Duration = Duration::from_secs(60);
/// The maximum number of requests that wait at the same time.
pub const WATCHERS_MAX: usize = 256;

#[derive(Deserialize)]
pub(super) struct ListParams {
    #[serde(default = "everything")]
    prefix: String,
    #[serde(default)]
    after: u64,
}

#[derive(Deserialize)]
pub(super) struct DeleteParams {
    key: String,
}

fn everything() -> String {
    "/".to_owned()
}

#[utoipa::path(get, path = "/v1/kv", params(("prefix" = Option<String>, Query)),
    responses((status = 200, body = KvPairs), (status = 400, body = gapless_api::ApiError)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<KvPairs>, Failure> {
    Ok(Json(api.keys.list(&params.prefix).await?))
}

#[utoipa::path(get, path = "/v1/kv/watch", params(("prefix" = Option<String>, Query), ("after" = Option<u64>, Query)),
    responses((status = 200, body = KvPairs), (status = 400, body = gapless_api::ApiError)))]
pub(super) async fn watch(
    State(api): State<Arc<Api>>,
    Params(params): Params<ListParams>,
) -> Result<Json<KvPairs>, Failure> {
    let too_many =
        |_| Failure::new(Code::Unavailable, format!("{WATCHERS_MAX} requests wait for changes already; retry later"));
    let _permit = Semaphore::try_acquire(&api.watchers).map_err(too_many)?;
    Ok(Json(api.keys.changed(&params.prefix, params.after, WATCH_WITHIN).await?))
}

#[utoipa::path(put, path = "/v1/kv", request_body = KvPair,
    responses((status = 200, body = KvChanged), (status = 400, body = gapless_api::ApiError)))]
pub(super) async fn put(State(api): State<Arc<Api>>, Body(pair): Body<KvPair>) -> Result<Json<KvChanged>, Failure> {
    Ok(Json(KvChanged { revision: api.keys.put(&pair.key, &pair.value).await? }))
}

#[utoipa::path(delete, path = "/v1/kv", params(("key" = String, Query)),
    responses((status = 200, body = KvChanged), (status = 400, body = gapless_api::ApiError)))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Params(params): Params<DeleteParams>,
) -> Result<Json<KvChanged>, Failure> {
    Ok(Json(KvChanged { revision: api.keys.delete(&params.key).await? }))
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Bad(why) => Failure::bad_request(why),
            KvError::Store(gapless_store::StoreError::Invalid(why)) => Failure::bad_request(why),
            KvError::Store(error) => Failure::new(Code::Unavailable, error.to_string()),
        }
    }
}
