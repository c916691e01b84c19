//! Stands between a client's socket and the HTTP server: reads along, lets through only requests whose framing can be
//! understood in one way, one by one, and puts a stand-in where one is refused, so that the refusal is answered in its
//! turn.
//!
//! The server behind (hyper) is lenient as a good server is: it accepts a bare line feed, a repeated content length,
//! a content length beside a transfer encoding. The servers behind *it* may understand those otherwise, which is what
//! request smuggling lives on.

mod chunked;
mod head;
mod refusal;

pub(crate) use head::Flags;
pub(crate) use refusal::Refusal;

use crate::session::{Head, Session};
use chunked::ChunkScan;
use head::{Framing, HeadScan};
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
    state: State,
    /// Bytes that were read and not passed on: of a head that is not complete, or behind one that asks for an upgrade.
    carry: Vec<u8>,
    /// How many bytes at the front of `carry` may be passed on.
    cleared: usize,
}

enum State {
    Head(HeadScan),
    Length(u64),
    Chunked(ChunkScan),
    /// Nothing is passed on until it is decided whether the connection becomes another protocol's.
    Held,
    /// A request was refused: nothing that follows is read.
    Refused,
    /// A body was refused: reading it fails.
    BadBody(Refusal),
}

impl Guard {
    pub(crate) fn new(socket: Rc<RefCell<TcpStream>>, session: Rc<Session>) -> Self {
        Guard { socket, session, state: State::Head(HeadScan::default()), carry: Vec::new(), cleared: 0 }
    }

    /// Whether the client has sent nothing that was not passed on, and a head would be next.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.carry.is_empty() && matches!(&self.state, State::Head(scan) if scan.is_untouched())
    }

    /// What was read from the socket and not passed on.
    pub(crate) fn into_carry(self) -> Vec<u8> {
        self.carry
    }

    /// Reads along in `bytes` and returns how many of them may be passed on. What follows those is kept.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let worker = Rc::clone(self.session.worker());
        let limits = &worker.limits;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head(scan) => match scan.advance(rest, limits.head_bytes_max, limits.header_count_max) {
                    Ok(Some((length, facts))) => {
                        at += length;
                        self.session.head_complete(Head { flags: facts.flags, refusal: None }, &rest[..length]);
                        self.state = match facts.framing {
                            _ if facts.flags.has(Flags::UPGRADE) => {
                                self.session.hold();
                                State::Held
                            }
                            Framing::Length(0) => State::Head(HeadScan::default()),
                            Framing::Length(length) => State::Length(length),
                            Framing::Chunked => State::Chunked(ChunkScan::default()),
                        };
                    }
                    Ok(None) => {
                        self.session.head_begun();
                        return at;
                    }
                    Err(refusal) => {
                        self.refuse(refusal);
                        return at;
                    }
                },
                State::Length(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    at += take;
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::Head(HeadScan::default());
                    }
                }
                State::Chunked(scan) => match scan.advance(rest) {
                    Ok((length, is_complete)) => {
                        at += length;
                        if is_complete {
                            self.state = State::Head(HeadScan::default());
                        }
                    }
                    Err(refusal) => {
                        self.state = State::BadBody(refusal);
                        return at;
                    }
                },
                State::Held | State::Refused | State::BadBody(_) => return at,
            }
        }
        at
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.session.head_complete(Head { flags: Flags::default(), refusal: Some(refusal) }, &[]);
        self.state = State::Refused;
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
        if matches!(self.state, State::Refused) {
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
        if matches!(self.state, State::Refused) {
            carry.truncate(self.cleared);
            carry.extend_from_slice(STAND_IN);
            self.cleared = carry.len();
        }
        self.carry = carry;
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match &this.state {
                State::Held if this.session.is_held() => return Poll::Pending,
                State::Held => {
                    this.state = State::Head(HeadScan::default());
                    if !this.carry.is_empty() {
                        this.scan_carry();
                        continue;
                    }
                }
                State::Refused => return Poll::Pending,
                State::BadBody(refusal) => {
                    this.session.body_refused(*refusal);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal.reason)));
                }
                State::Head(_) if this.session.head_timed_out() => {
                    this.refuse(Refusal::TIMEOUT);
                    this.carry = STAND_IN.to_vec();
                    this.cleared = STAND_IN.len();
                    continue;
                }
                State::Head(_) | State::Length(_) | State::Chunked(_) => {}
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
