//! `/v1/applications`: what there is, and stop, start and remove.

use super::error::Failure;
use super::{Api, key};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use gapless_api::{ApplicationView, InstanceView, SlotState, SlotView};
use gapless_core::application::{Application, Desired, Idle, Placement};
use gapless_core::spec::Workload;
use gapless_core::{Deployment, RouteGroup};
use std::sync::Arc;

#[utoipa::path(get, path = "/v1/applications", responses((status = 200, body = Vec<ApplicationView>)))]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Vec<ApplicationView>>, Failure> {
    let (_, apps) = api.shared.records.applications().await?;
    let mut views = Vec::with_capacity(apps.len());
    for app in apps {
        let active = api.operations.active(&app).await?;
        views.push(api.view(app, active));
    }
    Ok(Json(views))
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 404, body = gapless_api::ApiError)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
) -> Result<Json<ApplicationView>, Failure> {
    let key = key(path)?;
    let app = api.operations.application(&key).await?.record;
    let active = api.operations.active(&app).await?;
    Ok(Json(api.view(app, active)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/stop", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn stop(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
) -> Result<Json<ApplicationView>, Failure> {
    let app = api.operations.stop(&key(path)?).await?;
    Ok(Json(api.view(app, None)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/start", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn start(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
) -> Result<Json<ApplicationView>, Failure> {
    let app = api.operations.start(&key(path)?).await?;
    Ok(Json(api.view(app, None)))
}

#[utoipa::path(delete, path = "/v1/applications/{app}/{env}", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 202), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    api.operations.remove(&key(path)?).await?;
    Ok(StatusCode::ACCEPTED)
}

impl Api {
    fn view(&self, app: Application, active: Option<Deployment>) -> ApplicationView {
        let traffic = self.shared.planes.traffic(&app.key);
        let slot_view = |placement: &Placement, state: SlotState| SlotView {
            slot: placement.id.slot,
            state,
            release: placement.release,
            deployment: placement.id.deployment,
            source: source(&placement.spec.workload),
            artifact: placement.artifact.clone(),
            instances: placement
                .replicas
                .iter()
                .map(|replica| InstanceView {
                    name: placement.id.instance(replica.number).to_string(),
                    address: replica.address,
                    in_rotation: replica.in_rotation && matches!(state, SlotState::Live | SlotState::Fallback),
                })
                .collect(),
            traffic: traffic.get(&placement.id).copied().unwrap_or_default(),
            ready_until: match placement.idle {
                Idle::Standby { until } if state == SlotState::Standby => Some(until),
                _ => None,
            },
        };
        let in_slots = app.slots.values().map(|placement| slot_view(placement, slot_state(&app, placement)));
        let leaving = app.leaving.iter().map(|placement| slot_view(placement, SlotState::Leaving));
        let slots = in_slots.chain(leaving).collect();
        let facts = gapless_core::Facts { planes: self.shared.planes.facts(&app.key), ..Default::default() };
        let behind = facts.planes_behind(RouteGroup::derive(&app).as_ref()).into_iter().map(str::to_owned).collect();
        ApplicationView {
            desired: app.desired,
            live: app.live,
            slots,
            active,
            queue: app.queue.iter().map(|claim| claim.deployment).collect(),
            hosts: app.hosts(),
            previous_release: app.previous_release,
            planes_behind: behind,
            app: app.key.app,
            env: app.key.env,
        }
    }
}

fn slot_state(app: &Application, placement: &Placement) -> SlotState {
    match (app.live == Some(placement.id.slot), app.desired, placement.idle) {
        (true, Desired::Running, _) => SlotState::Live,
        (true, Desired::Stopped | Desired::Removed, _) => SlotState::Stopped,
        (false, _, Idle::Candidate) => SlotState::Candidate,
        (false, _, Idle::Fallback) => SlotState::Fallback,
        (false, _, Idle::Standby { .. }) => SlotState::Standby,
    }
}

/// The image or the program, as it was written.
fn source(workload: &Workload) -> String {
    match workload {
        Workload::Docker(container) => container.image.clone(),
        Workload::Process(process) => process.command.join(" "),
    }
}
