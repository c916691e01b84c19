//! One request at one instance, from the choice of the instance to the end of the answer: counted while it lasts, and
//! its connection kept afterwards where it is good for another.

use crate::body::UploadHold;
use crate::placement::CoreInstance;
use crate::session::Session;
use crate::traffic::{CoreTraffic, Failure};
use crate::upstream::Upstream;
use crate::worker::Worker;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A request in flight. It is counted until this is dropped.
pub(crate) struct Ticket {
    worker: Rc<Worker>,
    pub(crate) instance: Arc<CoreInstance>,
    upgraded: bool,
    /// Whether it ended as it should, or a failure was counted.
    settled: bool,
}

impl Ticket {
    pub(crate) fn new(worker: &Rc<Worker>, instance: Arc<CoreInstance>, now: Instant) -> Self {
        instance.placement.core(worker.index).begin(worker.deadlines.epoch_us(now));
        instance.begin(worker.index);
        Ticket { worker: Rc::clone(worker), instance, upgraded: false, settled: false }
    }

    /// The request goes to another instance.
    pub(crate) fn move_to(&mut self, instance: Arc<CoreInstance>) {
        if Arc::ptr_eq(&self.instance.placement, &instance.placement) {
            self.instance.end(self.worker.index);
            instance.begin(self.worker.index);
            self.instance = instance;
            self.settled = false;
        } else {
            let next = Ticket::new(&self.worker, instance, Instant::now());
            std::mem::replace(self, next).settle();
        }
    }

    pub(crate) fn traffic(&self) -> &CoreTraffic {
        self.instance.placement.core(self.worker.index)
    }

    pub(crate) fn upgrade(&mut self) {
        self.upgraded = true;
        self.traffic().upgraded.add(1);
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.settled = true;
        self.traffic().fail(failure);
        if failure != Failure::Timeout && self.instance.placement.failed() {
            self.worker.plane.news();
        }
        if failure == Failure::Connect {
            self.instance.connect_failed(self.worker.index);
            self.worker.plane.connect_failed();
        }
    }

    /// The same, unless a failure has been counted already.
    pub(crate) fn fail_once(&mut self, failure: Failure) {
        if !self.settled {
            self.fail(failure);
        }
    }

    /// It ended as it should.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let traffic = self.traffic();
        if self.upgraded {
            traffic.upgraded.subtract(1);
        }
        if !self.settled {
            traffic.abandoned.add(1);
        }
        traffic.in_flight.subtract(1);
        self.instance.end(self.worker.index);
        if !self.instance.placement.is_live() && self.instance.placement.in_flight() == 0 {
            self.worker.plane.news();
        }
    }
}

/// A request whose answer has begun.
pub(crate) struct Exchange {
    ticket: Ticket,
    upstream: Upstream,
    session: Rc<Session>,
    upload: Option<UploadHold>,
}

impl Exchange {
    pub(crate) fn new(ticket: Ticket, upstream: Upstream, session: Rc<Session>, upload: Option<UploadHold>) -> Self {
        Exchange { ticket, upstream, session, upload }
    }

    /// A part of the answer came.
    pub(crate) fn moved(&self) {
        self.session.soil();
        self.session.touch();
    }

    /// The server ends the answer with bytes of its own.
    pub(crate) fn ends_with_bytes(&self) {
        self.session.soil();
    }

    /// The answer broke off.
    pub(crate) fn broke(&mut self) {
        self.ticket.fail(Failure::Reset);
    }

    /// The answer has ended.
    pub(crate) fn finish(mut self) {
        self.session.rest();
        match &self.upload {
            // The application answered without reading the whole request: what is left of it would be in the way.
            Some(upload) if !upload.0.is_complete() => self.session.linger_at_end(),
            _ => self.ticket.worker.pool.give_back(&self.ticket.worker, &self.ticket.instance, self.upstream),
        }
        self.ticket.settle();
    }

    /// Whether the answer, a stream without end, is to end here.
    pub(crate) fn is_to_end(&self) -> bool {
        self.session.stream_is_to_end()
    }

    /// The answer ends here by the server's will; what is left of it stays with its connection, which is closed.
    pub(crate) fn end_early(&mut self) {
        self.session.soil();
        self.session.rest();
        self.ticket.settle();
    }

    /// Whether the next part of the answer should have come.
    pub(crate) fn is_overdue(&self) -> bool {
        self.session.is_expired()
    }

    /// The next part of the answer did not come in time.
    pub(crate) fn timed_out(&mut self) {
        self.ticket.fail(Failure::Timeout);
    }
}
