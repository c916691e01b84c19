//! Endpoints for the load client: echoes, streams, slow answers.

use crate::app::App;
use axum::body::Body;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// The interval between two events.
const EVENT_EVERY: Duration = Duration::from_millis(100);
/// Bytes in one piece of a download.
const CHUNK_BYTES: usize = 4096;
const DOWNLOAD_BYTES_MAX: usize = 64 << 20;
const SLOW_MAX: Duration = Duration::from_secs(60);
/// The close code for a server that stops, after which clients reconnect (RFC 6455, section 7.4; 1012 is registered
/// with IANA).
const SERVICE_RESTART: u16 = 1012;

/// Echoes the request's body.
pub async fn echo(body: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/octet-stream")], body)
}

/// Echoes messages until either side ends.
pub async fn websocket(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| converse(app, socket))
}

async fn converse(app: Arc<App>, mut socket: WebSocket) {
    loop {
        let message = tokio::select! {
            biased;
            () = app.ending.cancelled() => {
                let frame = CloseFrame { code: SERVICE_RESTART, reason: "ending".into() };
                let _ = socket.send(Message::Close(Some(frame))).await;
                return;
            }
            message = socket.recv() => message,
        };
        let sent = match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => socket.send(message).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Sends an event ten times a second, until the client leaves or the server stops.
pub async fn events(State(app): State<Arc<App>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold((app, 0_u64), |(app, count)| async move {
        tokio::select! {
            biased;
            () = app.ending.cancelled() => None,
            () = tokio::time::sleep(EVENT_EVERY) => Some((Ok(Event::default().data(count.to_string())), (app, count + 1))),
        }
    }))
}

#[derive(Deserialize)]
pub struct Download {
    bytes: usize,
    #[serde(default)]
    chunk_ms: u64,
}

/// Sends the requested number of bytes, piece by piece.
pub async fn download(Query(wanted): Query<Download>) -> Response {
    let total = wanted.bytes.min(DOWNLOAD_BYTES_MAX);
    let wait = Duration::from_millis(wanted.chunk_ms.min(1_000));
    let pieces = stream::unfold(total, move |left| async move {
        if left == 0 {
            return None;
        }
        tokio::time::sleep(wait).await;
        let count = left.min(CHUNK_BYTES);
        Some((Ok::<_, Infallible>(Bytes::from(vec![b'.'; count])), left - count))
    });
    ([(header::CONTENT_LENGTH, total.to_string())], Body::from_stream(pieces)).into_response()
}

#[derive(Deserialize)]
pub struct Slow {
    ms: u64,
}

/// Answers after the requested delay.
pub async fn slow(Query(wanted): Query<Slow>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(wanted.ms).min(SLOW_MAX)).await;
    "at last\n"
}
