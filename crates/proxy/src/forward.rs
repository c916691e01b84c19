//! A request from its head to the head of its answer, as the server asks for it. Most requests go onto a connection
//! from the pool at once; those that do not, or come back from there, take the longer way.

use crate::balance;
use crate::body::{AnswerBody, Upload};
use crate::guard::{Flags, Refusal};
use crate::hold::{self, Holding};
use crate::pages::{self, Trouble};
use crate::placement::CoreInstance;
use crate::preview;
use crate::router::{Forward, normalise_host};
use crate::sending::{NotSent, Own, Sending, Sent};
use crate::session::{Head, Session};
use crate::split::Side;
use crate::upstream::{Raw, Upstream};
use crate::worker::Worker;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::oneshot;

/// Answers a request of the session.
pub(crate) fn answer(session: &Rc<Session>, request: Request<Incoming>) -> Answering {
    let state = match begin(session, request) {
        Err((NotSent::Own(own), _)) => State::Own(Some(own)),
        Err((NotSent::Held(held), flags)) => {
            let (request, holding) = *held;
            State::Long(Box::pin(hold::answer(Rc::clone(session), request, flags, holding)))
        }
        Ok((sending, request)) => match sending.pooled() {
            Some(mut upstream) if !sending.waits() => {
                let raw = sending.arm(&upstream);
                let answer = Box::pin(upstream.sender.try_send_request(request));
                State::Sent(Some((sending, upstream, raw)), answer)
            }
            pooled => State::Long(Box::pin(sending.run(request, pooled, 1))),
        },
    };
    Answering { session: Rc::clone(session), state }
}

type Begun = (Sending, Request<Upload>);

/// Takes what the guard has seen of the request, and routes it.
fn begin(session: &Rc<Session>, request: Request<Incoming>) -> std::result::Result<Begun, (NotSent, Flags)> {
    let refuse = |refusal| {
        let own = Box::new(pages::refused(refusal, &session.worker().plane.unrouted));
        (NotSent::Own(own), Flags::default())
    };
    let Head { flags, refusal } =
        session.next_head().ok_or_else(|| refuse(Refusal::bad("the request is out of turn")))?;
    match refusal {
        Some(refusal) => Err(refuse(refusal)),
        None => Sending::new(session, request, flags).map_err(|not_sent| (not_sent, flags)),
    }
}

/// A request that is being answered. Small, as it is moved about for each request.
pub(crate) struct Answering {
    session: Rc<Session>,
    state: State,
}

type Result<T> = std::result::Result<T, Own>;
type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

enum State {
    /// The answer is our own.
    Own(Option<Own>),
    /// Handed to a connection from the pool.
    Sent(Option<(Sending, Upstream, Option<oneshot::Receiver<Raw>>)>, Boxed<Sent>),
    /// Everything else.
    Long(Boxed<Result<Response<AnswerBody>>>),
}

impl Future for Answering {
    type Output = std::result::Result<Response<AnswerBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let answer = match &mut this.state {
                State::Own(own) => Err(own.take().unwrap_or_default()),
                State::Long(answer) => ready!(answer.as_mut().poll(cx)),
                State::Sent(sent, answer) => {
                    let polled = match answer.as_mut().poll(cx) {
                        Poll::Pending if this.session.take_expired() => None,
                        polled => Some(ready!(polled)),
                    };
                    let Some((mut sending, upstream, raw)) = sent.take() else {
                        return Poll::Pending;
                    };
                    match sending.outcome(polled, &upstream) {
                        Ok(answer) => sending.begin_answer(answer, upstream, raw),
                        Err(unsent) => {
                            drop(upstream);
                            match sending.recover(unsent, true, 1) {
                                Ok(request) => {
                                    this.state = State::Long(Box::pin(sending.run(request, None, 2)));
                                    continue;
                                }
                                Err(own) => Err(own),
                            }
                        }
                    }
                }
            };
            return Poll::Ready(Ok(this.complete(answer)));
        }
    }
}

impl Answering {
    fn complete(&self, answer: Result<Response<AnswerBody>>) -> Response<AnswerBody> {
        let session = &self.session;
        let mut answer = answer.unwrap_or_else(|own| {
            session.rest();
            if own.headers().contains_key(CONNECTION) {
                session.linger_at_end();
            }
            *own
        });
        session.end_interim();
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            session.release();
            if session.worker().is_stopping() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        answer
    }
}

/// What routing comes to.
pub(crate) enum Route {
    /// It goes there.
    To(Routed),
    /// It waits.
    Held(Holding),
}

/// Where a request goes.
pub(crate) struct Routed {
    pub(crate) instance: Arc<CoreInstance>,
    pub(crate) is_fallback: bool,
    /// Whether it goes to a release that is being tested, and nowhere else.
    pub(crate) is_preview: bool,
    /// Whether its visitor is to stay on that release, and does not know it yet.
    pub(crate) is_new_visitor: bool,
    pub(crate) forward: Forward,
    /// Bytes to cut off the path.
    pub(crate) strip: usize,
}

/// Finds the request's group, and in it an instance.
pub(crate) fn route(worker: &Worker, parts: &request::Parts, flags: Flags) -> Result<Route> {
    let unrouted = &worker.plane.unrouted;
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let mut buffer = String::new();
    let Some(host) = host.and_then(|host| normalise_host(host, &mut buffer)) else {
        return Err(Box::new(pages::refused(Refusal::bad("the host is malformed"), unrouted)));
    };
    worker.with_routes(|routes| {
        let found = routes.find(host, parts.uri.path());
        let (group, strip) = found.ok_or_else(|| Box::new(pages::no_route(unrouted)))?;
        let preview = preview::asked(group, &parts.headers, flags);
        let preview = preview.map_err(|_| Box::new(pages::no_preview(unrouted)))?;
        let is_preview = preview.is_some();
        if preview.is_none()
            && let Some(maintenance) = &group.maintenance
            && !maintenance.health_paths.iter().any(|path| path == parts.uri.path())
        {
            return Err(Box::new(pages::maintenance(group, maintenance.page.as_ref())));
        }
        if preview.is_none()
            && let Some(settings) = &group.source.hold
        {
            let (settings, own) = (settings.clone(), Arc::clone(&group.own));
            // A route without a slot has nothing to be held for.
            let key = group.slots.first().map(|slot| Arc::new(slot.placement.id.key.clone()));
            if let Some(key) = key {
                return Ok(Route::Held(Holding { key, settings, own }));
            }
        }
        let group = preview.unwrap_or(group);
        let side = group.split.as_ref().and_then(|split| split.side(group, &parts.headers, parts.uri.path()));
        let is_new_visitor = side == Some(Side::Drawn);
        let (instance, is_fallback) = balance::choose(group, side, &worker.dice)
            .ok_or_else(|| Box::new(pages::trouble(Trouble::Unavailable, Some(group), unrouted)))?;
        Ok(Route::To(Routed { instance, is_fallback, is_preview, is_new_visitor, forward: group.forward, strip }))
    })
}
