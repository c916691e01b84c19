//! A request from its head to the head of its answer: routed, sent, and where it could not be sent, sent once more.

use crate::balance;
use crate::body::{AnswerBody, Upload, UploadHold, UploadState};
use crate::exchange::{Exchange, Ticket};
use crate::guard::Flags;
use crate::headers;
use crate::pages::{self, Trouble};
use crate::placement::Instance;
use crate::router::{Group, normalise_host};
use crate::session::{Head, Phase, Session};
use crate::traffic::Failure;
use crate::upgrade::Upgrade;
use crate::upstream::{ConnectError, Upstream, connect};
use crate::worker::Worker;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How often a request may be tried: a stale connection, an instance that is down, and the fallback.
const ATTEMPTS_MAX: usize = 3;

/// How long the application has to ask for the body of a request that waits for being asked. Some never ask.
const CONTINUE_AFTER: Duration = Duration::from_secs(1);

/// Answers a request of the session.
pub(crate) async fn answer(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let started = Instant::now();
    let mut answer = match Sending::new(&session, request, started) {
        Ok(sending) => sending.run().await,
        Err(own) => Err(own),
    };
    if let Err(own) = &mut answer {
        session.rest();
        if own.headers().contains_key(CONNECTION) {
            session.linger_at_end();
        }
    }
    let mut answer = answer.unwrap_or_else(|own| *own);
    session.end_interim();
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        session.release();
        if session.worker().is_stopping() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(answer)
}

/// An answer of our own, which few are.
type Own = Box<Response<AnswerBody>>;

/// A request that is on its way to an instance.
struct Sending {
    session: Rc<Session>,
    group: Arc<Group>,
    ticket: Ticket,
    parts: request::Parts,
    body: Upload,
    upload: Option<UploadHold>,
    flags: Flags,
    /// Whether it may be sent again when it is not known whether the first one arrived.
    replayable: bool,
    upgrade: bool,
    is_fallback: bool,
    /// A connection from the pool has failed; another one could, too.
    fresh_only: bool,
    started: Instant,
}

/// How sending ended, where not with an answer.
enum Unsent {
    /// No byte of it was written: here it is.
    Returned(Box<Request<Upload>>),
    /// The connection broke. `answered`: after some bytes of an answer.
    Broken { answered: bool },
    /// The application's answer did not come in time.
    Timeout,
    /// The client did not send the rest of the body in time, or sent what is none.
    Client(crate::guard::Refusal),
}

impl Sending {
    fn new(session: &Rc<Session>, request: Request<Incoming>, started: Instant) -> Result<Self, Own> {
        let worker = session.worker();
        let unrouted = &worker.plane.unrouted;
        let bad = |reason| Box::new(pages::refused(crate::guard::Refusal::bad(reason), unrouted));
        let head = session.next_head().ok_or_else(|| bad("it came out of turn"))?;
        let Head { flags, refusal: None } = head else {
            let refusal = head.refusal.unwrap_or(crate::guard::Refusal::TIMEOUT);
            return Err(Box::new(pages::refused(refusal, unrouted)));
        };
        let (mut parts, incoming) = request.into_parts();
        let (group, strip) = route(worker, &parts)?;
        let Some((instance, is_fallback)) = balance::choose(&group, &worker.dice) else {
            return Err(Box::new(pages::trouble(Trouble::Unavailable, &group)));
        };
        let ticket = Ticket::new(worker, instance, started);
        if is_fallback {
            ticket.traffic().fallbacks.add(1);
        }
        let upgrade = flags.has(Flags::UPGRADE) && headers::may_upgrade(&parts.headers);
        headers::to_application(&mut parts, flags, session, &group.forward, strip, upgrade)
            .ok_or_else(|| bad("its target is malformed"))?;
        parts.extensions.clear();
        let (body, upload) = if flags.has(Flags::BODY) {
            let waits = flags.has(Flags::EXPECT);
            let state = UploadState::new(Rc::clone(session), group.forward.first_byte_timeout, waits);
            (Upload::Stream(incoming, Rc::clone(&state)), Some(UploadHold(state)))
        } else {
            (Upload::Empty, None)
        };
        let replayable = upload.is_none() && !upgrade && is_idempotent(&parts.method);
        let session = Rc::clone(session);
        Ok(Sending {
            session,
            group,
            ticket,
            parts,
            body,
            upload,
            flags,
            replayable,
            upgrade,
            is_fallback,
            fresh_only: false,
            started,
        })
    }

    async fn run(mut self) -> Result<Response<AnswerBody>, Own> {
        let mut was_sent = false;
        for attempt in 1..=ATTEMPTS_MAX {
            let (mut upstream, reused) = match self.upstream().await {
                Ok(found) => found,
                Err(error) => {
                    self.ticket.fail(Failure::Connect);
                    tracing::debug!(instance = %self.ticket.instance.address, %error, "cannot connect");
                    let other = (attempt < ATTEMPTS_MAX).then(|| self.other(Some(attempt))).flatten();
                    match other {
                        Some((instance, is_fallback)) => self = self.go_to(instance, is_fallback),
                        None if matches!(error, ConnectError::Timeout(_)) => return Err(self.give_up(Trouble::Timeout)),
                        None => return Err(self.give_up(Trouble::BadGateway)),
                    }
                    continue;
                }
            };
            if let Some(moved) = self.after_cutover() {
                let Some((instance, is_fallback)) = moved else {
                    return Err(self.give_up(Trouble::Unavailable));
                };
                self = self.go_to(instance, is_fallback);
                if attempt < ATTEMPTS_MAX {
                    continue;
                }
                return Err(self.give_up(Trouble::Unavailable));
            }
            let spare = self.replayable.then(|| self.parts.clone());
            let parts = std::mem::replace(&mut self.parts, empty_parts());
            let body = std::mem::replace(&mut self.body, Upload::Empty);
            let raw = self.upgrade.then(|| upstream.wire.expect_raw());
            let unsent = match self.send(&mut upstream, Request::from_parts(parts, body)).await {
                Ok(answer) => return self.begin_answer(answer, upstream, raw),
                Err(unsent) => unsent,
            };
            drop(upstream);
            match (unsent, spare) {
                (Unsent::Returned(request), _) => (self.parts, self.body) = request.into_parts(),
                (Unsent::Broken { answered: false }, Some(parts)) if !was_sent => {
                    (self.parts, was_sent) = (parts, true);
                    if !reused {
                        self.ticket.fail(Failure::Reset);
                    }
                }
                (Unsent::Broken { .. }, _) => {
                    self.ticket.fail(Failure::Reset);
                    return Err(self.give_up(Trouble::BadGateway));
                }
                (Unsent::Timeout, _) => {
                    self.ticket.fail(Failure::Timeout);
                    return Err(self.give_up(Trouble::Timeout));
                }
                (Unsent::Client(refusal), _) => return Err(Box::new(pages::refused(refusal, &self.group.own))),
            }
            // The instance closed a connection that rested: that says nothing about the instance.
            self.fresh_only = true;
            let (instance, is_fallback) = match self.other((!reused).then_some(attempt)) {
                Some(other) => other,
                None => (Arc::clone(&self.ticket.instance), self.is_fallback),
            };
            self = self.go_to(instance, is_fallback);
        }
        self.ticket.fail(Failure::Reset);
        Err(self.give_up(Trouble::BadGateway))
    }

    /// A connection to the instance.
    async fn upstream(&self) -> Result<(Upstream, bool), ConnectError> {
        let worker = self.session.worker();
        let instance = &self.ticket.instance;
        if !self.fresh_only
            && let Some(upstream) = worker.pool.take(worker, instance, !self.replayable)
        {
            return Ok((upstream, true));
        }
        let upstream = Box::pin(connect(instance.address, self.group.forward.connect_timeout)).await?;
        Ok((upstream, false))
    }

    /// Another instance than the present one, and whether it is the fallback's. `failed`: the attempt that says that
    /// the instance is in trouble. After the second such attempt the fallback goes before further live instances.
    fn other(&self, failed: Option<usize>) -> Option<(Arc<Instance>, bool)> {
        let dice = &self.session.worker().dice;
        let present = &self.ticket.instance;
        let group = self.session.worker().present_group(&present.placement.id.key).unwrap_or(Arc::clone(&self.group));
        let live = || balance::choose_other(&group, present, dice).map(|instance| (instance, false));
        let fallback = || {
            let has_live = group.slots.iter().any(|slot| slot.weight > 0);
            let instance = if has_live { balance::fallback(&group, dice) } else { None };
            instance.filter(|instance| instance.serial != present.serial).map(|instance| (instance, true))
        };
        match failed {
            None => live(),
            Some(1) => live().or_else(fallback),
            Some(_) => fallback().or_else(live),
        }
    }

    /// Where the table has changed while connecting took its time, and the instance gets no requests any more: the one
    /// to go to instead, if there is one. Nothing has been sent.
    #[allow(clippy::option_option, reason = "no change, a change to another instance, a change to none")]
    fn after_cutover(&self) -> Option<Option<(Arc<Instance>, bool)>> {
        if self.is_fallback || self.ticket.instance.is_live() {
            return None;
        }
        let worker = self.session.worker();
        let group = worker.present_group(&self.ticket.instance.placement.id.key)?;
        Some(balance::choose(&group, &worker.dice))
    }

    fn go_to(mut self, instance: Arc<Instance>, is_fallback: bool) -> Self {
        self.ticket = self.ticket.move_to(instance);
        self.ticket.traffic().retries.add(1);
        if is_fallback && !self.is_fallback {
            self.ticket.traffic().fallbacks.add(1);
        }
        self.is_fallback = is_fallback;
        self
    }

    fn give_up(self, trouble: Trouble) -> Own {
        self.ticket.settle();
        Box::new(pages::trouble(trouble, &self.group))
    }

    /// Sends the request and waits for the head of the answer.
    async fn send(&self, upstream: &mut Upstream, request: Request<Upload>) -> Result<Response<Incoming>, Unsent> {
        let (session, forward) = (&self.session, &self.group.forward);
        let client = (!self.flags.has(Flags::HTTP_10)).then(|| Rc::clone(session));
        upstream.wire.arm(client, self.upload.as_ref().map(|upload| Rc::clone(&upload.0)));
        match &self.upload {
            Some(_) => session.enter_body(Phase::Upload, forward.idle_body_timeout),
            None => session.enter(Phase::Wait, Some(forward.first_byte_timeout)),
        }
        let mut patience = self.upload.as_ref().filter(|upload| upload.0.waits()).map(|upload| {
            let sleep = Box::pin(tokio::time::sleep(CONTINUE_AFTER));
            (sleep, Rc::clone(&upload.0))
        });
        let mut answer = pin!(upstream.sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            if let Some((sleep, upload)) = &mut patience
                && sleep.as_mut().poll(cx).is_ready()
            {
                upload.proceed();
                patience = None;
            }
            match answer.as_mut().poll(cx) {
                Poll::Pending if session.take_expired() => Poll::Ready(None),
                polled => polled.map(Some),
            }
        });
        let error = match answer.await {
            Some(Ok(answer)) => return Ok(answer),
            None if session.phase() == Phase::Upload && self.upload.as_ref().is_some_and(|u| u.0.is_starved()) => {
                return Err(Unsent::Client(crate::guard::Refusal::TIMEOUT));
            }
            None => return Err(Unsent::Timeout),
            Some(Err(error)) => error,
        };
        if let Some(refusal) = session.body_refusal() {
            return Err(Unsent::Client(refusal));
        }
        let answered = upstream.wire.is_answered();
        let mut error = error;
        if let Some(request) = error.take_message() {
            return Err(Unsent::Returned(Box::new(request)));
        }
        tracing::debug!(instance = %self.ticket.instance.address, error = %error.error(), "the connection broke");
        if error.error().is_user() {
            return Err(Unsent::Client(crate::guard::Refusal::bad("its body broke off")));
        }
        Err(Unsent::Broken { answered })
    }

    /// The head of the answer is here.
    fn begin_answer(
        mut self,
        answer: Response<Incoming>,
        upstream: Upstream,
        raw: Option<tokio::sync::oneshot::Receiver<crate::upstream::Raw>>,
    ) -> Result<Response<AnswerBody>, Own> {
        let (mut parts, incoming) = answer.into_parts();
        let latency_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let is_upgrade = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        parts.version = http::Version::HTTP_11;
        self.ticket.traffic().answer(parts.status.as_u16(), latency_us);
        if !is_upgrade {
            headers::to_client(&mut parts.headers, false);
            if let Some(upload) = &self.upload {
                upload.0.answered();
            }
            self.session.enter_body(Phase::Answer, self.group.forward.idle_body_timeout);
            let exchange = Exchange::new(self.ticket, upstream, self.session, self.upload);
            return Ok(Response::from_parts(parts, AnswerBody::stream(incoming, exchange)));
        }
        let Some(raw) = raw else {
            // A change of protocol that nobody asked for.
            self.ticket.fail(Failure::Reset);
            return Err(self.give_up(Trouble::BadGateway));
        };
        let is_websocket = parts.headers.get(UPGRADE).is_some_and(|protocol| headers::has_token(protocol, "websocket"));
        headers::to_client(&mut parts.headers, true);
        self.ticket.upgrade();
        self.session.enter_tunnel(&self.ticket.instance.placement);
        let upgrade = Upgrade { ticket: self.ticket, upstream, raw, is_websocket };
        self.session.upgrade.replace(Some(upgrade));
        Ok(Response::from_parts(parts, AnswerBody::Empty))
    }
}

/// The group that the request belongs to, and how many bytes to cut off its path.
fn route(worker: &Worker, parts: &request::Parts) -> Result<(Arc<Group>, usize), Own> {
    let unrouted = &worker.plane.unrouted;
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let mut buffer = String::new();
    let Some(host) = host.and_then(|host| normalise_host(host, &mut buffer)) else {
        let refusal = crate::guard::Refusal::bad("its host is malformed");
        return Err(Box::new(pages::refused(refusal, unrouted)));
    };
    let found = worker
        .with_routes(|routes| routes.find(host, parts.uri.path()).map(|(group, strip)| (Arc::clone(group), strip)));
    found.ok_or_else(|| Box::new(pages::no_route(unrouted)))
}

/// Sending such a request twice is the same as sending it once (RFC 9110, 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

fn empty_parts() -> request::Parts {
    Request::new(()).into_parts().0
}
