//! `/v1/applications`: list, show, stop, start, maintain and remove applications.

use super::api::Api;
use super::error::Failure;
use super::extract::{Body, By, Key};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use gapless_api::{ApplicationView, InstanceView, MaintenanceRequest, SlotState, SlotView};
use gapless_core::application::{Application, Desired, Idle, Placement};
use gapless_core::validate::ERROR_PAGE_BYTES_MAX;
use gapless_core::{Deployment, RouteGroup};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits until the data planes apply changed routes.
const ROUTED_WITHIN: Duration = Duration::from_secs(5);

#[utoipa::path(get, path = "/v1/applications", responses((status = 200, body = Vec<ApplicationView>)))]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Vec<ApplicationView>>, Failure> {
    let (_, apps) = api.shared.records.applications().await?;
    let mut views = Vec::with_capacity(apps.len());
    for app in apps {
        // The deployment may have ended since the application was read.
        let active = api.operations.active(&app).await?.filter(|active| !active.phase.is_end());
        views.push(api.view(app, active));
    }
    Ok(Json(views))
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 404, body = gapless_api::ApiError)))]
pub(super) async fn show(State(api): State<Arc<Api>>, Key(key): Key) -> Result<Json<ApplicationView>, Failure> {
    let (app, active) = api.operations.application_and_active(&key).await?;
    Ok(Json(api.view(app.record, active)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/stop", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn stop(State(api): State<Arc<Api>>, Key(key): Key) -> Result<Json<ApplicationView>, Failure> {
    let app = api.operations.stop(&key).await?;
    Ok(Json(api.view_routed(app).await))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/start", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn start(State(api): State<Arc<Api>>, Key(key): Key) -> Result<Json<ApplicationView>, Failure> {
    let app = api.operations.start(&key).await?;
    Ok(Json(api.view(app, None)))
}

#[utoipa::path(put, path = "/v1/applications/{app}/{env}/maintenance", request_body = MaintenanceRequest,
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn begin_maintenance(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Key(key): Key,
    Body(request): Body<MaintenanceRequest>,
) -> Result<Json<ApplicationView>, Failure> {
    if request.page.as_ref().is_some_and(|page| page.len() > ERROR_PAGE_BYTES_MAX) {
        return Err(Failure::bad_request(format!("the page is larger than {ERROR_PAGE_BYTES_MAX} bytes")));
    }
    let app = api.operations.begin_maintenance(&key, request.page, &requester).await?;
    Ok(Json(api.view_routed(app).await))
}

#[utoipa::path(delete, path = "/v1/applications/{app}/{env}/maintenance",
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = ApplicationView), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn end_maintenance(
    State(api): State<Arc<Api>>,
    Key(key): Key,
) -> Result<Json<ApplicationView>, Failure> {
    let app = api.operations.end_maintenance(&key).await?;
    Ok(Json(api.view_routed(app).await))
}

#[utoipa::path(delete, path = "/v1/applications/{app}/{env}", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 202), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn remove(State(api): State<Arc<Api>>, Key(key): Key) -> Result<StatusCode, Failure> {
    api.operations.remove(&key).await?;
    Ok(StatusCode::ACCEPTED)
}

impl Api {
    /// The view of an application whose routes have just changed, once the data planes apply them. Without a data plane
    /// that answers, the view is returned after [`ROUTED_WITHIN`].
    async fn view_routed(&self, app: Application) -> ApplicationView {
        let applied = self.shared.planes.wait_until_applied(&app.key, &self.shared.tables);
        let _ = tokio::time::timeout(ROUTED_WITHIN, applied).await;
        self.view(app, None)
    }

    fn view(&self, app: Application, active: Option<Deployment>) -> ApplicationView {
        let traffic = self.shared.planes.traffic(&app.key);
        let slot_view = |placement: &Placement, state: SlotState| SlotView {
            slot: placement.id.slot,
            state,
            release: placement.release,
            deployment: placement.id.deployment,
            source: gapless_core::plan::source(&placement.spec),
            artifacts: placement.artifacts.clone(),
            instances: placement
                .replicas
                .iter()
                .map(|replica| InstanceView {
                    name: placement.name_of(replica).to_string(),
                    service: replica.service.clone(),
                    address: replica.address,
                    in_rotation: replica.in_rotation
                        && matches!(state, SlotState::Live | SlotState::Fallback | SlotState::Canary),
                })
                .collect(),
            traffic: traffic.get(&placement.id).copied().unwrap_or_default(),
            ready_until: match placement.idle {
                Idle::Standby { until, .. } if matches!(state, SlotState::Standby | SlotState::Parked) => Some(until),
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
            maintenance: app.maintenance.clone(),
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
        (false, _, Idle::Candidate) if placement.share.is_some() => SlotState::Canary,
        (false, _, Idle::Candidate) => SlotState::Candidate,
        (false, _, Idle::Fallback) => SlotState::Fallback,
        (false, _, Idle::Standby { .. }) if placement.parked => SlotState::Parked,
        (false, _, Idle::Standby { .. }) => SlotState::Standby,
    }
}
