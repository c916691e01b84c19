//! The API of a server that does not lead: it answers reads from the store, and forwards everything else to the one
//! that does.

use super::member::Member;
use super::peers::Outgoing;
use crate::http::{Caller, FORWARDED_BY, Failure};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
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
/// How long it may take to begin its answer: longer than clients wait, except for what is polled.
const ANSWER_DEADLINE: Duration = Duration::from_secs(75);

/// What a follower knows of whom it follows.
#[derive(Clone)]
pub(super) struct Follower {
    local: Router,
    leader: Arc<Member>,
    host: Arc<str>,
    outgoing: Option<Outgoing>,
}

/// The API of a follower: `local` answers what can be answered from the store.
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

/// Whether the store has all that there is to say.
fn is_answered_here(method: &Method, path: &str) -> bool {
    // What runs and what it says is known where it runs.
    method == Method::GET && !path.ends_with("/events") && !path.ends_with("/logs")
}

impl Follower {
    async fn forward(&self, mut request: Request) -> Result<Response, String> {
        let name = &self.leader.name;
        if request.headers().contains_key(FORWARDED_BY) {
            return Err(format!("this server does not lead any more; {name} does: ask again"));
        }
        let by = match request.extensions().get::<ConnectInfo<Caller>>() {
            Some(ConnectInfo(peer)) => peer.name(),
            None => "unknown".to_owned(),
        };
        let by = HeaderValue::from_str(&by).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        request.headers_mut().insert(FORWARDED_BY, by);
        let away = |error: io::Error| {
            format!(
                "{name} leads, and it cannot be reached from here: {error}. Nothing was asked of it; another server \
                 takes over within seconds if it is gone"
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
            "{name} on {} leads, and this server has no way to it: ask there, or configure `[peers]` for both",
            self.leader.host
        ))
    }
}

fn broken(name: &str, error: &str) -> String {
    format!(
        "{name} leads, and its answer was cut short: {error}; what was asked for may have been done: see `gapless status`"
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
        Err(_) => Err(format!("nothing within {} s", ANSWER_DEADLINE.as_secs())),
    }
}
