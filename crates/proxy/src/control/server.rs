//! The control socket's server: tables in, acknowledgements and counts out.

use super::{Changes, Refusal};
use crate::plane::Plane;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixListener;

/// Bytes of a table: some ten thousand groups fit.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest wait for changes.
const CHANGES_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Serves the control socket for ever.
pub(crate) async fn serve(listener: UnixListener, plane: Arc<Plane>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "control socket: cannot accept; retrying");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let plane = Arc::clone(&plane);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let plane = Arc::clone(&plane);
                async move { Ok::<_, Infallible>(answer(&plane, request).await) }
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "control connection failed");
            }
        });
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(plane: &Plane, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let has_yielded = plane.has_yielded.load(Ordering::Acquire);
    let mut answer = match (request.method(), path) {
        // Nor does it know any more what those have in flight whose place it had taken.
        (&Method::PUT | &Method::PATCH, "/v1/table") | (&Method::GET, "/v1/status") if has_yielded => {
            refuse(plane, StatusCode::MISDIRECTED_REQUEST, "another data plane has replaced this one".to_owned())
        }
        (&Method::PUT, "/v1/table") => match read(plane, request).await {
            Ok(table) => everywhere(plane, plane.put(&table).await).await,
            Err(refused) => *refused,
        },
        (&Method::PATCH, "/v1/table") => match read(plane, request).await {
            Ok(change) => everywhere(plane, plane.patch(&change).await).await,
            Err(refused) => *refused,
        },
        (&Method::PUT, "/v1/yielded/table") if has_yielded => match read(plane, request).await {
            Ok(table) => applied(plane.put(&table).await),
            Err(refused) => *refused,
        },
        (&Method::GET, "/v1/yielded/status") if has_yielded => json(StatusCode::OK, &plane.status()),
        (&Method::POST, "/v1/yield") => {
            plane.has_yielded.store(true, Ordering::Release);
            plane.predecessors.leave();
            plane.stop();
            plane.news();
            json_text(StatusCode::OK, plane.routes.load().to_json())
        }
        (&Method::GET, "/v1/status") => {
            let mut status = plane.status();
            plane.predecessors.add_to(&mut status).await;
            json(StatusCode::OK, &status)
        }
        (&Method::GET, "/v1/changes") => {
            let query = request.uri().query().unwrap_or_default();
            json(StatusCode::OK, &changes(plane, query).await)
        }
        (&Method::POST, "/v1/stop") => {
            plane.stop();
            json(StatusCode::OK, &())
        }
        _ => refuse(plane, StatusCode::NOT_FOUND, format!("there is no {} {path}", request.method())),
    };
    if plane.has_yielded.load(Ordering::Acquire) {
        // Who asks again finds the one that has taken its place.
        answer.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    answer
}

/// The acknowledgement of a table, once those that this data plane has replaced go by it, too.
async fn everywhere(plane: &Plane, result: Result<super::Acknowledgement, Refusal>) -> Answer {
    if result.is_ok()
        && !plane.predecessors.is_empty()
        && let Err(error) = plane.predecessors.apply(&plane.routes.load().to_json()).await
    {
        return refuse(plane, StatusCode::SERVICE_UNAVAILABLE, error);
    }
    applied(result)
}

async fn changes(plane: &Plane, query: &str) -> Changes {
    let number = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<u64>().ok())
    };
    let seen = number("seen").unwrap_or(0);
    let timeout = Duration::from_millis(number("timeout_ms").unwrap_or(0)).min(CHANGES_TIMEOUT_MAX);
    let mut sequence = plane.sequence.subscribe();
    // Both ends of the wait, news or none in time, are told by the number.
    let _ = tokio::time::timeout(timeout, sequence.wait_for(|sequence| *sequence != seen)).await;
    let sequence = *plane.sequence.borrow();
    Changes { sequence }
}

async fn read<T: DeserializeOwned>(plane: &Plane, request: Request<Incoming>) -> Result<T, Box<Answer>> {
    let bad = |error: String| Box::new(refuse(plane, StatusCode::BAD_REQUEST, error));
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let bytes = body.map_err(|error| bad(error.to_string()))?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))
}

fn applied(result: Result<super::Acknowledgement, Refusal>) -> Answer {
    match result {
        Ok(applied) => json(StatusCode::OK, &applied),
        Err(refusal) => json(StatusCode::CONFLICT, &refusal),
    }
}

fn refuse(plane: &Plane, status: StatusCode, error: String) -> Answer {
    json(status, &Refusal { error, version: plane.routes.load().version })
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => json_text(status, bytes),
        Err(error) => json_text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    }
}

fn json_text(status: StatusCode, bytes: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(bytes)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}
