//! Bodies on their way through, frame by frame, in both directions; nothing is collected.

use crate::exchange::Exchange;
use crate::session::Session;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// The body of a request on its way to the application.
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// There is one.
    Stream(Incoming, Rc<UploadState>),
}

/// What is known of a request's body while it is on its way.
pub(crate) struct UploadState {
    session: Rc<Session>,
    /// How long the application has for its answer when the body is complete.
    first_byte_timeout: Duration,
    /// The client waits for the application's 100 before it sends the body.
    waits: Cell<bool>,
    complete: Cell<bool>,
    aborted: Cell<bool>,
    /// The answer has begun: the deadlines are its own.
    answered: Cell<bool>,
    starved: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl UploadState {
    pub(crate) fn new(session: Rc<Session>, first_byte_timeout: Duration, waits: bool) -> Rc<Self> {
        Rc::new(UploadState {
            session,
            first_byte_timeout,
            waits: Cell::new(waits),
            complete: Cell::new(false),
            aborted: Cell::new(false),
            answered: Cell::new(false),
            starved: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// The application wants the body, or has not said so for long enough.
    pub(crate) fn proceed(&self) {
        self.waits.set(false);
        self.wake();
    }

    /// Whether it still waits for the application's word.
    pub(crate) fn waits(&self) -> bool {
        self.waits.get()
    }

    /// No more of the body is wanted.
    pub(crate) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    pub(crate) fn answered(&self) {
        self.answered.set(true);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// Whether it is the client that the body waits for.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn completed(&self) {
        self.complete.set(true);
        if !self.answered.get() {
            self.session.enter(crate::session::Phase::Wait, Some(self.first_byte_timeout));
        }
    }
}

/// Held by whoever wants the body sent: without it, what is left of the body is not wanted any more.
pub(crate) struct UploadHold(pub(crate) Rc<UploadState>);

impl Drop for UploadHold {
    fn drop(&mut self) {
        if !self.0.is_complete() {
            self.0.abort();
        }
    }
}

/// Why no more of a request's body comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the request's body was cut off: {0}")]
    Client(hyper::Error),
    #[error("the request's body is no longer needed")]
    Aborted,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let Upload::Stream(incoming, state) = self.get_mut() else {
            return Poll::Ready(None);
        };
        if state.aborted.get() {
            return Poll::Ready(Some(Err(UploadError::Aborted)));
        }
        if state.waits.get() {
            *state.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        state.starved.set(polled.is_pending());
        if polled.is_pending() {
            *state.waker.borrow_mut() = Some(cx.waker().clone());
        }
        let frame = ready!(polled);
        state.session.touch();
        if frame.is_none() || incoming.is_end_stream() {
            state.completed();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Upload::Empty => true,
            Upload::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Upload::Empty => SizeHint::with_exact(0),
            Upload::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}

/// The body of an answer on its way to the client.
#[derive(Default)]
pub(crate) enum AnswerBody {
    /// It has ended, or there is none.
    #[default]
    Empty,
    /// A page of our own.
    Page(Bytes),
    /// The application's.
    Stream(Incoming, Exchange),
}

impl AnswerBody {
    pub(crate) fn page(html: Bytes) -> Self {
        if html.is_empty() { AnswerBody::Empty } else { AnswerBody::Page(html) }
    }

    /// The application's answer. Where its body is empty the exchange is at its end.
    pub(crate) fn stream(incoming: Incoming, exchange: Exchange) -> Self {
        if incoming.is_end_stream() {
            exchange.finish();
            return AnswerBody::Empty;
        }
        AnswerBody::Stream(incoming, exchange)
    }

    fn end(&mut self) {
        if let AnswerBody::Stream(_, exchange) = std::mem::replace(self, AnswerBody::Empty) {
            exchange.finish();
        }
    }
}

/// Why no more of an answer comes. The client's connection ends with it, so that nobody takes a part for the whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer was cut off: {0}")]
    Application(hyper::Error),
    #[error("the rest of the answer did not arrive in time")]
    Timeout,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        let this = self.get_mut();
        let (incoming, exchange) = match this {
            AnswerBody::Empty => return Poll::Ready(None),
            AnswerBody::Page(_) => {
                let AnswerBody::Page(html) = std::mem::replace(this, AnswerBody::Empty) else {
                    return Poll::Ready(None);
                };
                return Poll::Ready(Some(Ok(Frame::data(html))));
            }
            AnswerBody::Stream(incoming, exchange) => (incoming, exchange),
        };
        let polled = Pin::new(&mut *incoming).poll_frame(cx);
        if polled.is_pending() && exchange.is_overdue() {
            exchange.timed_out();
            *this = AnswerBody::Empty;
            return Poll::Ready(Some(Err(AnswerError::Timeout)));
        }
        if polled.is_pending() && exchange.is_to_end() {
            exchange.end_early();
            *this = AnswerBody::Empty;
            return Poll::Ready(None);
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                exchange.moved();
                if incoming.is_end_stream() {
                    this.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                exchange.broke();
                *this = AnswerBody::Empty;
                Poll::Ready(Some(Err(AnswerError::Application(error))))
            }
            None => {
                if incoming.size_hint().exact().is_none() {
                    exchange.ends_with_bytes();
                }
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Empty => true,
            AnswerBody::Page(_) => false,
            AnswerBody::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Empty => SizeHint::with_exact(0),
            AnswerBody::Page(html) => SizeHint::with_exact(html.len() as u64),
            AnswerBody::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}
