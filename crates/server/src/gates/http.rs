//! A gate that is a list of requests with expected answers, sent through the proxy like requests of users.

use super::{GateRun, failed, result};
use bytes::Bytes;
use gapless_core::gate::{GateRequest, GateResult};
use gapless_core::routes::PREVIEW_HEADER;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// The maximum size of an answer's body, in bytes.
const ANSWER_BYTES_MAX: usize = 8 << 20;

pub(super) async fn run(run: &GateRun, requests: &[GateRequest], proxy: Option<SocketAddr>) -> GateResult {
    let Some(proxy) = proxy else { return failed("the proxy listens on no address", &run.output) };
    let mut as_expected = 0;
    for request in requests {
        let found = check(run, request, proxy).await;
        let (method, path) = (&request.method, &request.path);
        match &found {
            Ok(took_ms) => {
                as_expected += 1;
                run.output.line(&format!("{method} {path}: as expected, in {took_ms} ms"));
            }
            Err(why) => run.output.line(&format!("{method} {path}: {why}")),
        }
    }
    let summary = format!("{as_expected} of {} answers as expected", requests.len());
    result(as_expected == requests.len(), summary, &run.output)
}

/// Sends one request. Returns the milliseconds until the whole answer, or its first deviation from the expected answer.
async fn check(run: &GateRun, request: &GateRequest, proxy: SocketAddr) -> Result<u128, String> {
    let started = Instant::now();
    let mut connection = Connection::open(proxy).await?;
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = Bytes::from(request.body.clone().unwrap_or_default());
    let wanted = ask(run, proxy, &request.method, &request.path, headers, body)?;
    let answer = connection.sender.send_request(wanted).await.map_err(|error| format!("no answer: {error}"))?;
    let (parts, body) = answer.into_parts();
    let body =
        Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| format!("incomplete answer: {error}"))?;
    let (took, body) = (started.elapsed(), body.to_bytes());
    if parts.status.as_u16() != request.status {
        return Err(format!("answered {}, expected {}", parts.status.as_u16(), request.status));
    }
    for (name, value) in &request.expect_headers {
        let seen = parts.headers.get(name).map(|seen| String::from_utf8_lossy(seen.as_bytes()).into_owned());
        if seen.as_ref() != Some(value) {
            let seen = seen.map_or_else(|| "missing".to_owned(), |seen| format!("{seen:?}"));
            return Err(format!("the header {name} is {seen}, expected {value:?}"));
        }
    }
    let text = String::from_utf8_lossy(&body);
    if let Some(part) = request.contains.iter().find(|part| !text.contains(part.as_str())) {
        return Err(format!("the body does not contain {part:?}"));
    }
    if !request.json.is_empty() {
        let json: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| format!("the body is not JSON: {error}"))?;
        for (pointer, value) in &request.json {
            let seen = json.pointer(pointer);
            if seen != Some(value) {
                let seen = seen.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                return Err(format!("the JSON has {seen} at {pointer}, expected {value}"));
            }
        }
    }
    match request.within {
        Some(limit) if took > limit.to_duration() => {
            Err(format!("took {} ms, expected at most {limit}", took.as_millis()))
        }
        _ => Ok(took.as_millis()),
    }
}

/// A connection to the proxy.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    _task: AbortOnDropHandle<Result<(), hyper::Error>>,
}

impl Connection {
    pub(super) async fn open(proxy: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(proxy).await.map_err(|error| format!("cannot connect to {proxy}: {error}"))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        Ok(Connection { sender, _task: AbortOnDropHandle::new(tokio::spawn(connection)) })
    }
}

/// A request that the proxy sends to the tested release.
pub(super) fn ask<'a>(
    run: &GateRun,
    proxy: SocketAddr,
    method: &str,
    path: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    body: Bytes,
) -> Result<http::Request<Full<Bytes>>, String> {
    let mut request = http::Request::builder().method(method).uri(path);
    let mut has_host = false;
    for (name, value) in headers {
        has_host |= name.eq_ignore_ascii_case("host");
        request = request.header(name, value);
    }
    if !has_host {
        request = request.header(http::header::HOST, run.target.host_header(proxy));
    }
    request = request.header(PREVIEW_HEADER, run.target.token.as_str());
    request.body(Full::new(body)).map_err(|error| format!("invalid request: {error}"))
}
