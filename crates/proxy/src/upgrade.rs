//! Connections that have become another protocol's: bytes in both directions, until one side ends it or the drain does.

use crate::exchange::Ticket;
use crate::session::Session;
use crate::upstream::{Raw, Upstream};
use crate::websocket::{CLOSE_TO_CLIENT, CLOSE_TO_SERVER, FrameTracker};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// How long frames that have begun may take to end when the tunnel is closed, and the other side of a WebSocket whose
/// first side has ended.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes read at once. One buffer serves all tunnels of a core, so that a quiet tunnel holds none.
const BUFFER_BYTES: usize = 16 << 10;

/// What a request leaves behind that changed the protocol.
pub(crate) struct Upgrade {
    pub(crate) ticket: Ticket,
    /// Kept so that its driver is not told that nobody needs it.
    pub(crate) upstream: Upstream,
    pub(crate) raw: oneshot::Receiver<Raw>,
    pub(crate) is_websocket: bool,
}

/// Carries bytes until both sides have ended, or the session's deadline has passed and the tunnel is closed.
pub(crate) async fn tunnel(session: &Rc<Session>, mut client: TcpStream, sent_by_client: &[u8], upgrade: Upgrade) {
    let Upgrade { mut ticket, upstream, raw, is_websocket } = upgrade;
    let Ok(Ok((mut server, sent_by_server))) = tokio::time::timeout(CLOSE_TIMEOUT, raw).await else {
        return;
    };
    drop(upstream);
    let mut up = Flow::new(is_websocket.then_some(CLOSE_TO_SERVER), sent_by_client);
    let mut down = Flow::new(is_websocket.then_some(CLOSE_TO_CLIENT), &sent_by_server);
    let mut is_closing = false;
    let ended = poll_fn(|cx| {
        session.attend(cx.waker());
        if session.take_expired() {
            if is_closing {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            (is_closing, up.closing, down.closing) = (true, true, true);
            session.set_deadline(CLOSE_TIMEOUT);
        }
        let up_ended = up.poll(cx, &mut client, &mut server)?.is_ready();
        let down_ended = down.poll(cx, &mut server, &mut client)?.is_ready();
        match (up_ended, down_ended) {
            (true, true) => Poll::Ready(Ok(())),
            (false, false) => Poll::Pending,
            // One side has ended; the other has a while to do so, too.
            _ => {
                if is_websocket && !is_closing {
                    (is_closing, up.closing, down.closing) = (true, true, true);
                    session.set_deadline(CLOSE_TIMEOUT);
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    });
    let ended: io::Result<()> = ended.await;
    if ended.is_ok() {
        // What the sides say to the close frame is of no more interest, but unread bytes would make the system throw
        // the frame away.
        let drained = async { tokio::join!(read_to_end(&mut client), read_to_end(&mut server)) };
        let _ = tokio::time::timeout(Duration::from_secs(1), drained).await;
    }
    ticket.settle();
}

/// Reads what still comes, up to a bound, and forgets it.
pub(crate) async fn read_to_end(stream: &mut TcpStream) {
    const BYTES_MAX: usize = 1 << 20;
    let mut buffer = [0; 2048];
    let mut left = BYTES_MAX;
    while let Ok(read) = poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(io::Result::Ok(buffer.filled().len()))
    })
    .await
    {
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            return;
        }
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// The bytes of one direction.
struct Flow {
    /// What ends this direction, where the protocol has something for it.
    close_frame: Option<&'static [u8]>,
    frames: FrameTracker,
    /// Read and not written.
    pending: Vec<u8>,
    written: usize,
    /// No more is read.
    is_read: bool,
    is_shut: bool,
    /// To be ended as soon as it can be.
    closing: bool,
}

impl Flow {
    fn new(close_frame: Option<&'static [u8]>, already_read: &[u8]) -> Self {
        let mut frames = FrameTracker::default();
        if close_frame.is_some() {
            frames.pass(already_read);
        }
        let pending = already_read.to_vec();
        Flow { close_frame, frames, pending, written: 0, is_read: false, is_shut: false, closing: false }
    }

    /// Moves what can be moved. Ready when the direction has ended.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut TcpStream, to: &mut TcpStream) -> Poll<io::Result<()>> {
        loop {
            while self.written < self.pending.len() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending[self.written..]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += written;
            }
            if !self.pending.is_empty() {
                (self.pending, self.written) = (Vec::new(), 0);
            }
            if self.is_read {
                if !self.is_shut {
                    // The other side may be gone already, which is an end, too.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.is_shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.closing {
                match self.close_frame {
                    Some(frame) if self.frames.is_at_boundary() => {
                        self.pending = frame.to_vec();
                        self.is_read = true;
                        continue;
                    }
                    Some(_) => {}
                    None => {
                        self.is_read = true;
                        continue;
                    }
                }
            }
            ready!(BUFFER.with_borrow_mut(|buffer| self.move_once(cx, buffer, from, to)))?;
        }
    }

    /// Reads once and writes what was read, as far as that goes without waiting.
    fn move_once(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.is_read = true;
            return Poll::Ready(Ok(()));
        }
        let take = match self.close_frame {
            Some(_) if self.closing => self.frames.pass_to_boundary(bytes),
            Some(_) => {
                self.frames.pass(bytes);
                bytes.len()
            }
            None => bytes.len(),
        };
        let written = match Pin::new(to).poll_write(cx, &bytes[..take]) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.pending.extend_from_slice(&bytes[written..take]);
        Poll::Ready(Ok(()))
    }
}
