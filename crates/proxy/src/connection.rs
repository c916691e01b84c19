//! A client's connection from its acceptance to its end: request after request, with buffers only while there is one.

use crate::forward;
use crate::guard::Guard;
use crate::session::{Phase, Session};
use crate::upgrade::{Upgrade, read_to_end, tunnel};
use crate::worker::Worker;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// How long what a refused client still sends is read, so that it gets to read the refusal.
const LINGER: Duration = Duration::from_secs(1);

/// How long writing the refusal of a late head may take.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How serving a connection ended.
enum Turn {
    /// It is between two requests; nothing was read ahead.
    Rest(TcpStream),
    /// It has become another protocol's.
    Upgrade(TcpStream, Vec<u8>, Box<Upgrade>),
    /// It is over; the client may still be sending.
    Linger(TcpStream),
    /// It is over.
    End,
}

/// Serves a client's connection to its end. It counts from now on, not only from the first poll: a core that stops
/// must not overlook one that was just accepted.
pub(crate) fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + 'static {
    let session = Session::new(worker, peer);
    worker.plane.connection_began();
    let ending = Ending(Rc::clone(&session));
    serve_session(session, stream, ending)
}

async fn serve_session(session: Rc<Session>, mut stream: TcpStream, ending: Ending) {
    let worker = Rc::clone(session.worker());
    if stream.set_nodelay(true).is_err() {
        return;
    }
    session.enter(Phase::Idle, Some(worker.idle_left(Duration::ZERO)));
    while wait_for_request(&session, &stream).await {
        match Box::pin(serve_http(&session, stream)).await {
            Turn::Rest(rested) => {
                stream = rested;
                session.shrink();
                session.set_deadline(worker.idle_left(session.rested_for()));
            }
            Turn::Upgrade(client, read, upgrade) => {
                Box::pin(tunnel(&session, client, &read, *upgrade)).await;
                break;
            }
            Turn::Linger(mut refused) => {
                let _ = tokio::time::timeout(LINGER, read_to_end(&mut refused)).await;
                break;
            }
            Turn::End => break,
        }
    }
    drop(ending);
}

/// Counts the connection as ended, however it ends.
struct Ending(Rc<Session>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
        self.0.worker().plane.connection_ended();
    }
}

/// Waits without any buffer for the client to say something. Returns whether it did before the deadline.
async fn wait_for_request(session: &Session, stream: &TcpStream) -> bool {
    poll_fn(|cx| {
        session.attend(cx.waker());
        match stream.poll_read_ready(cx) {
            Poll::Ready(ready) => Poll::Ready(ready.is_ok()),
            Poll::Pending if session.take_expired() => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn serve_http(session: &Rc<Session>, stream: TcpStream) -> Turn {
    let socket = Rc::new(RefCell::new(stream));
    let guard = Guard::new(Rc::clone(&socket), Rc::clone(session));
    let service = service_fn(|request| forward::answer(session, request));
    let mut server = session.worker().server.serve_connection(TokioIo::new(guard), service);
    let is_over = poll_fn(|cx| {
        session.attend(cx.waker());
        let expired_at = session.is_expired().then(|| session.phase());
        match expired_at {
            Some(Phase::Idle) => {
                session.take_expired();
                session.soil();
            }
            Some(Phase::Head) => {
                session.take_expired();
                if !session.time_out_head() {
                    return Poll::Ready(true);
                }
                session.set_deadline(REFUSAL_TIMEOUT);
            }
            _ => {}
        }
        if let Poll::Ready(ended) = Pin::new(&mut server).poll(cx) {
            if let Err(error) = ended {
                tracing::debug!(peer = %session.peer, %error, "client connection failed");
            }
            return Poll::Ready(true);
        }
        match (expired_at, session.phase()) {
            // Polling has flushed whatever there was: so there is nothing left, or the client does not take it.
            (Some(Phase::Idle), Phase::Idle) => Poll::Ready(!session.is_clean()),
            // The body of an answer rests, and it is the client that does not take it.
            (Some(Phase::Answer), _) if session.is_expired() => Poll::Ready(true),
            // While the request is being answered nobody else reads.
            (_, Phase::Busy | Phase::Wait | Phase::Answer) if is_gone(cx, &socket.borrow()) => Poll::Ready(true),
            _ => Poll::Pending,
        }
    })
    .await;
    let parts = server.into_parts();
    let is_between_requests = parts.read_buf.is_empty() && parts.io.inner().is_between_requests();
    let behind = parts.io.into_inner().into_carry();
    let Some(stream) = Rc::into_inner(socket).map(RefCell::into_inner) else {
        return Turn::End;
    };
    match session.upgrade.take() {
        Some(upgrade) => {
            let mut read = parts.read_buf.to_vec();
            read.extend_from_slice(&behind);
            Turn::Upgrade(stream, read, Box::new(upgrade))
        }
        None if !is_over && is_between_requests => Turn::Rest(stream),
        None if session.lingers() => Turn::Linger(stream),
        None => Turn::End,
    }
}

/// Whether the client has ended the connection, or broken it. Where it has sent something, that is left to be read.
fn is_gone(cx: &mut Context<'_>, socket: &TcpStream) -> bool {
    if socket.poll_read_ready(cx).is_pending() {
        return false;
    }
    let mut byte = [0];
    match socket.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(Ok(peeked)) => peeked == 0,
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}
