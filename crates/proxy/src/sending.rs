//! A request on its way to an instance: sent, and where it could not be sent, sent once more to another one.

use crate::balance;
use crate::body::{AnswerBody, Upload, UploadHold, UploadState};
use crate::exchange::{Exchange, Ticket};
use crate::forward::{Route, Routed, route};
use crate::guard::{Flags, Refusal};
use crate::headers;
use crate::hold::Holding;
use crate::pages::{self, Trouble};
use crate::placement::CoreInstance;
use crate::preview;
use crate::replay;
use crate::router::{Forward, Group};
use crate::session::{Phase, Session};
use crate::traffic::Failure;
use crate::upgrade::Upgrade;
use crate::upstream::{ConnectError, Raw, Upstream, connect};
use http::header::{SET_COOKIE, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
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
pub(crate) type Own = Box<Response<AnswerBody>>;

/// What a connection says of a request that was handed to it.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

/// A request that is on its way to an instance.
pub(crate) struct Sending {
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
    is_preview: bool,
    /// Whether the visitor is to come to the same release the next time, and does not know it yet.
    is_new_visitor: bool,
    /// A connection from the pool has failed; another one could, too.
    fresh_only: bool,
    /// It may have arrived once.
    was_sent: bool,
    started: Instant,
}

/// Why a request is not on its way.
pub(crate) enum NotSent {
    /// The answer is our own.
    Own(Own),
    /// It waits.
    Held(Box<(Request<Incoming>, Holding)>),
}

/// How sending ended, where not with an answer.
pub(crate) enum Unsent {
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
    /// Routes a request and makes its head what the application is to see.
    pub(crate) fn new(
        session: &Rc<Session>,
        request: Request<Incoming>,
        flags: Flags,
    ) -> Result<(Self, Request<Upload>), NotSent> {
        let started = Instant::now();
        let worker = session.worker();
        let refuse = |refusal| Box::new(pages::refused(refusal, &worker.plane.unrouted));
        let (mut parts, incoming) = request.into_parts();
        let routed = match route(worker, &parts, flags).map_err(NotSent::Own)? {
            Route::To(routed) => routed,
            Route::Held(holding) => {
                return Err(NotSent::Held(Box::new((Request::from_parts(parts, incoming), holding))));
            }
        };
        let Routed { instance, is_fallback, is_preview, is_new_visitor, forward, strip } = routed;
        let ticket = Ticket::new(worker, instance, started);
        if is_fallback {
            ticket.traffic().fallbacks.add(1);
        }
        if is_preview {
            parts.headers.remove(preview::HEADER);
        }
        let upgrade = flags.has(Flags::UPGRADE) && headers::may_upgrade(&parts.headers);
        headers::to_application(&mut parts, flags, session, forward.trust_forwarded, strip, upgrade)
            .ok_or_else(|| NotSent::Own(refuse(Refusal::bad("the request target is malformed"))))?;
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
            is_preview,
            is_new_visitor,
            fresh_only: false,
            was_sent: false,
            started,
        };
        Ok((sending, Request::from_parts(parts, body)))
    }

    /// Sends it, beginning with that attempt, on the connection from the pool if there is one.
    pub(crate) async fn run(
        mut self,
        mut request: Request<Upload>,
        mut pooled: Option<Upstream>,
        first_attempt: usize,
    ) -> Result<Response<AnswerBody>, Own> {
        for attempt in first_attempt..=ATTEMPTS_MAX {
            let reused = pooled.is_some();
            let upstream = match pooled.take() {
                Some(upstream) => Ok(upstream),
                None => connect(self.ticket.instance.address, self.forward.connect_timeout).await,
            };
            let mut upstream = match upstream {
                Ok(upstream) => upstream,
                Err(error) => {
                    self.cannot_connect(&error, attempt)?;
                    pooled = self.pooled();
                    continue;
                }
            };
            if !self.is_fallback && !self.ticket.instance.is_live() {
                // The table has changed while connecting took its time. Nothing has been sent.
                match self.after_cutover() {
                    Some((instance, is_fallback)) if attempt < ATTEMPTS_MAX => self.go_to(instance, is_fallback),
                    _ => return Err(self.give_up(Trouble::Unavailable)),
                }
                pooled = self.pooled();
                continue;
            }
            let raw = self.arm(&upstream);
            let outcome = self.send(&mut upstream, request).await;
            match self.outcome(outcome, &upstream) {
                Ok(answer) => return self.begin_answer(answer, upstream, raw),
                Err(unsent) => {
                    drop(upstream);
                    request = self.recover(unsent, reused, attempt)?;
                }
            }
        }
        self.ticket.fail_once(Failure::Reset);
        Err(self.give_up(Trouble::BadGateway))
    }

    /// A connection to the instance that is at hand.
    pub(crate) fn pooled(&self) -> Option<Upstream> {
        let worker = self.session.worker();
        if self.fresh_only { None } else { worker.pool.take(worker, &self.ticket.instance, !self.replayable) }
    }

    /// Whether the body waits for the application's word.
    pub(crate) fn waits(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.0.waits())
    }

    /// The instance cannot be reached: goes to another one, or gives up.
    fn cannot_connect(&mut self, error: &ConnectError, attempt: usize) -> Result<(), Own> {
        self.ticket.fail(Failure::Connect);
        tracing::debug!(instance = %self.ticket.instance.address, %error, "cannot connect");
        let other = if attempt < ATTEMPTS_MAX { self.other(Some(attempt)) } else { None };
        match (other, error) {
            (Some((instance, is_fallback)), _) => {
                self.go_to(instance, is_fallback);
                Ok(())
            }
            (None, ConnectError::Timeout(_)) => Err(self.give_up(Trouble::Timeout)),
            (None, ConnectError::Refused(_)) => Err(self.give_up(Trouble::BadGateway)),
        }
    }

    /// It has not been answered at that attempt: the request to be sent once more, and where to go with it is chosen;
    /// or the answer that there will be none.
    pub(crate) fn recover(&mut self, unsent: Unsent, reused: bool, attempt: usize) -> Result<Request<Upload>, Own> {
        let request = match unsent {
            Unsent::Returned(returned) => *returned,
            Unsent::Broken { answered } => {
                // Once more, and when it may have arrived twice already, only to the slot that stands in.
                let may_go = !self.was_sent || self.other(Some(attempt)).is_some_and(|(_, is_fallback)| is_fallback);
                let again = if self.replayable && !answered && may_go { self.replay() } else { None };
                if again.is_none() || !reused {
                    self.ticket.fail(Failure::Reset);
                }
                self.was_sent = true;
                match again {
                    Some(again) => again,
                    None => return Err(self.give_up(Trouble::BadGateway)),
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
        let (instance, is_fallback) =
            self.other((!reused).then_some(attempt)).unwrap_or((Arc::clone(&self.ticket.instance), self.is_fallback));
        self.go_to(instance, is_fallback);
        Ok(request)
    }

    /// Another instance than the present one, and whether it is the fallback's. `failed`: the attempt that says that
    /// the instance is in trouble. After the second such attempt the fallback goes before further live instances.
    fn other(&self, failed: Option<usize>) -> Option<(Arc<CoreInstance>, bool)> {
        if self.is_preview {
            return None;
        }
        let worker = self.session.worker();
        let present = &self.ticket.instance;
        let group = self.present_group()?;
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
        if self.is_preview {
            return None;
        }
        balance::choose_again(&*self.present_group()?, &self.ticket.instance, &self.session.worker().dice)
    }

    /// What requests to the service of its instance go by now.
    fn present_group(&self) -> Option<Arc<Group>> {
        let instance = &self.ticket.instance;
        let group = self.session.worker().present_group(&instance.placement.id.key)?;
        Some(Arc::clone(group.of_service(&instance.service)))
    }

    fn go_to(&mut self, instance: Arc<CoreInstance>, is_fallback: bool) {
        // Counted where it could not be sent, so that there it is no lost request.
        self.ticket.traffic().retries.add(1);
        self.ticket.move_to(instance);
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

    fn give_up(&mut self, trouble: Trouble) -> Own {
        let worker = self.session.worker();
        let group = worker.present_group(&self.ticket.instance.placement.id.key);
        self.ticket.settle();
        Box::new(pages::trouble(trouble, group.as_deref(), &worker.plane.unrouted))
    }

    /// Sets the deadline of what comes next, and has interim answers passed on.
    pub(crate) fn arm(&self, upstream: &Upstream) -> Option<oneshot::Receiver<Raw>> {
        let session = &self.session;
        let client = (!self.flags.has(Flags::HTTP_10)).then(|| Rc::clone(session));
        upstream.wire.arm(client, self.upload.as_ref().map(|upload| Rc::clone(&upload.0)));
        match &self.upload {
            Some(_) => session.enter_body(Phase::Upload, self.forward.idle_body_timeout),
            None => session.enter(Phase::Wait, Some(self.forward.first_byte_timeout)),
        }
        self.upgrade.then(|| upstream.wire.expect_raw())
    }

    /// Sends the request and waits for the head of the answer. `None` where that took too long.
    async fn send(&self, upstream: &mut Upstream, request: Request<Upload>) -> Option<Sent> {
        let session = &self.session;
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
        answer.await
    }

    /// What sending came to.
    pub(crate) fn outcome(&self, sent: Option<Sent>, upstream: &Upstream) -> Result<Response<Incoming>, Unsent> {
        let session = &self.session;
        let mut error = match sent {
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
        let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::debug!(instance = %self.ticket.instance.address, %error, why, "the connection broke");
        if error.is_user() {
            return Err(Unsent::Client(Refusal::bad("the body was cut off")));
        }
        Err(Unsent::Broken { answered: upstream.wire.is_answered() })
    }

    /// The visitor's next request goes to the same release.
    fn remember_visitor(&self, answer: &mut Response<Incoming>) {
        let placement = &self.ticket.instance.placement.id;
        let group = self.is_new_visitor.then(|| self.session.worker().present_group(&placement.key)).flatten();
        let cookie = group.as_ref().and_then(|group| group.split.as_ref()?.set_cookie(placement));
        if let Some(cookie) = cookie {
            answer.headers_mut().append(SET_COOKIE, cookie.clone());
        }
    }

    /// The head of the answer is here.
    pub(crate) fn begin_answer(
        mut self,
        mut answer: Response<Incoming>,
        upstream: Upstream,
        raw: Option<oneshot::Receiver<Raw>>,
    ) -> Result<Response<AnswerBody>, Own> {
        let latency_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.ticket.instance.placement.took();
        let is_upgrade = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        *answer.version_mut() = http::Version::HTTP_11;
        self.ticket.traffic().answer(answer.status().as_u16(), latency_us);
        if !is_upgrade {
            headers::to_client(answer.headers_mut(), false);
            self.remember_visitor(&mut answer);
            if let Some(upload) = &self.upload {
                upload.0.answered();
            }
            self.session.enter_body(Phase::Answer, self.forward.idle_body_timeout);
            self.session.answer_streams_events(headers::is_event_stream(answer.headers()));
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

/// Sending such a request twice is the same as sending it once (RFC 9110, 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}
