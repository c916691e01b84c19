//! The book that records every request.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that are kept; the other failures are only counted.
const FAILURES_MAX: usize = 100;

/// The kinds of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// GET on a kept connection.
    Get,
    /// GET on a fresh connection.
    GetFresh,
    /// POST of a body that is echoed.
    Post,
    /// A slow download.
    Download,
    /// A message over a WebSocket and its echo.
    WebSocket,
    /// A complete event stream.
    EventStream,
}

/// A request without a complete, correct answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The kind of the request.
    pub kind: Kind,
    /// The time of sending, in microseconds since the load started.
    pub at_us: u64,
    /// The time from sending to the failure, in microseconds.
    pub after_us: u64,
    /// The release that had started to answer, if any.
    pub release: Option<String>,
    /// The error.
    pub cause: String,
}

/// The answers of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReleaseCount {
    /// Requests.
    pub requests: u64,
    /// The time at which the first of them was sent, in microseconds since the load started.
    pub first_at_us: u64,
    /// The time at which the last of them was sent, in microseconds since the load started.
    pub last_at_us: u64,
}

/// The time from the scheduled sending to the end of the answer, in microseconds, without streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The maximum.
    pub max_us: u64,
}

/// The report of all requests.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failed: u64,
    /// The first hundred failures.
    pub failures: Vec<Failure>,
    /// Requests by kind.
    pub by_kind: BTreeMap<Kind, u64>,
    /// Requests by the release that answered.
    pub by_release: BTreeMap<String, ReleaseCount>,
    /// The latency of answers.
    pub latency: Latency,
    /// Connections that the server closed between two requests.
    pub closed: u64,
    /// Connections that the server closed with a request on its way; the request was sent once more.
    pub closed_under_request: u64,
    /// How often a server asked for a new connection: WebSockets closed with 1001 or 1012, event streams that ended.
    pub moved: u64,
    /// The duration of the load.
    pub duration_ms: u64,
}

pub(crate) struct Book {
    began: Instant,
    pages: Mutex<Pages>,
}

struct Pages {
    requests: u64,
    failed: u64,
    failures: Vec<Failure>,
    by_kind: BTreeMap<Kind, u64>,
    by_release: BTreeMap<String, ReleaseCount>,
    latency: Histogram<u64>,
    closed: u64,
    closed_under_request: u64,
    moved: u64,
}

/// A request in flight.
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// The scheduled time of sending.
    pub(crate) due: Instant,
}

impl Book {
    pub(crate) fn new() -> Self {
        // A precision of two digits is valid, and the histogram resizes itself.
        #[allow(clippy::expect_used)]
        let latency = Histogram::new(2).expect("a histogram of two digits");
        let pages = Pages {
            requests: 0,
            failed: 0,
            failures: Vec::new(),
            by_kind: BTreeMap::new(),
            by_release: BTreeMap::new(),
            latency,
            closed: 0,
            closed_under_request: 0,
            moved: 0,
        };
        Book { began: Instant::now(), pages: Mutex::new(pages) }
    }

    /// Records a complete, correct answer of `release`.
    pub(crate) fn answered(&self, entry: &Entry, release: &str) {
        let at_us = micros(entry.due.saturating_duration_since(self.began));
        let mut pages = self.lock();
        pages.count(entry.kind);
        let count = pages.by_release.entry(release.to_owned()).or_default();
        if count.requests == 0 {
            count.first_at_us = at_us;
        }
        count.requests += 1;
        count.last_at_us = count.last_at_us.max(at_us);
        if entry.kind != Kind::EventStream {
            // Only a value beyond the histogram's range fails, and the histogram resizes itself.
            let _ = pages.latency.record(micros(entry.due.elapsed()));
        }
    }

    /// Records a failure.
    pub(crate) fn failed(&self, entry: &Entry, release: Option<String>, cause: impl Into<String>) {
        let at_us = micros(entry.due.saturating_duration_since(self.began));
        let after_us = micros(entry.due.elapsed());
        let mut pages = self.lock();
        pages.count(entry.kind);
        pages.failed += 1;
        if pages.failures.len() < FAILURES_MAX {
            pages.failures.push(Failure { kind: entry.kind, at_us, after_us, release, cause: cause.into() });
        }
    }

    /// Records a connection that the server closed between two requests.
    pub(crate) fn closed(&self, is_under_request: bool) {
        let mut pages = self.lock();
        pages.closed += 1;
        pages.closed_under_request += u64::from(is_under_request);
    }

    /// Records that a server asked for a new connection.
    pub(crate) fn moved(&self) {
        self.lock().moved += 1;
    }

    pub(crate) fn requests(&self) -> u64 {
        self.lock().requests
    }

    pub(crate) fn report(&self) -> Report {
        let pages = self.lock();
        let quantile = |quantile| pages.latency.value_at_quantile(quantile);
        Report {
            requests: pages.requests,
            failed: pages.failed,
            failures: pages.failures.clone(),
            by_kind: pages.by_kind.clone(),
            by_release: pages.by_release.clone(),
            latency: Latency {
                p50_us: quantile(0.5),
                p90_us: quantile(0.9),
                p99_us: quantile(0.99),
                max_us: pages.latency.max(),
            },
            closed: pages.closed,
            closed_under_request: pages.closed_under_request,
            moved: pages.moved,
            duration_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn count(&mut self, kind: Kind) {
        self.requests += 1;
        *self.by_kind.entry(kind).or_default() += 1;
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
