//! A request from its head to the head of its answer: routed, sent, and where it could not be sent, sent once more.

use crate::balance;
use crate::body::{AnswerBody, Upload, UploadHold, UploadState};
use crate::exchange::{Exchange, Ticket};
use crate::guard::{Flags, Refusal};
use crate::headers;
use crate::pages::{self, Trouble};
use crate::placement::CoreInstance;
use crate::replay;
use crate::router::{Forward, normalise_host};
use crate::session::{Head, Phase, Session};
use crate::traffic::Failure;
use crate::upgrade::Upgrade;
use crate::upstream::{ConnectError, Raw, Upstream, connect};
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
use tokio::sync::oneshot;

/// How often a request may be tried: a stale connection, an instance that is down, and the fallback.
const ATTEMPTS_MAX: usize = 3;

/// How long the application has to ask for the body of a request that waits for being asked. Some never ask.
const CONTINUE_AFTER: Duration = Duration::from_secs(1);

/// An answer of our own, which few are.
type Own = Box<Response<AnswerBody>>;

/// Answers a request of the session.
pub(crate) async fn answer(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let answer = match Sending::new(&session, request) {
        Ok((sending, request)) => sending.run(request).await,
        Err(own) => Err(own),
    };
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
    Ok(answer)
}

/// A request that is on its way to an instance.
struct Sending {
    session: Rc<Session>,
    ticket: Ticket,
    upload: Option<UploadHold>,
    forward: Forward,
    flags: Flags,
    /// Bytes that are cut off the path.
    strip: usize,
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
    Client(Refusal),
}

impl Sending {
    fn new(session: &Rc<Session>, request: Request<Incoming>) -> Result<(Self, Request<Upload>), Own> {
        let started = Instant::now();
        let worker = session.worker();
        let refuse = |refusal| Box::new(pages::refused(refusal, &worker.plane.unrouted));
        let Head { flags, refusal } = session.next_head().ok_or_else(|| refuse(Refusal::bad("it is out of turn")))?;
        if let Some(refusal) = refusal {
            return Err(refuse(refusal));
        }
        let (mut parts, incoming) = request.into_parts();
        let Routed { instance, is_fallback, forward, strip } = route(worker, &parts)?;
        let ticket = Ticket::new(worker, instance, started);
        if is_fallback {
            ticket.traffic().fallbacks.add(1);
        }
        let upgrade = flags.has(Flags::UPGRADE) && headers::may_upgrade(&parts.headers);
        headers::to_application(&mut parts, flags, session, forward.trust_forwarded, strip, upgrade)
            .ok_or_else(|| refuse(Refusal::bad("its target is malformed")))?;
        parts.extensions.clear();
        let (body, upload) = if flags.has(Flags::BODY) {
            let waits = flags.has(Flags::EXPECT);
            let state = UploadState::new(Rc::clone(session), forward.first_byte_timeout, waits);
            (Upload::Stream(incoming, Rc::clone(&state)), Some(UploadHold(state)))
        } else {
            (Upload::Empty, None)
        };
        let replayable = upload.is_none() && !upgrade && is_idempotent(&parts.method);
        let sending = Sending {
            session: Rc::clone(session),
            ticket,
            upload,
            forward,
            flags,
            strip,
            replayable,
            upgrade,
            is_fallback,
            fresh_only: false,
            started,
        };
        Ok((sending, Request::from_parts(parts, body)))
    }

    async fn run(mut self, mut request: Request<Upload>) -> Result<Response<AnswerBody>, Own> {
        let mut was_sent = false;
        for attempt in 1..=ATTEMPTS_MAX {
            let (mut upstream, reused) = match self.upstream().await {
                Ok(found) => found,
                Err(error) => {
                    self.ticket.fail(Failure::Connect);
                    tracing::debug!(instance = %self.ticket.instance.address, %error, "cannot connect");
                    let other = (attempt < ATTEMPTS_MAX).then(|| self.other(Some(attempt))).flatten();
                    match (other, error) {
                        (Some((instance, is_fallback)), _) => self.go_to(instance, is_fallback),
                        (None, ConnectError::Timeout(_)) => return Err(self.give_up(Trouble::Timeout)),
                        (None, ConnectError::Refused(_)) => return Err(self.give_up(Trouble::BadGateway)),
                    }
                    continue;
                }
            };
            if !self.is_fallback && !self.ticket.instance.is_live() {
                // The table has changed while connecting took its time. Nothing has been sent.
                match self.after_cutover() {
                    Some((instance, is_fallback)) if attempt < ATTEMPTS_MAX => self.go_to(instance, is_fallback),
                    _ => return Err(self.give_up(Trouble::Unavailable)),
                }
                continue;
            }
            let raw = self.upgrade.then(|| upstream.wire.expect_raw());
            let unsent = match self.send(&mut upstream, request).await {
                Ok(answer) => return self.begin_answer(answer, upstream, raw),
                Err(unsent) => unsent,
            };
            drop(upstream);
            request = match unsent {
                Unsent::Returned(returned) => *returned,
                Unsent::Broken { answered } => {
                    if !reused || answered || was_sent {
                        self.ticket.fail(Failure::Reset);
                    }
                    let again = if self.replayable && !answered && !was_sent { self.replay() } else { None };
                    was_sent = true;
                    match again {
                        Some(again) => again,
                        None => {
                            self.ticket.fail_once(Failure::Reset);
                            return Err(self.give_up(Trouble::BadGateway));
                        }
                    }
                }
                Unsent::Timeout => {
                    self.ticket.fail(Failure::Timeout);
                    return Err(self.give_up(Trouble::Timeout));
                }
                Unsent::Client(refusal) => {
                    return Err(Box::new(pages::refused(refusal, &self.session.worker().plane.unrouted)));
                }
            };
            // An instance that closes a connection which rested is in no trouble.
            self.fresh_only = true;
            let (instance, is_fallback) = self
                .other((!reused).then_some(attempt))
                .unwrap_or((Arc::clone(&self.ticket.instance), self.is_fallback));
            self.go_to(instance, is_fallback);
        }
        self.ticket.fail_once(Failure::Reset);
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
        let upstream = Box::pin(connect(instance.address, self.forward.connect_timeout)).await?;
        Ok((upstream, false))
    }

    /// Another instance than the present one, and whether it is the fallback's. `failed`: the attempt that says that
    /// the instance is in trouble. After the second such attempt the fallback goes before further live instances.
    fn other(&self, failed: Option<usize>) -> Option<(Arc<CoreInstance>, bool)> {
        let worker = self.session.worker();
        let present = &self.ticket.instance;
        let group = worker.present_group(&present.placement.id.key)?;
        let live = || balance::choose_other(&group, present, &worker.dice).map(|instance| (instance, false));
        let fallback = || {
            let instance = balance::fallback(&group, &worker.dice);
            instance.filter(|instance| instance.serial != present.serial).map(|instance| (instance, true))
        };
        match failed {
            None => live(),
            Some(1) => live().or_else(fallback),
            Some(_) => fallback().or_else(live),
        }
    }

    /// Where a request goes whose instance gets none any more.
    fn after_cutover(&self) -> Option<(Arc<CoreInstance>, bool)> {
        let worker = self.session.worker();
        let group = worker.present_group(&self.ticket.instance.placement.id.key)?;
        balance::choose(&group, &worker.dice)
    }

    fn go_to(&mut self, instance: Arc<CoreInstance>, is_fallback: bool) {
        self.ticket.move_to(instance);
        self.ticket.traffic().retries.add(1);
        if is_fallback && !self.is_fallback {
            self.ticket.traffic().fallbacks.add(1);
        }
        self.is_fallback = is_fallback;
    }

    /// The request once more, from what the client sent.
    fn replay(&self) -> Option<Request<Upload>> {
        let mut parts = replay::parse(&self.session.copy_of_head()?)?;
        let trust = self.forward.trust_forwarded;
        headers::to_application(&mut parts, self.flags, &self.session, trust, self.strip, false)?;
        Some(Request::from_parts(parts, Upload::Empty))
    }

    fn give_up(self, trouble: Trouble) -> Own {
        let worker = self.session.worker();
        let group = worker.present_group(&self.ticket.instance.placement.id.key);
        self.ticket.settle();
        Box::new(pages::trouble(trouble, group.as_deref(), &worker.plane.unrouted))
    }

    /// Sends the request and waits for the head of the answer.
    async fn send(&self, upstream: &mut Upstream, request: Request<Upload>) -> Result<Response<Incoming>, Unsent> {
        let session = &self.session;
        let client = (!self.flags.has(Flags::HTTP_10)).then(|| Rc::clone(session));
        upstream.wire.arm(client, self.upload.as_ref().map(|upload| Rc::clone(&upload.0)));
        match &self.upload {
            Some(_) => session.enter_body(Phase::Upload, self.forward.idle_body_timeout),
            None => session.enter(Phase::Wait, Some(self.forward.first_byte_timeout)),
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
        let mut error = match answer.await {
            Some(Ok(answer)) => return Ok(answer),
            None if session.phase() == Phase::Upload && self.upload.as_ref().is_some_and(|u| u.0.is_starved()) => {
                return Err(Unsent::Client(Refusal::TIMEOUT));
            }
            None => return Err(Unsent::Timeout),
            Some(Err(error)) => error,
        };
        if let Some(refusal) = session.body_refusal() {
            return Err(Unsent::Client(refusal));
        }
        if let Some(request) = error.take_message() {
            return Err(Unsent::Returned(Box::new(request)));
        }
        let error = error.error();
        tracing::debug!(instance = %self.ticket.instance.address, %error, "the connection broke");
        if error.is_user() {
            return Err(Unsent::Client(Refusal::bad("its body broke off")));
        }
        Err(Unsent::Broken { answered: upstream.wire.is_answered() })
    }

    /// The head of the answer is here.
    fn begin_answer(
        mut self,
        mut answer: Response<Incoming>,
        upstream: Upstream,
        raw: Option<oneshot::Receiver<Raw>>,
    ) -> Result<Response<AnswerBody>, Own> {
        let latency_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let is_upgrade = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        *answer.version_mut() = http::Version::HTTP_11;
        self.ticket.traffic().answer(answer.status().as_u16(), latency_us);
        if !is_upgrade {
            headers::to_client(answer.headers_mut(), false);
            if let Some(upload) = &self.upload {
                upload.0.answered();
            }
            self.session.enter_body(Phase::Answer, self.forward.idle_body_timeout);
            let exchange = Exchange::new(self.ticket, upstream, self.session, self.upload);
            return Ok(answer.map(|incoming| AnswerBody::stream(incoming, exchange)));
        }
        let Some(raw) = raw else {
            // A change of protocol that nobody asked for.
            self.ticket.fail(Failure::Reset);
            return Err(self.give_up(Trouble::BadGateway));
        };
        let protocol = answer.headers().get(UPGRADE);
        let is_websocket = protocol.is_some_and(|protocol| headers::has_token(protocol, "websocket"));
        headers::to_client(answer.headers_mut(), true);
        self.ticket.upgrade();
        self.session.enter_tunnel(&self.ticket.instance.placement);
        let upgrade = Upgrade { ticket: self.ticket, upstream, raw, is_websocket };
        self.session.upgrade.replace(Some(upgrade));
        Ok(answer.map(|_| AnswerBody::Empty))
    }
}

/// Where a request goes.
struct Routed {
    instance: Arc<CoreInstance>,
    is_fallback: bool,
    forward: Forward,
    /// Bytes to cut off the path.
    strip: usize,
}

/// Finds the request's group, and in it an instance.
fn route(worker: &Worker, parts: &request::Parts) -> Result<Routed, Own> {
    let unrouted = &worker.plane.unrouted;
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(HOST).and_then(|host| host.to_str().ok()),
    };
    let mut buffer = String::new();
    let Some(host) = host.and_then(|host| normalise_host(host, &mut buffer)) else {
        return Err(Box::new(pages::refused(Refusal::bad("its host is malformed"), unrouted)));
    };
    worker.with_routes(|routes| {
        let found = routes.find(host, parts.uri.path());
        let (group, strip) = found.ok_or_else(|| Box::new(pages::no_route(unrouted)))?;
        let (instance, is_fallback) = balance::choose(group, &worker.dice)
            .ok_or_else(|| Box::new(pages::trouble(Trouble::Unavailable, Some(group), unrouted)))?;
        Ok(Routed { instance, is_fallback, forward: group.forward, strip })
    })
}

/// Sending such a request twice is the same as sending it once (RFC 9110, 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}
