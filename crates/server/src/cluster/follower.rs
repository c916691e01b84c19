//! The API of a follower: answers reads from the store, and forwards all other requests to the leader.

use super::member::Member;
use super::peers::Outgoing;
use crate::http::{Caller, FORWARDED_BY, Failure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use gapless_api::Code;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tower_service::Service;

/// How long the leader may take to accept a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long the leader may take to start its answer: longer than clients wait, except for polled requests.
const ANSWER_DEADLINE: Duration = Duration::from_secs(75);

/// The state of a follower's API.
#[derive(Clone)]
pub(super) struct Follower {
    local: Router,
    leader: Arc<Member>,
    host: Arc<str>,
    outgoing: Option<Outgoing>,
}

/// The API of a follower: `local` answers the requests that need only the store.
pub(super) fn router(local: Router, leader: Member, host: &str, outgoing: Option<Outgoing>) -> Router {
    let follower = Follower { local, leader: Arc::new(leader), host: host.into(), outgoing };
    Router::new().fallback(answer).with_state(follower)
}

async fn answer(State(mut follower): State<Follower>, request: Request) -> Response {
    if is_answered_here(request.method(), request.uri().path()) {
        return follower.local.call(request).await.into_response();
    }
    match follower.forward(request).await {
        Ok(answer) => answer,
        Err(why) => Failure::new(Code::Unavailable, why).into_response(),
    }
}

/// True if the store has everything that the answer needs.
fn is_answered_here(method: &Method, path: &str) -> bool {
    // Instances, and their output, are known only where they run.
    method == Method::GET && !path.ends_with("/events") && !path.ends_with("/logs")
}

impl Follower {
    async fn forward(&self, mut request: Request) -> Result<Response, String> {
        let name = &self.leader.name;
        if request.headers().contains_key(FORWARDED_BY) {
            return Err(format!("this server no longer leads; {name} leads: send the request again"));
        }
        let by = HeaderValue::from_str(&Caller::name_in(request.extensions()))
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        request.headers_mut().insert(FORWARDED_BY, by);
        let away = |error: io::Error| {
            format!(
                "{name} leads, and cannot be reached from here: {error}. The request was not sent; if {name} is gone, \
                 another server takes over within seconds"
            )
        };
        if let (Some(outgoing), Some(address)) = (&self.outgoing, &self.leader.address) {
            let stream = within(CONNECT_DEADLINE, outgoing.connect(address)).await.map_err(away)?;
            return exchange(stream, request).await.map_err(|error| broken(name, &error));
        }
        if *self.leader.host == *self.host {
            let stream = within(CONNECT_DEADLINE, UnixStream::connect(&self.leader.socket)).await.map_err(away)?;
            return exchange(stream, request).await.map_err(|error| broken(name, &error));
        }
        Err(format!(
            "{name} on {} leads, and this server cannot reach it: use gapless on that host, or set `[peers]` on both servers",
            self.leader.host
        ))
    }
}

fn broken(name: &str, error: &str) -> String {
    format!(
        "{name} leads, and its answer was cut short: {error}; the request may have been carried out: see `gapless status`"
    )
}

async fn within<T>(deadline: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(deadline, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request,
) -> Result<Response, String> {
    let (mut sender, connection) =
        http1::handshake::<_, Body>(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    match tokio::time::timeout(ANSWER_DEADLINE, sender.send_request(request)).await {
        Ok(Ok(answer)) => Ok(answer.map(Body::new)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_DEADLINE.as_secs())),
    }
}
