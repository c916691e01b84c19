//! Requests with one answer, sent on schedule, on kept and on fresh connections.

use crate::book::{Book, Entry, Kind};
use crate::plan::{LoadPlan, Mix};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const POST_BYTES: usize = 10 << 10;
const DOWNLOAD_BYTES: usize = 64 << 10;
/// The interval at which due requests are sent: several at a time at higher rates.
const TICK: Duration = Duration::from_millis(2);
/// The interval at which a connection without an answer is checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

type Sender = SendRequest<Full<Bytes>>;

/// Sends requests at the plan's rate until `ending`, then waits for their answers.
pub(crate) async fn pace(plan: Arc<LoadPlan>, book: Arc<Book>, ending: CancellationToken) {
    let pool = Arc::new(Pool::default());
    let body = Bytes::from((0..POST_BYTES).map(|index| (index % 251) as u8).collect::<Vec<_>>());
    let interval = Duration::from_secs(1) / plan.rate_per_s.max(1);
    let mut requests = JoinSet::new();
    let mut due = Instant::now();
    let mut sent = 0_u64;
    while !ending.is_cancelled() && plan.requests_max.is_none_or(|max| sent < max) {
        let now = Instant::now();
        while due <= now && plan.requests_max.is_none_or(|max| sent < max) {
            let entry = Entry { kind: kind(plan.mix, sent), due };
            let sending = send(plan.clone(), book.clone(), pool.clone(), entry, body.clone(), sent);
            requests.spawn(sending);
            sent += 1;
            due += interval;
        }
        while requests.try_join_next().is_some() {}
        tokio::time::sleep(TICK).await;
    }
    while requests.join_next().await.is_some() {}
}

/// Of ten requests, seven on kept connections; every hundredth is a slow download.
fn kind(mix: Mix, number: u64) -> Kind {
    match (mix, number % 10) {
        (Mix::GetForgiving, 4 | 9) => Kind::GetFresh,
        (Mix::Get | Mix::GetForgiving, _) => Kind::Get,
        (Mix::All, 3 | 7) => Kind::Post,
        (Mix::All, 5) if number % 100 == 5 => Kind::Download,
        (Mix::All, 9) => Kind::GetFresh,
        (Mix::All, _) => Kind::Get,
    }
}

async fn send(plan: Arc<LoadPlan>, book: Arc<Book>, pool: Arc<Pool>, entry: Entry, body: Bytes, number: u64) {
    let mut release = None;
    let exchange = exchange(&plan, &book, &pool, &entry, body, number, &mut release);
    let result = match tokio::time::timeout(plan.answer_timeout, exchange).await {
        Ok(result) => result,
        Err(_) => Err(format!("no complete answer within {:?}", plan.answer_timeout)),
    };
    match result {
        Ok(()) => book.answered(&entry, release.as_deref().unwrap_or("none")),
        Err(cause) => book.failed(&entry, release, cause),
    }
}

async fn exchange(
    plan: &LoadPlan,
    book: &Book,
    pool: &Pool,
    entry: &Entry,
    body: Bytes,
    number: u64,
    release: &mut Option<String>,
) -> Result<(), String> {
    let is_fresh = entry.kind == Kind::GetFresh;
    let kept = if is_fresh { None } else { pool.take(book) };
    let is_kept = kept.is_some();
    let mut sender = match kept {
        Some(sender) => sender,
        None => connect(plan).await?,
    };
    let mut answer = answer_to(request(plan, entry.kind, &body, number)?, &mut sender).await;
    if answer.is_err() && is_kept && plan.mix == Mix::GetForgiving {
        book.closed(true);
        sender = connect(plan).await?;
        answer = answer_to(request(plan, entry.kind, &body, number)?, &mut sender).await;
    }
    let answer = answer?;
    *release = release_of(&answer);
    let status = answer.status();
    let received =
        answer.into_body().collect().await.map_err(|error| format!("the answer broke off: {error}"))?.to_bytes();
    if !status.is_success() {
        return Err(format!("status {}", status.as_u16()));
    }
    let is_right = match entry.kind {
        Kind::Post => received == body,
        Kind::Download => received.len() == DOWNLOAD_BYTES,
        _ => !received.is_empty(),
    };
    if !is_right {
        return Err(format!("the answer is wrong: {} bytes", received.len()));
    }
    if !is_fresh {
        pool.put(sender, plan.connections);
    }
    Ok(())
}

/// The answer to a request. A request that is queued at the moment in which its connection ends can stay in a channel
/// without a reader (tokio's `mpsc` in hyper's client), so its answer would never come.
async fn answer_to(request: Request<Full<Bytes>>, sender: &mut Sender) -> Result<Response<Incoming>, String> {
    let mut answer = pin!(sender.send_request(request));
    let mut has_ended = false;
    loop {
        match tokio::time::timeout(CHECK_EVERY, &mut answer).await {
            Ok(answer) => return answer.map_err(|error| format!("sent and not answered: {error}")),
            Err(_) if has_ended => return Err("the connection ended before the request was sent".to_owned()),
            // The answer may already have arrived.
            Err(_) => has_ended = sender.is_closed(),
        }
    }
}

fn request(plan: &LoadPlan, kind: Kind, body: &Bytes, number: u64) -> Result<Request<Full<Bytes>>, String> {
    let (method, path, body) = match kind {
        Kind::Post => (Method::POST, "/echo".to_owned(), body.clone()),
        Kind::Download => (Method::GET, format!("/download?bytes={DOWNLOAD_BYTES}&chunk_ms=20"), Bytes::new()),
        _ => (Method::GET, "/".to_owned(), Bytes::new()),
    };
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, &plan.host);
    request = request.header("x-ledger", number);
    if kind == Kind::GetFresh {
        request = request.header(header::CONNECTION, "close");
    }
    request.body(Full::new(body)).map_err(|error| error.to_string())
}

async fn connect(plan: &LoadPlan) -> Result<Sender, String> {
    let stream = TcpStream::connect(plan.address).await.map_err(|error| format!("cannot connect: {error}"))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    sender.ready().await.map_err(|error| format!("the connection broke: {error}"))?;
    Ok(sender)
}

/// The release that answered.
pub(crate) fn release_of(answer: &Response<Incoming>) -> Option<String> {
    answer.headers().get("x-release").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Idle connections.
#[derive(Default)]
struct Pool(Mutex<Vec<Sender>>);

impl Pool {
    /// An open connection: a server may close an idle connection (RFC 9112, section 9.3.1).
    fn take(&self, book: &Book) -> Option<Sender> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match kept.pop() {
                Some(sender) if sender.is_ready() => return Some(sender),
                Some(_) => book.closed(false),
                None => return None,
            }
        }
    }

    fn put(&self, sender: Sender, max: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < max && !sender.is_closed() {
            kept.push(sender);
        }
    }
}
