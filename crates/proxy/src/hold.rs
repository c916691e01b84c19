//! Requests that wait because their application's are held: nothing of their bodies is read meanwhile, and they go on,
//! by the table of then, as soon as a data plane goes by one that holds them no more.

use crate::body::AnswerBody;
use crate::guard::Flags;
use crate::pages::{self, Trouble};
use crate::router::{Group, OwnCounts};
use crate::sending::{NotSent, Own, Sending};
use crate::session::Session;
use gapless_core::AppKey;
use gapless_core::spec::HoldSettings;
use http::{Request, Response, request};
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is held of a group, and was.
#[derive(Debug, Default)]
pub(crate) struct HeldCounts {
    now: AtomicU64,
    bytes: AtomicU64,
    total: AtomicU64,
    longest_us: AtomicU64,
    release_us: AtomicU64,
    refused: AtomicU64,
}

impl HeldCounts {
    /// All that were held; in microseconds the longest wait, and the longest from being let go to being sent on; and those
    /// that could not be held.
    pub(crate) fn told(&self) -> (u64, u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.total), read(&self.longest_us), read(&self.release_us), read(&self.refused))
    }
}

/// Which group holds a request.
pub(crate) struct Holding {
    pub(crate) key: Arc<AppKey>,
    pub(crate) settings: HoldSettings,
    pub(crate) own: Arc<OwnCounts>,
}

/// A request that waits; it is counted until this is dropped.
struct Waiting {
    own: Arc<OwnCounts>,
    bytes: u64,
    since: Instant,
}

impl Waiting {
    /// Nothing where the bounds are reached.
    fn begin(holding: &Holding, bytes: u64) -> Option<Waiting> {
        let (held, settings) = (&holding.own.held, &holding.settings);
        let count = held.now.fetch_add(1, Ordering::Relaxed) + 1;
        let sum = held.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let waiting = Waiting { own: Arc::clone(&holding.own), bytes, since: Instant::now() };
        if count > u64::from(settings.requests_max) || sum > settings.bytes_max {
            held.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        held.total.fetch_add(1, Ordering::Relaxed);
        Some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let held = &self.own.held;
        held.now.fetch_sub(1, Ordering::Relaxed);
        held.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        let waited = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        held.longest_us.fetch_max(waited, Ordering::Relaxed);
    }
}

/// Waits until the request is held no more, and has it answered.
pub(crate) async fn answer(
    session: Rc<Session>,
    mut request: Request<Incoming>,
    flags: Flags,
    mut holding: Holding,
) -> Result<Response<AnswerBody>, Own> {
    let worker = Rc::clone(session.worker());
    let give_up = |group: Option<&Group>| {
        Err(Box::new(pages::trouble(Trouble::Unavailable, group, &worker.plane.unrouted)) as Own)
    };
    let (parts, body) = request.into_parts();
    let bytes = head_bytes(&parts);
    request = Request::from_parts(parts, body);
    let deadline = Instant::now() + holding.settings.timeout.to_duration();
    let Some(waiting) = Waiting::begin(&holding, bytes) else {
        return give_up(worker.present_group(&holding.key).as_deref());
    };
    loop {
        if !wait(&session, &holding.key, deadline).await {
            drop(waiting);
            return give_up(worker.present_group(&holding.key).as_deref());
        }
        // In its turn: thousands of connections at once overflow what an instance can queue, and the kernel resets them.
        // Past the deadline it takes its chance.
        let left = deadline.saturating_duration_since(Instant::now());
        let _turn = tokio::time::timeout(left, worker.turns.acquire()).await;
        match Sending::new(&session, request, flags) {
            Ok((sending, request)) => {
                holding.own.held.release_us.fetch_max(worker.plane.routed_for_us(), Ordering::Relaxed);
                drop(waiting);
                let pooled = sending.pooled();
                return sending.run(request, pooled, 1).await;
            }
            Err(NotSent::Own(own)) => return Err(own),
            // Held again, before it could go on.
            Err(NotSent::Held(held)) => (request, holding) = *held,
        }
    }
}

/// Waits until the group holds nothing. Returns whether that came before the deadline.
async fn wait(session: &Session, key: &AppKey, deadline: Instant) -> bool {
    let worker = session.worker();
    let mut changed = worker.plane.routed.subscribe();
    loop {
        let is_held = worker.present_group(key).is_some_and(|group| group.source.hold.is_some());
        if !is_held {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return false;
        }
        // The data plane ends: its last act is to answer what it has.
        if let Ok(Err(_)) = tokio::time::timeout(left, changed.changed()).await {
            return false;
        }
    }
}

/// About how much memory a request takes that waits.
fn head_bytes(parts: &request::Parts) -> u64 {
    let headers: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (headers + parts.uri.path().len()) as u64
}
