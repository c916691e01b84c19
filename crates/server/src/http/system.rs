//! `/v1/server`, `/v1/doctor` and `/v1/store/export`: gapless itself.

use super::api::Api;
use super::error::Failure;
use super::extract::Params;
use crate::backup::export_keys;
use axum::Json;
use axum::extract::State;
use gapless_api::{Check, ServerInfo};
use std::sync::Arc;

#[utoipa::path(get, path = "/v1/server", responses((status = 200, body = ServerInfo)))]
pub(super) async fn server(State(api): State<Arc<Api>>) -> Json<ServerInfo> {
    Json(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: api.started_at,
        state_dir: api.state_dir.display().to_string(),
        planes: vec![api.plane.info().await],
        name: api.about.name.clone(),
        store: api.about.store.clone(),
        role: api.about.role,
        leader: api.about.leader.clone(),
    })
}

#[utoipa::path(get, path = "/v1/doctor", responses((status = 200, body = Vec<Check>)))]
pub(super) async fn doctor(State(api): State<Arc<Api>>) -> Result<Json<Vec<Check>>, Failure> {
    let mut checks = Vec::new();
    let records = &api.shared.records;
    // A store that can be read need not accept writes. A follower writes nothing.
    let writable = match api.about.leader {
        Some(_) => Ok(()),
        None => records.check().await.map(drop),
    };
    let state = match writable.and(records.applications().await) {
        Ok((revision, apps)) => Ok(format!("{} applications, revision {revision}, in {}", apps.len(), api.about.store)),
        Err(error) => Err(error.to_string()),
    };
    checks.push(check("state", state));
    if let Some(leader) = &api.about.leader {
        checks.push(check("leader", Ok(format!("{leader} leads; this server, {}, follows", api.about.name))));
        // The leader reports about the instances and the proxy of its host.
        return Ok(Json(checks));
    }
    for (name, runtime) in api.shared.runtimes.all() {
        checks.push(check(name, runtime.check().await.map_err(|error| error.to_string())));
    }
    checks.push(check("proxy", api.plane.check().await));
    Ok(Json(checks))
}

fn check(name: &str, result: Result<String, String>) -> Check {
    let is_ok = result.is_ok();
    Check { name: name.to_owned(), is_ok, message: result.unwrap_or_else(|why| why) }
}

/// The free bytes of this host: of memory, and of the disk with the state folder.
pub(super) fn free(state_dir: &std::path::Path) -> (Option<u64>, Option<u64>) {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let disk = rustix::fs::statvfs(state_dir).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    (kilobytes.map(|kilobytes| kilobytes * 1024), disk)
}

#[derive(serde::Deserialize)]
pub(super) struct ExportParams {
    /// Prefixes of keys of users, separated by commas.
    #[serde(default)]
    kv: String,
}

#[utoipa::path(get, path = "/v1/store/export", params(("kv" = Option<String>, Query)),
    responses((status = 200, content_type = "application/jsonl", body = String)))]
pub(super) async fn export(
    State(api): State<Arc<Api>>,
    Params(params): Params<ExportParams>,
) -> Result<impl axum::response::IntoResponse, Failure> {
    let prefixes: Vec<String> = params.kv.split(',').filter(|prefix| !prefix.is_empty()).map(str::to_owned).collect();
    let lines = export_keys(&api.keys, api.about.is_shared, &prefixes).await?;
    let lines = futures_util::stream::iter(lines.map(Ok::<_, std::convert::Infallible>));
    let header = [(axum::http::header::CONTENT_TYPE, "application/jsonl")];
    Ok((header, axum::body::Body::from_stream(lines)))
}
