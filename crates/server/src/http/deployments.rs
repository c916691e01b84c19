//! `/v1/applications/{app}/{env}/deployments`, and all requests that change which release is live.

use super::api::Api;
use super::error::Failure;
use super::extract::{Body, By, Key, Numbered, Params};
use crate::controller::GateLine;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use gapless_api::{
    Code, DeployRequest, FollowEvent, OutputLine, PlanRequest, PlanView, ProgressView, PromoteRequest, RejectRequest,
    RollbackRequest, SteerRequest,
};
use gapless_core::{AppKey, Deployment, Release, Spec};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// The maximum and the default number of deployments in one answer.
const PAGE_MAX: usize = 100;
const PAGE_DEFAULT: usize = 20;
/// The interval of keep-alive messages, by which a dead connection is noticed.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/deployments", request_body = DeployRequest,
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 202, body = Deployment), (status = 409, body = gapless_api::ApiError), (status = 422, body = gapless_api::ApiError)))]
pub(super) async fn deploy(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Key(key): Key,
    Body(request): Body<DeployRequest>,
) -> Result<(StatusCode, Json<Deployment>), Failure> {
    check(&request.spec, &key)?;
    for spec in &request.then {
        check(spec, &AppKey::new(key.app.clone(), spec.env.clone()))?;
    }
    let deployment = api.operations.deploy(&key, request.spec, request.then, request.force, &requester).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/promotions", request_body = PromoteRequest,
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 202, body = Deployment), (status = 409, body = gapless_api::ApiError), (status = 422, body = gapless_api::ApiError)))]
pub(super) async fn promote(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Key(key): Key,
    Body(request): Body<PromoteRequest>,
) -> Result<(StatusCode, Json<Deployment>), Failure> {
    check(&request.spec, &key)?;
    let deployment = api
        .operations
        .promote(&key, &request.from, request.spec, request.then.into_iter().map(Arc::new).collect(), &requester)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/plan", request_body = PlanRequest,
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = PlanView), (status = 422, body = gapless_api::ApiError)))]
pub(super) async fn plan(
    State(api): State<Arc<Api>>,
    Key(key): Key,
    Body(request): Body<PlanRequest>,
) -> Result<Json<PlanView>, Failure> {
    check(&request.spec, &key)?;
    let plan = api.operations.plan(&key, &request.spec).await?;
    let (memory_free_bytes, disk_free_bytes) = super::system::free(&api.state_dir);
    Ok(Json(PlanView { plan, memory_free_bytes, disk_free_bytes }))
}

/// Checks that the specification is for `key`, and valid: clients are not trusted.
fn check(spec: &Spec, key: &AppKey) -> Result<(), Failure> {
    if spec.app != key.app || spec.env != key.env {
        return Err(Failure::bad_request("the configuration is for another application or environment than the path"));
    }
    spec.validate().map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::new(Code::BadConfiguration, errors.join("\n"))
    })
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/canary", request_body = SteerRequest,
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 200, body = Deployment), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn steer(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Key(key): Key,
    Body(request): Body<SteerRequest>,
) -> Result<Json<Deployment>, Failure> {
    Ok(Json(api.operations.steer(&key, request.steer, &requester).await?))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/rollback", request_body = RollbackRequest,
    params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 202, body = Deployment), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn rollback(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Key(key): Key,
    Body(request): Body<RollbackRequest>,
) -> Result<(StatusCode, Json<Deployment>), Failure> {
    let deployment = api.operations.rollback(&key, request.release, request.force, &requester).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/abort", params(("app" = String, Path), ("env" = String, Path)),
    responses((status = 202, body = Deployment), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn abort(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Key(key): Key,
) -> Result<(StatusCode, Json<Deployment>), Failure> {
    let deployment = api.operations.abort(&key, &requester).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/deployments/{number}/approve",
    params(("app" = String, Path), ("env" = String, Path), ("number" = u64, Path)),
    responses((status = 200, body = Deployment), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn approve(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Numbered { key, number }: Numbered,
) -> Result<Json<Deployment>, Failure> {
    Ok(Json(api.operations.approve(&key, number, &requester).await?))
}

#[utoipa::path(post, path = "/v1/applications/{app}/{env}/deployments/{number}/reject", request_body = RejectRequest,
    params(("app" = String, Path), ("env" = String, Path), ("number" = u64, Path)),
    responses((status = 200, body = Deployment), (status = 409, body = gapless_api::ApiError)))]
pub(super) async fn reject(
    State(api): State<Arc<Api>>,
    By(requester): By,
    Numbered { key, number }: Numbered,
    Body(request): Body<RejectRequest>,
) -> Result<Json<Deployment>, Failure> {
    Ok(Json(api.operations.reject(&key, number, &request.reason, &requester).await?))
}

#[derive(Deserialize)]
pub(super) struct Page {
    before: Option<u64>,
    limit: Option<usize>,
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}/deployments",
    params(("app" = String, Path), ("env" = String, Path), ("before" = Option<u64>, Query), ("limit" = Option<usize>, Query)),
    responses((status = 200, body = Vec<Deployment>)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Key(key): Key,
    Params(page): Params<Page>,
) -> Result<Json<Vec<Deployment>>, Failure> {
    api.operations.application(&key).await?;
    let limit = page.limit.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX);
    Ok(Json(api.shared.records.deployments(&key, page.before.unwrap_or(u64::MAX), limit).await?))
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}/deployments/{number}",
    params(("app" = String, Path), ("env" = String, Path), ("number" = u64, Path)),
    responses((status = 200, body = Deployment), (status = 404, body = gapless_api::ApiError)))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Numbered { key, number }: Numbered,
) -> Result<Json<Deployment>, Failure> {
    Ok(Json(api.operations.deployment(&key, number).await?.record))
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}/releases/{number}",
    params(("app" = String, Path), ("env" = String, Path), ("number" = u64, Path)),
    responses((status = 200, body = Release), (status = 404, body = gapless_api::ApiError)))]
pub(super) async fn release(
    State(api): State<Arc<Api>>,
    Numbered { key, number }: Numbered,
) -> Result<Json<Release>, Failure> {
    Ok(Json(api.operations.release(&key, number).await?.without_secrets()))
}

#[utoipa::path(get, path = "/v1/applications/{app}/{env}/deployments/{number}/events",
    params(("app" = String, Path), ("env" = String, Path), ("number" = u64, Path)),
    responses((status = 200, content_type = "text/event-stream", body = FollowEvent)))]
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Numbered { key, number }: Numbered,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    api.operations.deployment(&key, number).await?;
    let follower = DeploymentFollower {
        changes: api.shared.changes.subscribe(),
        outputs: api.shared.outputs.subscribe(),
        api,
        key,
        number,
        lines: Vec::new(),
        last: None,
        has_ended: false,
    };
    let stream = futures_util::stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok(Event::default().json_data(event).unwrap_or_default()), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_EVERY)))
}

/// A client that follows a deployment.
struct DeploymentFollower {
    api: Arc<Api>,
    key: AppKey,
    number: u64,
    changes: tokio::sync::broadcast::Receiver<AppKey>,
    outputs: tokio::sync::broadcast::Receiver<GateLine>,
    /// Lines that are not sent yet.
    lines: Vec<OutputLine>,
    last: Option<FollowEvent>,
    has_ended: bool,
}

impl From<GateLine> for OutputLine {
    fn from(line: GateLine) -> Self {
        OutputLine { gate: line.gate, line: line.line }
    }
}

impl DeploymentFollower {
    async fn next(&mut self) -> Option<FollowEvent> {
        if self.has_ended {
            return None;
        }
        loop {
            let deployment = self.api.operations.deployment(&self.key, self.number).await.ok()?.record;
            let progress = self.api.shared.progress.of(&self.key).map(|progress| ProgressView {
                step: progress.step,
                done_bytes: progress.done_bytes,
                total_bytes: progress.total_bytes,
            });
            let event = FollowEvent { deployment, progress, output: self.output() };
            if !event.output.is_empty() || self.last.as_ref() != Some(&event) {
                self.has_ended = event.deployment.phase.is_end();
                self.last = Some(event.clone());
                return Some(event);
            }
            self.wait().await?;
        }
    }

    /// Waits for a change or a line of output; `None` when there can be no more.
    async fn wait(&mut self) -> Option<()> {
        loop {
            tokio::select! {
                biased;
                changed = self.changes.recv() => match changed {
                    Ok(key) if key == self.key => return Some(()),
                    // Missed changes are found by reading again.
                    Err(RecvError::Lagged(_)) => return Some(()),
                    Ok(_) => {}
                    Err(RecvError::Closed) => return None,
                },
                line = self.outputs.recv() => match line {
                    Ok(line) if self.is_of_this(&line) => {
                        self.lines.push(line.into());
                        return Some(());
                    }
                    Err(RecvError::Closed) => return None,
                    // Missed lines are lost to this client, but the last lines are in the record.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                },
            }
        }
    }

    /// Takes the lines of output since the last call.
    fn output(&mut self) -> Vec<OutputLine> {
        let mut lines = std::mem::take(&mut self.lines);
        loop {
            match self.outputs.try_recv() {
                Ok(line) if self.is_of_this(&line) => lines.push(line.into()),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return lines,
            }
        }
    }

    fn is_of_this(&self, line: &GateLine) -> bool {
        line.key == self.key && line.deployment == self.number
    }
}
