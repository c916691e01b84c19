//! `/v1/kv`: keys of the user's own, and the facts that are published.

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

/// How long one waits for a change until what there is is answered.
const WATCH_WITHIN: Duration = Duration::from_secs(60);
/// Those who wait at once.
pub const WATCHERS_MAX: usize = 256;

#[derive(Deserialize)]
pub(super) struct Listed {
    #[serde(default = "everything")]
    prefix: String,
    #[serde(default)]
    after: u64,
}

#[derive(Deserialize)]
pub(super) struct Named {
    key: String,
}

fn everything() -> String {
    "/".to_owned()
}

#[utoipa::path(get, path = "/v1/kv", params(("prefix" = Option<String>, Query)),
    responses((status = 200, body = KvPairs), (status = 400, body = gapless_api::ApiError)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Params(listed): Params<Listed>,
) -> Result<Json<KvPairs>, Failure> {
    Ok(Json(api.keys.list(&listed.prefix).await?))
}

#[utoipa::path(get, path = "/v1/kv/watch", params(("prefix" = Option<String>, Query), ("after" = Option<u64>, Query)),
    responses((status = 200, body = KvPairs), (status = 400, body = gapless_api::ApiError)))]
pub(super) async fn watch(
    State(api): State<Arc<Api>>,
    Params(listed): Params<Listed>,
) -> Result<Json<KvPairs>, Failure> {
    let too_many =
        |_| Failure::new(Code::Unavailable, format!("{WATCHERS_MAX} wait for changes already; ask again later"));
    let _place = Semaphore::try_acquire(&api.watchers).map_err(too_many)?;
    Ok(Json(api.keys.changed(&listed.prefix, listed.after, WATCH_WITHIN).await?))
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
    Params(named): Params<Named>,
) -> Result<Json<KvChanged>, Failure> {
    Ok(Json(KvChanged { revision: api.keys.delete(&named.key).await? }))
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
