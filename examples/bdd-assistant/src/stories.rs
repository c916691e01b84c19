//! `/api/stories`.

// The error is the response itself, as usual in axum's handlers.
#![allow(clippy::result_large_err)]

use crate::app::App;
use crate::store::{Refused, Story, Text};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

const TITLE_LENGTH_MAX: usize = 200;
const TEXT_LENGTH_MAX: usize = 2000;
const SCENARIOS_MAX: usize = 50;

type Body = Result<Json<Text>, JsonRejection>;

pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<Story>>, Response> {
    app.store.all().map(Json).map_err(|error| refused(Refused::Io(error)))
}

pub async fn create(State(app): State<Arc<App>>, body: Body) -> Result<Response, Response> {
    let story = app.store.add(checked(body)?).map_err(refused)?;
    let location = format!("/api/stories/{}", story.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location), etag(&story)], Json(story)).into_response())
}

pub async fn show(State(app): State<Arc<App>>, Path(id): Path<u64>) -> Result<Response, Response> {
    let stories = app.store.all().map_err(|error| refused(Refused::Io(error)))?;
    let story = stories.into_iter().find(|story| story.id == id).ok_or_else(|| refused(Refused::Missing))?;
    Ok(([etag(&story)], Json(story)).into_response())
}

pub async fn replace(
    State(app): State<Arc<App>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let story = app.store.replace(id, wanted_version(&headers)?, checked(body)?).map_err(refused)?;
    Ok(([etag(&story)], Json(story)).into_response())
}

pub async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Result<StatusCode, Response> {
    app.store.remove(id, wanted_version(&headers)?).map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked(body: Body) -> Result<Text, Response> {
    let Json(text) = body.map_err(|rejection| problem(StatusCode::UNPROCESSABLE_ENTITY, &rejection.body_text()))?;
    let bad = |message: &str| Err(problem(StatusCode::UNPROCESSABLE_ENTITY, message));
    if text.title.trim().is_empty() {
        return bad("a story needs a title");
    }
    if text.title.chars().count() > TITLE_LENGTH_MAX {
        return bad("the title is longer than 200 characters");
    }
    if text.scenarios.len() > SCENARIOS_MAX {
        return bad("a story has at most 50 scenarios");
    }
    if texts(&text).iter().any(|text| text.chars().count() > TEXT_LENGTH_MAX) {
        return bad("a text is longer than 2000 characters");
    }
    Ok(text)
}

fn texts(text: &Text) -> Vec<&str> {
    let scenarios = text.scenarios.iter().flat_map(|scenario| [&scenario.given, &scenario.when, &scenario.then]);
    [&text.role, &text.feature, &text.benefit].into_iter().chain(scenarios).map(String::as_str).collect()
}

fn etag(story: &Story) -> (header::HeaderName, String) {
    (header::ETAG, format!("\"{}\"", story.version))
}

/// The version that the client has read (RFC 9110, section 13.1.1).
fn wanted_version(headers: &HeaderMap) -> Result<Option<u64>, Response> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let version = value.to_str().ok().and_then(|text| text.trim_matches('"').parse().ok());
    version.map(Some).ok_or_else(|| problem(StatusCode::BAD_REQUEST, "If-Match is not the ETag of a story"))
}

fn refused(refused: Refused) -> Response {
    match refused {
        Refused::Missing => problem(StatusCode::NOT_FOUND, "there is no such story"),
        Refused::Changed => {
            problem(StatusCode::PRECONDITION_FAILED, "somebody changed the story meanwhile; load it again")
        }
        Refused::Io(error) => {
            eprintln!("reading or writing the stories failed: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the stories cannot be read or written at the moment")
        }
    }
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
