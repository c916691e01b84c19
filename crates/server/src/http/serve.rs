//! Serves the API on its Unix socket until the server ends.

use super::gate::ApiGate;
use super::peer::Caller;
use crate::error::{Ended, ServerError};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::future::{Either, select};
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

/// How long whoever was accepted before the server ended has to ask.
const ASKS_WITHIN: Duration = Duration::from_millis(50);
/// How long what was asked before the server ended has to be answered.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Answers at the API's socket for as long as the server lives.
pub async fn serve_until(
    lives: impl Future<Output = Result<Ended, ServerError>>,
    listener: UnixListener,
    gate: &ApiGate,
) -> Result<Ended, ServerError> {
    let service = gate.router().into_make_service_with_connect_info::<Caller>();
    let ended = gate.ended();
    let all_have_asked = async {
        ended.await;
        tokio::time::sleep(ASKS_WITHIN).await;
    };
    let answering =
        axum::serve(Accepting { listener, gate: gate.clone() }, service).with_graceful_shutdown(all_have_asked);
    let answering = answering.into_future();
    match select(pin!(answering), pin!(lives)).await {
        Either::Left((answered, lives)) => {
            answered.map_err(ServerError::Api)?;
            lives.await
        }
        Either::Right((ended, answering)) => {
            gate.end();
            let _ = tokio::time::timeout(LAST_ANSWERS_WITHIN, answering).await;
            ended
        }
    }
}

/// The API's socket as the server sees it: until the front ends. Who connects then waits for the next process image.
pub struct Accepting {
    listener: UnixListener,
    gate: ApiGate,
}

impl Listener for Accepting {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        tokio::select! {
            biased;
            () = self.gate.ended() => std::future::pending().await,
            accepted = Listener::accept(&mut self.listener) => accepted,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Accepting>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Accepting>) -> Self {
        Caller::User(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}
