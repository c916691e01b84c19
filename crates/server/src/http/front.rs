//! What answers at the API's socket: nobody yet, with the reason, or the present router. A server that waits for its
//! store, follows or begins to lead answers at the same socket throughout.

use super::error::Failure;
use super::listener::{FORWARDED_BY, Peer};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use futures_util::{StreamExt, stream};
use gapless_api::Code;
use http::header::CONTENT_TYPE;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tower_service::Service;

/// The longest name of somebody who is forwarded for.
const NAME_CHARS_MAX: usize = 100;

/// The front of the API.
#[derive(Clone)]
pub struct Front {
    answering: Arc<Mutex<Answering>>,
    has_ended: watch::Sender<bool>,
}

enum Answering {
    /// Everything is answered 503, for that reason.
    Nobody(String),
    By(Router),
}

impl Front {
    /// A front behind which nobody answers, because of `why`.
    #[must_use]
    pub fn closed(why: impl Into<String>) -> Self {
        Front { answering: Arc::new(Mutex::new(Answering::Nobody(why.into()))), has_ended: watch::Sender::new(false) }
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

    /// Accepts at `listener` until the front ends.
    pub fn accepting(&self, listener: UnixListener) -> Accepting {
        Accepting { listener, front: self.clone() }
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
    let answering = match &*front.answering.lock().unwrap_or_else(PoisonError::into_inner) {
        Answering::Nobody(why) => Err(Failure::new(Code::Unavailable, why.clone())),
        Answering::By(router) => Ok(router.clone()),
    };
    match answering {
        Ok(mut router) => broken_off(&front, router.call(request).await.into_response()),
        Err(failure) => failure.into_response(),
    }
}

/// The API's socket as the server sees it: until the front ends. Who connects then waits for the next process image.
pub struct Accepting {
    listener: UnixListener,
    front: Front,
}

impl Listener for Accepting {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        tokio::select! {
            biased;
            () = self.front.ended() => std::future::pending().await,
            accepted = Listener::accept(&mut self.listener) => accepted,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The answer as it is, or one that is followed until the front ends.
fn broken_off(front: &Front, answer: Response) -> Response {
    if answer.headers().get(CONTENT_TYPE).is_none_or(|value| value != "text/event-stream") {
        return answer;
    }
    answer.map(|body| {
        let pieces = (body.into_data_stream(), Box::pin(front.ended()));
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
