//! Stands between a client's socket and the HTTP server: reads along, lets through only requests whose framing can be
//! understood in one way, one by one, and puts a stand-in where one is refused, so that the refusal is answered in its
//! turn.
//!
//! The server behind (hyper) is lenient as a good server is: it accepts a bare line feed, a repeated content length,
//! a content length beside a transfer encoding. The servers behind *it* may understand those otherwise, which is what
//! request smuggling lives on.

mod chunked;
mod framing;
mod head;
mod refusal;

pub(crate) use framing::{Found, Scan};
pub(crate) use head::Flags;
pub(crate) use refusal::Refusal;

use crate::session::{Head, Session};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What the server behind is given in the place of a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";

/// How much is read at once while a head is incomplete.
const CARRY_STEP: usize = 2048;

/// A client's socket behind the guard.
pub(crate) struct Guard {
    socket: Rc<RefCell<TcpStream>>,
    session: Rc<Session>,
    scan: Scan,
    /// Bytes that were read and not passed on: of a head that is not complete, or behind one that asks for an upgrade.
    carry: Vec<u8>,
    /// How many bytes at the front of `carry` may be passed on.
    cleared: usize,
}

impl Guard {
    pub(crate) fn new(socket: Rc<RefCell<TcpStream>>, session: Rc<Session>) -> Self {
        Guard { socket, session, scan: Scan::default(), carry: Vec::new(), cleared: 0 }
    }

    /// Whether the client has sent nothing that was not passed on, and a head would be next.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.carry.is_empty() && matches!(&self.scan, Scan::Head(scan) if scan.is_untouched())
    }

    /// What was read from the socket and not passed on.
    pub(crate) fn into_carry(self) -> Vec<u8> {
        self.carry
    }

    /// Reads along in `bytes` and returns how many of them may be passed on. What follows those is kept.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let Guard { scan, session, .. } = self;
        scan.scan(bytes, &session.worker().limits, |found| match found {
            Found::Begun => session.head_begun(),
            Found::Head(facts, head) => {
                session.head_complete(Head { flags: facts.flags, refusal: None }, head);
                if facts.flags.has(Flags::UPGRADE) {
                    session.hold();
                }
            }
            Found::Refused(refusal) => refuse(session, refusal),
        })
    }

    /// Passes on what may be.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let take = self.cleared.min(buf.remaining());
        buf.put_slice(&self.carry[..take]);
        self.cleared -= take;
        self.carry.drain(..take);
        if self.carry.is_empty() {
            self.carry = Vec::new();
        }
    }

    /// Reads into `buf` itself, which is how nearly all bytes go. Returns whether there is anything to pass on.
    fn poll_straight(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if read == 0 {
            return Poll::Ready(Ok(true));
        }
        self.session.touch();
        let passed = self.scan(&buf.filled()[before..]);
        if matches!(self.scan, Scan::Refused) {
            self.carry = STAND_IN.to_vec();
            self.cleared = STAND_IN.len();
        } else if passed < read {
            self.carry.extend_from_slice(&buf.filled()[before + passed..]);
        }
        buf.set_filled(before + passed);
        Poll::Ready(Ok(passed > 0))
    }

    /// Reads behind what is kept. Returns whether the client has sent its last byte.
    fn poll_carry(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let before = self.carry.len();
        self.carry.resize(before + CARRY_STEP, 0);
        let mut space = ReadBuf::new(&mut self.carry[before..]);
        let polled = Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, &mut space);
        let read = space.filled().len();
        self.carry.truncate(before + read);
        ready!(polled)?;
        Poll::Ready(Ok(read == 0))
    }

    fn scan_carry(&mut self) {
        let mut carry = std::mem::take(&mut self.carry);
        self.cleared = self.scan(&carry);
        if matches!(self.scan, Scan::Refused) {
            carry.truncate(self.cleared);
            carry.extend_from_slice(STAND_IN);
            self.cleared = carry.len();
        }
        self.carry = carry;
    }
}

/// Has the refusal answered in its turn.
fn refuse(session: &Session, refusal: Refusal) {
    session.head_complete(Head { flags: Flags::default(), refusal: Some(refusal) }, &[]);
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match &this.scan {
                Scan::Held if this.session.is_held() => return Poll::Pending,
                Scan::Held => {
                    this.scan = Scan::default();
                    if !this.carry.is_empty() {
                        this.scan_carry();
                        continue;
                    }
                }
                Scan::Refused => return Poll::Pending,
                Scan::BadBody(refusal) => {
                    this.session.body_refused(*refusal);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.reason)));
                }
                Scan::Head(_) if this.session.head_timed_out() => {
                    refuse(&this.session, Refusal::TIMEOUT);
                    this.scan = Scan::Refused;
                    this.carry = STAND_IN.to_vec();
                    this.cleared = STAND_IN.len();
                    continue;
                }
                Scan::Head(_) | Scan::Length(_) | Scan::Chunked(_) => {}
            }
            if this.carry.is_empty() {
                if ready!(this.poll_straight(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
            } else {
                if ready!(this.poll_carry(cx))? {
                    return Poll::Ready(Ok(()));
                }
                this.scan_carry();
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let socket = &mut *this.socket.borrow_mut();
        ready!(this.session.poll_interim(cx, socket))?;
        let written = ready!(Pin::new(socket).poll_write(cx, bytes))?;
        this.session.wrote();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let socket = &mut *this.socket.borrow_mut();
        ready!(this.session.poll_interim(cx, socket))?;
        let written = ready!(Pin::new(socket).poll_write_vectored(cx, slices))?;
        this.session.wrote();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.flushed();
        this.session.poll_interim(cx, &mut this.socket.borrow_mut())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().socket.borrow_mut()).poll_shutdown(cx)
    }
}
