//! One client connection, as its parts see it: the guard in front of it, the server on it, the request that it has and
//! the clock all know this.

use crate::deadlines::{NEVER, TICK, ticks};
use crate::guard::{Flags, Refusal};
use crate::placement::Placement;
use crate::upgrade::Upgrade;
use crate::worker::Worker;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// How long a connection between two requests keeps its buffers.
const REST_AFTER: Duration = Duration::from_millis(500);

/// Bytes of interim answers (103 and the like) of one request.
const INTERIM_BYTES_MAX: usize = 16 << 10;

/// What a connection is at, which says what its deadline means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests.
    Idle,
    /// A head has begun and is not complete.
    Head,
    /// A request is being routed or connected for; no deadline here.
    Busy,
    /// The body of a request is on its way to the application.
    Upload,
    /// The request is sent, the answer has not begun.
    Wait,
    /// The body of an answer is on its way to the client.
    Answer,
    /// It carries another protocol.
    Tunnel,
}

/// A head that was passed on to the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) flags: Flags,
    /// Where it is a stand-in for a request that was refused.
    pub(crate) refusal: Option<Refusal>,
}

/// One client connection.
pub(crate) struct Session {
    worker: Rc<Worker>,
    place: usize,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The same as the value of a header.
    pub(crate) peer_value: HeaderValue,
    phase: Cell<Phase>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// How long a body may rest, in ticks, for the present request.
    idle_body: Cell<u32>,
    heads: RefCell<VecDeque<Head>>,
    /// The head of the latest request as it was sent, where it may have to be sent again. Cheaper to keep than the
    /// headers that it was made into.
    copy: RefCell<Vec<u8>>,
    /// Which head `copy` is of, counted.
    copy_of: Cell<u64>,
    heads_passed: Cell<u64>,
    heads_taken: Cell<u64>,
    /// When the connection began to rest.
    rested_at: Cell<u32>,
    /// Whether its last rest was short, so that the next one may be, too.
    is_busy: Cell<bool>,
    head_is_partial: Cell<bool>,
    head_timed_out: Cell<bool>,
    held: Cell<bool>,
    /// Whether the answer is a stream of events, which may end between two parts at any time.
    streams_events: Cell<bool>,
    stream_is_to_end: Cell<bool>,
    body_refusal: Cell<Option<Refusal>>,
    lingers: Cell<bool>,
    tunnel_of: RefCell<Option<Arc<Placement>>>,
    /// Whether all that was written has gone out, so that an interim answer may stand here.
    clean: Cell<bool>,
    interim: RefCell<Vec<u8>>,
    interim_sent: Cell<usize>,
    /// Whether the interim answers go before all that the server writes from now on.
    interim_begun: Cell<bool>,
    /// The last `Host` and the `Forwarded` made of it: they rarely change within a connection.
    pub(crate) forwarded: RefCell<Option<(HeaderValue, HeaderValue)>>,
    /// What the connection becomes when the server is through with it.
    pub(crate) upgrade: RefCell<Option<Upgrade>>,
}

impl Session {
    pub(crate) fn new(worker: &Rc<Worker>, peer: SocketAddr) -> Rc<Self> {
        // A client of IPv4 at a socket of IPv6 is still one of IPv4.
        let text = peer.ip().to_canonical().to_string();
        let place = worker.deadlines.reserve();
        let session = Rc::new(Session {
            worker: Rc::clone(worker),
            place,
            peer,
            peer_value: HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown")),
            phase: Cell::new(Phase::Idle),
            expired: Cell::new(false),
            waker: RefCell::default(),
            idle_body: Cell::new(NEVER / 2),
            heads: RefCell::default(),
            copy: RefCell::default(),
            copy_of: Cell::new(0),
            heads_passed: Cell::new(0),
            heads_taken: Cell::new(0),
            rested_at: Cell::new(0),
            is_busy: Cell::new(false),
            head_is_partial: Cell::new(false),
            head_timed_out: Cell::new(false),
            held: Cell::new(false),
            streams_events: Cell::new(false),
            stream_is_to_end: Cell::new(false),
            body_refusal: Cell::new(None),
            lingers: Cell::new(false),
            tunnel_of: RefCell::default(),
            clean: Cell::new(true),
            interim: RefCell::default(),
            interim_sent: Cell::new(0),
            interim_begun: Cell::new(false),
            forwarded: RefCell::default(),
            upgrade: RefCell::default(),
        });
        worker.deadlines.fill(place, Rc::clone(&session));
        session
    }

    /// The connection is gone.
    pub(crate) fn end(&self) {
        self.worker.deadlines.release(self.place);
        self.waker.take();
        self.upgrade.take();
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    // --- The clock ---

    /// Remembers whom to wake.
    pub(crate) fn attend(&self, waker: &Waker) {
        let mut present = self.waker.borrow_mut();
        if !present.as_ref().is_some_and(|present| present.will_wake(waker)) {
            *present = Some(waker.clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The deadline has passed.
    pub(crate) fn expire(&self) {
        self.expired.set(true);
        self.wake();
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expired.get()
    }

    pub(crate) fn take_expired(&self) -> bool {
        self.expired.replace(false)
    }

    pub(crate) fn set_deadline(&self, after: Duration) {
        self.worker.deadlines.set(self.place, ticks(after));
    }

    pub(crate) fn no_deadline(&self) {
        self.worker.deadlines.set(self.place, NEVER);
    }

    /// Enters `phase`, which may last for `timeout`.
    pub(crate) fn enter(&self, phase: Phase, timeout: Option<Duration>) {
        self.phase.set(phase);
        self.expired.set(false);
        self.worker.deadlines.set(self.place, timeout.map_or(NEVER, ticks));
    }

    /// Enters a phase in which a body moves; every byte begins `timeout` anew.
    pub(crate) fn enter_body(&self, phase: Phase, timeout: Duration) {
        self.idle_body.set(ticks(timeout));
        self.enter(phase, Some(timeout));
    }

    /// Says what the answer is that begins.
    pub(crate) fn answer_streams_events(&self, does: bool) {
        self.streams_events.set(does);
        self.stream_is_to_end.set(false);
    }

    /// Has a stream of events end as if the application had ended it: clients come again by themselves.
    pub(crate) fn end_event_stream(&self) {
        if self.streams_events.get() && self.phase.get() == Phase::Answer {
            self.stream_is_to_end.set(true);
            self.wake();
        }
    }

    /// Whether the answer is to end here.
    pub(crate) fn stream_is_to_end(&self) -> bool {
        self.stream_is_to_end.get()
    }

    /// Bytes moved.
    pub(crate) fn touch(&self) {
        if matches!(self.phase.get(), Phase::Upload | Phase::Answer) {
            self.worker.deadlines.set(self.place, self.idle_body.get());
        }
    }

    /// The answer has been handed over whole; it may not have been written.
    pub(crate) fn rest(&self) {
        if self.head_is_partial.get() {
            self.enter(Phase::Head, Some(self.worker.limits.head_timeout));
        } else {
            self.rested_at.set(self.worker.deadlines.now());
            let after = if self.is_busy.get() { REST_AFTER } else { Duration::ZERO };
            self.enter(Phase::Idle, Some(after.min(self.worker.limits.keep_alive_timeout)));
        }
    }

    /// How long ago the last answer was handed over.
    pub(crate) fn rested_for(&self) -> Duration {
        TICK * self.worker.deadlines.now().wrapping_sub(self.rested_at.get())
    }

    // --- What the guard tells ---

    pub(crate) fn head_begun(&self) {
        if !self.head_is_partial.replace(true) && self.phase.get() == Phase::Idle {
            self.enter(Phase::Head, Some(self.worker.limits.head_timeout));
        }
    }

    pub(crate) fn head_complete(&self, head: Head, bytes: &[u8]) {
        self.head_is_partial.set(false);
        if matches!(self.phase.get(), Phase::Idle | Phase::Head) {
            let rested = self.worker.deadlines.now().wrapping_sub(self.rested_at.get());
            self.is_busy.set(rested <= ticks(REST_AFTER) && self.heads_taken.get() > 0);
            self.enter(Phase::Busy, None);
        }
        self.heads_passed.set(self.heads_passed.get() + 1);
        let mut heads = self.heads.borrow_mut();
        if heads.is_empty() && head.refusal.is_none() && !head.flags.has(Flags::BODY) {
            let mut copy = self.copy.borrow_mut();
            copy.clear();
            copy.extend_from_slice(bytes);
            self.copy_of.set(self.heads_passed.get());
        }
        heads.push_back(head);
    }

    /// The head of the request that is being served, if it is still known. Requests that are sent ahead of their turn
    /// displace it.
    pub(crate) fn copy_of_head(&self) -> Option<Vec<u8>> {
        (self.copy_of.get() == self.heads_taken.get()).then(|| self.copy.borrow().clone())
    }

    /// Gives back what is not needed while the connection rests.
    pub(crate) fn shrink(&self) {
        self.copy.take();
        self.copy_of.set(0);
        self.heads.take();
        self.forwarded.take();
    }

    /// The head of the request that the server has just read.
    pub(crate) fn next_head(&self) -> Option<Head> {
        self.heads_taken.set(self.heads_taken.get() + 1);
        self.heads.borrow_mut().pop_front()
    }

    /// The head that was being read took too long. Returns false where that has been said before.
    pub(crate) fn time_out_head(&self) -> bool {
        !self.head_timed_out.replace(true) && self.head_is_partial.get()
    }

    pub(crate) fn head_timed_out(&self) -> bool {
        self.head_timed_out.replace(false)
    }

    pub(crate) fn hold(&self) {
        self.held.set(true);
    }

    pub(crate) fn is_held(&self) -> bool {
        self.held.get()
    }

    /// The connection goes on with HTTP.
    pub(crate) fn release(&self) {
        if self.held.replace(false) {
            self.wake();
        }
    }

    pub(crate) fn body_refused(&self, refusal: Refusal) {
        self.body_refusal.set(Some(refusal));
    }

    pub(crate) fn body_refusal(&self) -> Option<Refusal> {
        self.body_refusal.get()
    }

    /// The client may still be sending what nobody will read. If the socket were closed on that, the system would throw
    /// away the answer, too.
    pub(crate) fn linger_at_end(&self) {
        self.lingers.set(true);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.lingers.get()
    }

    // --- Tunnels ---

    /// The connection carries another protocol from now on.
    pub(crate) fn enter_tunnel(&self, placement: &Arc<Placement>) {
        // It may have left the table while the protocol was being changed.
        self.enter(Phase::Tunnel, (!placement.is_live()).then(|| placement.drain_timeout()));
        self.tunnel_of.replace(Some(Arc::clone(placement)));
    }

    pub(crate) fn is_tunnel_of(&self, placement: &Arc<Placement>) -> bool {
        self.tunnel_of.borrow().as_ref().is_some_and(|of| Arc::ptr_eq(of, placement))
    }

    // --- Interim answers, which the server behind the guard cannot send ---

    pub(crate) fn wrote(&self) {
        self.clean.set(false);
        self.touch();
    }

    /// Something has been handed to the server to be written, or may have been.
    pub(crate) fn soil(&self) {
        self.clean.set(false);
    }

    pub(crate) fn flushed(&self) {
        self.clean.set(true);
    }

    /// Whether nothing is left to write.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean.get() && self.interim.borrow().is_empty()
    }

    /// Sends an interim answer as soon as nothing else is being sent.
    pub(crate) fn push_interim(&self, bytes: &[u8]) {
        let mut interim = self.interim.borrow_mut();
        if interim.len() + bytes.len() <= INTERIM_BYTES_MAX {
            interim.extend_from_slice(bytes);
            self.wake();
        }
    }

    /// The final answer follows: interim ones stand before it, or where something is still being written, nowhere.
    pub(crate) fn end_interim(&self) {
        let mut interim = self.interim.borrow_mut();
        if !interim.is_empty() {
            if self.clean.get() || self.interim_begun.get() {
                self.interim_begun.set(true);
            } else {
                interim.clear();
            }
        }
        self.clean.set(false);
    }

    pub(crate) fn poll_interim(&self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        let mut interim = self.interim.borrow_mut();
        if interim.is_empty() || !self.clean.get() && !self.interim_begun.get() {
            return Poll::Ready(Ok(()));
        }
        self.interim_begun.set(true);
        while self.interim_sent.get() < interim.len() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &interim[self.interim_sent.get()..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim_sent.set(self.interim_sent.get() + written);
        }
        *interim = Vec::new();
        self.interim_sent.set(0);
        self.interim_begun.set(false);
        Poll::Ready(Ok(()))
    }
}
