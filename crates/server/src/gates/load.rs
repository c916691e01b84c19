//! A gate that is a stress test: at a fixed rate that does not wait for answers, or as fast as a number of connections
//! allows.

use super::http::{Connection, ask};
use super::{GateRun, failed, result};
use bytes::Bytes;
use gapless_core::Millis;
use gapless_core::gate::{GateLoad, GateResult, LatencyReport};
use hdrhistogram::Histogram;
use http_body_util::BodyExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The quantiles in the report, in thousandths.
const QUANTILES: [u16; 6] = [500, 900, 950, 990, 999, 1000];
/// The longest latency that the histogram distinguishes, in microseconds: a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// How long the test waits for answers after the last request was sent.
const TAIL: Duration = Duration::from_secs(10);

pub(super) async fn run(run: &GateRun, plan: &GateLoad, proxy: Option<SocketAddr>) -> GateResult {
    let Some(proxy) = proxy else { return failed("the proxy listens on no address", &run.output) };
    let Ok(mut seen) = Measurements::new() else { return failed("cannot create a histogram", &run.output) };
    let turns = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..plan.connections {
        let client = Client { run: run.clone(), plan: plan.clone(), proxy, turns: turns.clone(), started };
        connections.spawn(client.run());
    }
    while let Some(ended) = connections.join_next().await {
        if let Ok(Some(one)) = ended {
            seen.add(&one);
        }
    }
    let lasted = plan.duration.to_duration().min(started.elapsed()).max(Duration::from_millis(1));
    judge(run, plan, &seen, lasted)
}

fn judge(run: &GateRun, plan: &GateLoad, seen: &Measurements, lasted: Duration) -> GateResult {
    let quantile = |permille: u16| seen.latency_us.value_at_quantile(f64::from(permille) / 1000.0);
    let answered = seen.latency_us.len();
    let throughput = (answered as f64 / lasted.as_secs_f64()) as u64;
    let report = LatencyReport {
        requests: answered + seen.unanswered,
        failed: seen.unanswered + seen.errors,
        throughput,
        quantiles_us: QUANTILES.map(|permille| (permille, quantile(permille))).to_vec(),
    };
    for (permille, us) in &report.quantiles_us {
        run.output.line(&format!("p{:<5} {:>10.1} ms", f64::from(*permille) / 10.0, *us as f64 / 1000.0));
    }
    let mut breaches = Vec::new();
    let bounds = plan.latency_max;
    for (name, permille, bound) in [("p50", 500, bounds.p50), ("p95", 950, bounds.p95), ("p99", 990, bounds.p99)] {
        if let Some(bound) = bound
            && quantile(permille) > bound.0.saturating_mul(1000)
        {
            breaches.push(format!("{name} is {:.1} ms, at most {bound} allowed", quantile(permille) as f64 / 1000.0));
        }
    }
    if report.failed.saturating_mul(1000) > report.requests.saturating_mul(u64::from(plan.errors_max_permille)) {
        let allowed = f64::from(plan.errors_max_permille) / 10.0;
        breaches.push(format!("{} of {} requests failed, at most {allowed} % allowed", report.failed, report.requests));
    }
    if report.requests == 0 {
        breaches.push("no request was sent".to_owned());
    }
    if throughput < u64::from(plan.throughput_min) {
        breaches.push(format!("{throughput} requests/s, at least {} expected", plan.throughput_min));
    }
    if let Some(error) = &seen.first_error {
        run.output.line(&format!("first failure: {error}"));
    }
    let p99_ms = quantile(990) as f64 / 1000.0;
    let summary = match breaches.as_slice() {
        [] => format!("{} requests, {} failed, {throughput}/s, p99 {p99_ms:.1} ms", report.requests, report.failed),
        breaches => breaches.join("; "),
    };
    GateResult { latency: Some(report), ..result(breaches.is_empty(), summary, &run.output) }
}

/// The measurements of one connection, or of all of them.
struct Measurements {
    latency_us: Histogram<u64>,
    /// Answers with a status of 500 or more.
    errors: u64,
    /// Requests without an answer.
    unanswered: u64,
    first_error: Option<String>,
}

impl Measurements {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Measurements { latency_us, errors: 0, unanswered: 0, first_error: None })
    }

    fn add(&mut self, other: &Measurements) {
        // Cannot fail: both histograms have the same bounds.
        let _ = self.latency_us.add(&other.latency_us);
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }

    fn record(&mut self, answer: Result<u16, String>, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let error = match answer {
            Ok(status) => {
                self.latency_us.saturating_record(us);
                self.errors += u64::from(status >= 500);
                (status >= 500).then(|| format!("answered {status}"))
            }
            Err(why) => {
                self.unanswered += 1;
                Some(why)
            }
        };
        self.first_error = self.first_error.take().or(error);
    }
}

/// One connection of the test, opened again after a failure.
struct Client {
    run: GateRun,
    plan: GateLoad,
    proxy: SocketAddr,
    turns: Arc<AtomicU64>,
    started: Instant,
}

impl Client {
    async fn run(self) -> Option<Measurements> {
        let mut seen = Measurements::new().ok()?;
        let mut connection = None;
        let end = self.started + self.plan.duration.to_duration();
        loop {
            let turn = self.turns.fetch_add(1, Ordering::Relaxed);
            // Latency counts from the time at which a request is due, and includes the wait for a free connection.
            let due = match self.plan.rate_per_s {
                0 => Instant::now(),
                rate => self.started + Duration::from_nanos(turn.saturating_mul(1_000_000_000) / u64::from(rate)),
            };
            if due >= end {
                return Some(seen);
            }
            tokio::time::sleep_until(due).await;
            let answer = tokio::time::timeout_at(end + TAIL, self.ask(&mut connection, turn)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(format!("no answer within {}", Millis::from_secs(TAIL.as_secs()))));
            if answer.is_err() {
                connection = None;
            }
            seen.record(answer, due.elapsed());
        }
    }

    async fn ask(&self, connection: &mut Option<Connection>, turn: u64) -> Result<u16, String> {
        let count = self.plan.requests.len().max(1) as u64;
        let request = self.plan.requests.get((turn % count) as usize).ok_or("the gate has no request")?;
        let wanted = ask(&self.run, self.proxy, &request.method, &request.path, std::iter::empty(), Bytes::new())?;
        let open = match connection.take() {
            Some(open) if !open.sender.is_closed() => open,
            _ => Connection::open(self.proxy).await?,
        };
        let open = connection.insert(open);
        open.sender.ready().await.map_err(|error| error.to_string())?;
        let answer = open.sender.send_request(wanted).await.map_err(|error| format!("no answer: {error}"))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| format!("incomplete answer: {error}"))?;
        }
        Ok(status)
    }
}
