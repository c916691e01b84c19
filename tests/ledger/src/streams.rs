//! Event streams, read from start to end.

use crate::book::{Book, Entry, Kind};
use crate::plan::LoadPlan;
use crate::requests::release_of;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The maximum time between events of a working stream.
const EVENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause of a rejected client before it reconnects.
const RECONNECT_AFTER: Duration = Duration::from_millis(200);

/// Reads one stream after another until `ending`.
pub(crate) async fn listen(plan: Arc<LoadPlan>, book: Arc<Book>, ending: CancellationToken) {
    while !ending.is_cancelled() {
        let entry = Entry { kind: Kind::EventStream, due: Instant::now() };
        let mut release = None;
        match listen_once(&plan, &ending, &mut release).await {
            Ok(()) => {
                if !ending.is_cancelled() {
                    book.moved();
                }
                book.answered(&entry, release.as_deref().unwrap_or("none"));
            }
            Err(cause) => {
                book.failed(&entry, release, cause);
                tokio::time::sleep(RECONNECT_AFTER).await;
            }
        }
    }
}

async fn listen_once(plan: &LoadPlan, ending: &CancellationToken, release: &mut Option<String>) -> Result<(), String> {
    let stream = TcpStream::connect(plan.address).await.map_err(|error| format!("cannot connect: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get("/events").header(header::HOST, &plan.host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| format!("sent and not answered: {error}"))?;
    *release = release_of(&answer);
    if !answer.status().is_success() {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let mut body = answer.into_body();
    loop {
        let frame = tokio::select! {
            biased;
            () = ending.cancelled() => return Ok(()),
            frame = tokio::time::timeout(EVENT_TIMEOUT, body.frame()) => frame,
        };
        match frame {
            Err(_) => return Err("no event for 5 s".to_owned()),
            Ok(Some(Err(error))) => return Err(format!("the stream broke off: {error}")),
            // A complete last chunk: the server ended the stream in order.
            Ok(None) => return Ok(()),
            Ok(Some(Ok(_))) => {}
        }
    }
}
