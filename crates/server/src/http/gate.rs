//! What answers at the API's socket: nobody yet, with the reason, or the present router. A server that waits for its
//! store, follows or begins to lead answers at the same socket throughout.

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

/// The longest name of somebody who is forwarded for.
const NAME_CHARS_MAX: usize = 100;

/// The front of the API.
#[derive(Clone)]
pub struct ApiGate {
    answering: Arc<Mutex<Answering>>,
    has_ended: watch::Sender<bool>,
}

enum Answering {
    /// Everything is answered 503, for that reason.
    Nobody(String),
    By(Router),
}

impl ApiGate {
    /// A front behind which nobody answers, because of `why`.
    #[must_use]
    pub fn closed(why: impl Into<String>) -> Self {
        ApiGate { answering: Arc::new(Mutex::new(Answering::Nobody(why.into()))), has_ended: watch::Sender::new(false) }
    }

    /// Nobody answers from now on, because of `why`.
    pub fn close(&self, why: impl Into<String>) {
        *self.answering.lock().unwrap_or_else(PoisonError::into_inner) = Answering::Nobody(why.into());
    }

    /// `router` answers from now on.
    pub fn open(&self, router: Router) {
        *self.answering.lock().unwrap_or_else(PoisonError::into_inner) = Answering::By(router);
    }

    /// The server ends: nobody is accepted any more, and what is followed breaks off, since it would not end by itself.
    pub fn end(&self) {
        self.has_ended.send_replace(true);
    }

    /// Waits for that.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut has_ended = self.has_ended.subscribe();
        async move {
            let _ = has_ended.wait_for(|has_ended| *has_ended).await;
        }
    }

    /// The router that asks whoever answers at the time of each request.
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
    let answering = match &*gate.answering.lock().unwrap_or_else(PoisonError::into_inner) {
        Answering::Nobody(why) => Err(Failure::new(Code::Unavailable, why.clone())),
        Answering::By(router) => Ok(router.clone()),
    };
    match answering {
        Ok(mut router) => broken_off(&gate, router.call(request).await.into_response()),
        Err(failure) => failure.into_response(),
    }
}

/// The answer as it is, or one that is followed until the front ends.
fn broken_off(gate: &ApiGate, answer: Response) -> Response {
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
                () = &mut ended => Err(io::Error::other("the server ends")),
            }
        }))
    })
}
