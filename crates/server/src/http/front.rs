//! What answers at the API's socket: nobody yet, with the reason, or the present router. A server that waits for its
//! store, follows or begins to lead answers at the same socket throughout.

use super::error::Failure;
use super::listener::{FORWARDED_BY, Peer};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use gapless_api::Code;
use std::sync::{Arc, Mutex, PoisonError};
use tower_service::Service;

/// The longest name of somebody who is forwarded for.
const NAME_CHARS_MAX: usize = 100;

/// The front of the API.
#[derive(Clone)]
pub struct Front(Arc<Mutex<Answering>>);

enum Answering {
    /// Everything is answered 503, for that reason.
    Nobody(String),
    By(Router),
}

impl Front {
    /// A front behind which nobody answers, because of `why`.
    #[must_use]
    pub fn closed(why: impl Into<String>) -> Self {
        Front(Arc::new(Mutex::new(Answering::Nobody(why.into()))))
    }

    /// Nobody answers from now on, because of `why`.
    pub fn close(&self, why: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Answering::Nobody(why.into());
    }

    /// `router` answers from now on.
    pub fn open(&self, router: Router) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Answering::By(router);
    }

    /// The router that asks whoever answers at the time of each request.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }
}

async fn answer(State(front): State<Front>, mut request: Request) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<Peer>>()
        && let Some(by) = request.headers().get(FORWARDED_BY)
        && peer.may_forward()
    {
        let by: String = String::from_utf8_lossy(by.as_bytes()).chars().take(NAME_CHARS_MAX).collect();
        request.extensions_mut().insert(ConnectInfo(Peer::Named(by)));
    }
    let answering = match &*front.0.lock().unwrap_or_else(PoisonError::into_inner) {
        Answering::Nobody(why) => Err(Failure::new(Code::Unavailable, why.clone())),
        Answering::By(router) => Ok(router.clone()),
    };
    match answering {
        Ok(mut router) => router.call(request).await.into_response(),
        Err(failure) => failure.into_response(),
    }
}
