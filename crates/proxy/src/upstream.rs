//! Connections to instances: made, driven, and watched for the answers that come before the answer.

use crate::body::{Upload, UploadState};
use crate::session::Session;
use bytes::Bytes;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Bytes that are read from an instance ahead of a client that reads slowly.
const READ_AHEAD_MAX: usize = 128 << 10;

/// A connection to an instance.
pub(crate) struct Upstream {
    pub(crate) sender: SendRequest<Upload>,
    pub(crate) wire: Rc<Wire>,
    /// When it was put into the pool, in ticks.
    pub(crate) idle_since: u32,
}

/// The socket of a connection that has become another protocol's, and what was read from it.
pub(crate) type Raw = (TcpStream, Bytes);

/// What the socket tells of the exchange that it carries.
#[derive(Default)]
pub(crate) struct Wire {
    /// No byte of the answer has come yet.
    awaiting: Cell<bool>,
    answered: Cell<bool>,
    /// Who is to get interim answers.
    client: RefCell<Option<Rc<Session>>>,
    /// The body that waits for a 100.
    upload: RefCell<Option<Rc<UploadState>>>,
    /// Who is to get the socket when the protocol changes.
    raw: RefCell<Option<oneshot::Sender<Raw>>>,
}

impl Wire {
    /// A request is about to be sent. Interim answers go to `client`.
    pub(crate) fn arm(&self, client: Option<Rc<Session>>, upload: Option<Rc<UploadState>>) {
        self.awaiting.set(true);
        self.answered.set(false);
        self.client.replace(client);
        self.upload.replace(upload);
    }

    /// The request may change the protocol: the socket comes here when it did.
    pub(crate) fn expect_raw(&self) -> oneshot::Receiver<Raw> {
        let (sender, receiver) = oneshot::channel();
        self.raw.replace(Some(sender));
        receiver
    }

    /// Whether any byte of the answer has come.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// The exchange is over.
    pub(crate) fn disarm(&self) {
        self.client.take();
        self.upload.take();
    }

    /// Looks at what came after a request was sent and takes interim answers out of it. Returns how many bytes are
    /// left.
    fn inspect(&self, bytes: &mut [u8]) -> usize {
        self.answered.set(true);
        let mut length = bytes.len();
        while bytes[..length].starts_with(b"HTTP/1.") && bytes[..length].get(9) == Some(&b'1') {
            let code = &bytes[9..length.min(12)];
            let Some(end) = memmem::find(&bytes[..length], b"\r\n\r\n").map(|at| at + 4) else {
                // In pieces: the client of HTTP drops it, as it drops all of them.
                break;
            };
            match code {
                b"101" => break,
                b"100" => {
                    if let Some(upload) = &*self.upload.borrow() {
                        upload.proceed();
                    }
                }
                _ => {
                    if let Some(client) = &*self.client.borrow()
                        && let Some(interim) = interim(&bytes[..end])
                    {
                        client.push_interim(&interim);
                    }
                }
            }
            bytes.copy_within(end..length, 0);
            length -= end;
        }
        // An interim answer may still be followed by another one.
        self.awaiting.set(length == 0);
        length
    }
}

/// An interim answer without what is meant for one hop.
fn interim(head: &[u8]) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut text = Vec::with_capacity(head.len());
    write!(text, "HTTP/1.1 {} {}\r\n", response.code?, response.reason.unwrap_or_default()).ok()?;
    for header in response.headers.iter() {
        let hop = ["connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "trailer", "te"];
        if !hop.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            text.extend_from_slice(header.name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(header.value);
            text.extend_from_slice(b"\r\n");
        }
    }
    text.extend_from_slice(b"\r\n");
    Some(text)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Refused(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Connects to an instance.
pub(crate) async fn connect(address: SocketAddr, timeout: Duration) -> Result<Upstream, ConnectError> {
    let connecting = tokio::time::timeout(timeout, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| ConnectError::Timeout(timeout))?.map_err(ConnectError::Refused)?;
    stream.set_nodelay(true).map_err(ConnectError::Refused)?;
    let wire = Rc::new(Wire::default());
    let io = Watched { stream, wire: Rc::clone(&wire) };
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_AHEAD_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| ConnectError::Refused(io::Error::other(error)))?;
    tokio::task::spawn_local(drive(connection));
    Ok(Upstream { sender, wire, idle_since: 0 })
}

/// Drives a connection to its end, and hands its socket over where it has become another protocol's.
async fn drive(mut connection: Connection<TokioIo<Watched>, Upload>) {
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let Watched { stream, wire } = parts.io.into_inner();
    wire.disarm();
    if ended.is_ok()
        && let Some(raw) = wire.raw.take()
    {
        // Nobody may wait for it any more.
        drop(raw.send((stream, parts.read_buf)));
    }
}

/// An instance's socket, watched.
struct Watched {
    stream: TcpStream,
    wire: Rc<Wire>,
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            let read = buf.filled().len() - before;
            if read == 0 || !this.wire.awaiting.get() {
                return Poll::Ready(Ok(()));
            }
            let left = this.wire.inspect(&mut buf.filled_mut()[before..]);
            buf.set_filled(before + left);
            if left > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
