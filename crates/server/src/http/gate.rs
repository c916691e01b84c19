//! The gate of the API's socket: passes requests to the current router, or answers them with the reason why there is
//! none. A server that waits for its store, follows or takes the lead answers at the same socket throughout.

use super::error::Failure;
use super::peer::{Caller, FORWARDED_BY};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use gapless_api::Code;
use http::header::CONTENT_TYPE;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tower_service::Service;

/// The maximum length of the name for which a server forwards, in characters.
const NAME_CHARS_MAX: usize = 100;

/// The gate of the API.
#[derive(Clone)]
pub struct ApiGate {
    state: Arc<Mutex<ApiState>>,
    has_ended: watch::Sender<bool>,
}

enum ApiState {
    /// Every request is answered with 503 and this reason.
    Unavailable(String),
    Available(Router),
}

impl ApiGate {
    /// A gate that answers every request with 503, because of `why`.
    #[must_use]
    pub fn closed(why: impl Into<String>) -> Self {
        ApiGate { state: Arc::new(Mutex::new(ApiState::Unavailable(why.into()))), has_ended: watch::Sender::new(false) }
    }

    /// Answers every request with 503 from now on, because of `why`.
    pub fn close(&self, why: impl Into<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = ApiState::Unavailable(why.into());
    }

    /// Passes requests to `router` from now on.
    pub fn open(&self, router: Router) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = ApiState::Available(router);
    }

    /// Ends the API: accepts no more connections, and cuts off event streams, which have no end of their own.
    pub fn end(&self) {
        self.has_ended.send_replace(true);
    }

    /// Waits for [`ApiGate::end`].
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut has_ended = self.has_ended.subscribe();
        async move {
            let _ = has_ended.wait_for(|has_ended| *has_ended).await;
        }
    }

    /// The router that passes each request to the current router.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

async fn answer(State(gate): State<ApiGate>, mut request: Request) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Caller>>()
        && let Some(by) = request.headers().get(FORWARDED_BY)
        && peer.may_forward()
    {
        let by: String = String::from_utf8_lossy(by.as_bytes()).chars().take(NAME_CHARS_MAX).collect();
        request.extensions_mut().insert(ConnectInfo(Caller::Named(by)));
    }
    let state = match &*gate.state.lock().unwrap_or_else(PoisonError::into_inner) {
        ApiState::Unavailable(why) => Err(Failure::new(Code::Unavailable, why.clone())),
        ApiState::Available(router) => Ok(router.clone()),
    };
    match state {
        Ok(mut router) => until_server_ends(&gate, router.call(request).await.into_response()),
        Err(failure) => failure.into_response(),
    }
}

/// Cuts an event stream off when the API ends; returns other answers unchanged.
fn until_server_ends(gate: &ApiGate, answer: Response) -> Response {
    if answer.headers().get(CONTENT_TYPE).is_none_or(|value| value != "text/event-stream") {
        return answer;
    }
    answer.map(|body| {
        let pieces = (body.into_data_stream(), Box::pin(gate.ended()));
        Body::from_stream(stream::try_unfold(pieces, async |(mut pieces, mut ended)| {
            tokio::select! {
                piece = pieces.next() => match piece {
                    Some(piece) => Ok(Some((piece.map_err(io::Error::other)?, (pieces, ended)))),
                    None => Ok(None),
                },
                () = &mut ended => Err(io::Error::other("the server is stopping")),
            }
        }))
    })
}
