//! The deadlines of a core's connections: one number each, in a row, looked over fifty times a second. Setting one is
//! a store, so that a request costs no timer.

use crate::session::Session;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// How exact deadlines are.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// No deadline.
pub(crate) const NEVER: u32 = u32::MAX;

/// How many ticks `duration` is, rounded up.
pub(crate) fn ticks(duration: Duration) -> u32 {
    let ticks = duration.as_millis().div_ceil(TICK.as_millis()) + 1;
    u32::try_from(ticks).unwrap_or(NEVER / 2).min(NEVER / 2)
}

/// The sessions of a core, each with its deadline.
pub(crate) struct Deadlines {
    start: Instant,
    /// Ticks since the start, as of the last look.
    now: Cell<u32>,
    /// What to add to the microseconds since the start for those since the Unix epoch.
    epoch_us: Cell<u64>,
    due: RefCell<Vec<u32>>,
    sessions: RefCell<Vec<Option<Rc<Session>>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    first_came: Notify,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        let deadlines = Deadlines {
            start: Instant::now(),
            now: Cell::new(0),
            epoch_us: Cell::new(0),
            due: RefCell::default(),
            sessions: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            first_came: Notify::new(),
        };
        deadlines.look_at_clock();
        deadlines
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// Ticks, up to one tick old.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// `instant` in microseconds since the Unix epoch.
    pub(crate) fn epoch_us(&self, instant: Instant) -> u64 {
        self.epoch_us.get() + micros(instant.saturating_duration_since(self.start))
    }

    /// A place for a session.
    pub(crate) fn reserve(&self) -> usize {
        if self.count.get() == 0 {
            self.look_at_clock();
            self.first_came.notify_one();
        }
        self.count.set(self.count.get() + 1);
        if let Some(place) = self.free.borrow_mut().pop() {
            return place;
        }
        self.due.borrow_mut().push(NEVER);
        let mut sessions = self.sessions.borrow_mut();
        sessions.push(None);
        sessions.len() - 1
    }

    /// Puts the session in its place.
    pub(crate) fn fill(&self, place: usize, session: Rc<Session>) {
        self.sessions.borrow_mut()[place] = Some(session);
    }

    /// Gives the place back.
    pub(crate) fn release(&self, place: usize) {
        self.due.borrow_mut()[place] = NEVER;
        let session = self.sessions.borrow_mut()[place].take();
        self.free.borrow_mut().push(place);
        self.count.set(self.count.get() - 1);
        drop(session);
    }

    /// Sets the deadline of the session at `place`, in ticks from now.
    pub(crate) fn set(&self, place: usize, ticks: u32) {
        self.due.borrow_mut()[place] = self.now.get().saturating_add(ticks);
    }

    /// Does `act` with every session.
    pub(crate) fn for_each(&self, act: impl Fn(&Rc<Session>)) {
        let sessions: Vec<Rc<Session>> = self.sessions.borrow().iter().flatten().map(Rc::clone).collect();
        sessions.iter().for_each(act);
    }

    /// Tells sessions that their deadline has passed, for ever. Sleeps while there is no session.
    pub(crate) async fn watch(&self) {
        loop {
            if self.count.get() == 0 {
                self.first_came.notified().await;
            }
            tokio::time::sleep(TICK).await;
            self.look_at_clock();
            for session in self.expired() {
                session.expire();
            }
        }
    }

    fn expired(&self) -> Vec<Rc<Session>> {
        let now = self.now.get();
        let mut due = self.due.borrow_mut();
        let mut expired = Vec::new();
        for (place, due) in due.iter_mut().enumerate() {
            if *due <= now {
                *due = NEVER;
                expired.extend(self.sessions.borrow()[place].clone());
            }
        }
        expired
    }

    pub(crate) fn look_at_clock(&self) {
        let since_start = self.start.elapsed();
        let ticks = since_start.as_millis() / TICK.as_millis();
        self.now.set(u32::try_from(ticks).unwrap_or(NEVER - 1));
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.epoch_us.set(micros(since_epoch).saturating_sub(micros(since_start)));
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000 + u64::from(duration.subsec_micros())
}
