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

/// The time in which connections from before the end of the server must send their request.
const LAST_REQUESTS_WITHIN: Duration = Duration::from_millis(50);
/// The time in which requests from before the end of the server must be answered.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Serves the API until the future `server` completes, and returns its result.
pub async fn serve_until(
    server: impl Future<Output = Result<Ended, ServerError>>,
    listener: UnixListener,
    gate: &ApiGate,
) -> Result<Ended, ServerError> {
    let service = gate.router().into_make_service_with_connect_info::<Caller>();
    let ended = gate.ended();
    let last_requests = async {
        ended.await;
        tokio::time::sleep(LAST_REQUESTS_WITHIN).await;
    };
    let answering =
        axum::serve(ApiListener { listener, gate: gate.clone() }, service).with_graceful_shutdown(last_requests);
    let answering = answering.into_future();
    match select(pin!(answering), pin!(server)).await {
        Either::Left((answered, server)) => {
            answered.map_err(ServerError::Api)?;
            server.await
        }
        Either::Right((ended, answering)) => {
            gate.end();
            let _ = tokio::time::timeout(LAST_ANSWERS_WITHIN, answering).await;
            ended
        }
    }
}

/// The listener of the API, until the gate ends. Clients that connect later wait for the next process image.
pub struct ApiListener {
    listener: UnixListener,
    gate: ApiGate,
}

impl Listener for ApiListener {
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

impl Connected<IncomingStream<'_, ApiListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, ApiListener>) -> Self {
        Caller::User(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}
