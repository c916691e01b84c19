//! Extractors: the parts of a request that handlers use. Each answers a bad request with the JSON error of the API, so
//! that no handler can forget it.

use super::api::Api;
use super::error::Failure;
use super::peer::Caller;
use crate::secret::secret;
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use gapless_core::command::Requester;
use gapless_core::{AppKey, AppName, EnvName, NameError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The application and environment of the path.
pub(super) struct Key(pub(super) AppKey);

/// The application and environment of the path, and the number of one of its deployments or releases.
pub(super) struct Numbered {
    pub(super) key: AppKey,
    pub(super) number: u64,
}

/// The JSON body.
pub(super) struct Body<T>(pub(super) T);

/// The query parameters.
pub(super) struct Params<T>(pub(super) T);

/// The person or server that sent the request, with the time and a new secret for what the request may create.
pub(super) struct By(pub(super) Requester);

#[derive(Deserialize)]
struct KeyPath {
    app: String,
    env: String,
}

#[derive(Deserialize)]
struct NumberedPath {
    app: String,
    env: String,
    number: u64,
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Failure> {
    let Path(path) = Path::<T>::from_request_parts(parts, state)
        .await
        .map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
    Ok(path)
}

fn parse_key(app: &str, env: &str) -> Result<AppKey, Failure> {
    let bad = |error: NameError| Failure::bad_request(error.to_string());
    let app: AppName = app.parse().map_err(bad)?;
    let env: EnvName = env.parse().map_err(bad)?;
    Ok(AppKey::new(app, env))
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let KeyPath { app, env } = path(parts, state).await?;
        Ok(Key(parse_key(&app, &env)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Numbered {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let NumberedPath { app, env, number } = path(parts, state).await?;
        Ok(Numbered { key: parse_key(&app, &env)?, number })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let read = Json::from_request(request, state).await;
        read.map(|Json(body)| Body(body)).map_err(|rejection| Failure::bad_request(rejection.body_text()))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(params)| Params(params)).map_err(|rejection| Failure::bad_request(rejection.body_text()))
    }
}

impl FromRequestParts<Arc<Api>> for By {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Failure> {
        Ok(By(Requester { name: Caller::name_in(&parts.extensions), at: api.shared.clock.now(), secret: secret() }))
    }
}
