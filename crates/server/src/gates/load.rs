//! A gate that is a stress test: at a rate that waits for nobody, or as fast as a number of connections can.

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

/// The quantiles that are told, in thousandths.
const QUANTILES: [u16; 6] = [500, 900, 950, 990, 999, 1000];
/// The longest latency that is told apart, in microseconds: a minute.
const LATENCY_US_MAX: u64 = 60_000_000;
/// How long answers are waited for when all requests have been sent.
const TAIL: Duration = Duration::from_secs(10);

pub(super) async fn run(run: &GateRun, plan: &GateLoad, door: Option<SocketAddr>) -> GateResult {
    let Some(door) = door else { return failed("the proxy listens nowhere", &run.output) };
    let Ok(mut seen) = Seen::new() else { return failed("no histogram can be made", &run.output) };
    let turns = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..plan.connections {
        let client = Client { run: run.clone(), plan: plan.clone(), door, turns: turns.clone(), began };
        connections.spawn(client.go_on());
    }
    while let Some(ended) = connections.join_next().await {
        if let Ok(Some(one)) = ended {
            seen.add(&one);
        }
    }
    let lasted = plan.duration.to_duration().min(began.elapsed()).max(Duration::from_millis(1));
    judge(run, plan, &seen, lasted)
}

fn judge(run: &GateRun, plan: &GateLoad, seen: &Seen, lasted: Duration) -> GateResult {
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
        breaches.push("no request could be sent".to_owned());
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

/// What was seen of answers.
struct Seen {
    latency_us: Histogram<u64>,
    /// Answers from 500.
    errors: u64,
    /// Requests without an answer.
    unanswered: u64,
    first_error: Option<String>,
}

impl Seen {
    fn new() -> Result<Self, hdrhistogram::CreationError> {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Seen { latency_us, errors: 0, unanswered: 0, first_error: None })
    }

    fn add(&mut self, other: &Seen) {
        // Of the same bounds, so it fits.
        let _ = self.latency_us.add(&other.latency_us);
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }

    fn take(&mut self, answer: Result<u16, String>, latency: Duration) {
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

/// One connection of the test, opened anew when it breaks.
struct Client {
    run: GateRun,
    plan: GateLoad,
    door: SocketAddr,
    turns: Arc<AtomicU64>,
    began: Instant,
}

impl Client {
    async fn go_on(self) -> Option<Seen> {
        let mut seen = Seen::new().ok()?;
        let mut connection = None;
        let end = self.began + self.plan.duration.to_duration();
        loop {
            let turn = self.turns.fetch_add(1, Ordering::Relaxed);
            // Latency counts from when a request is due: one that waits for a free connection has begun to wait.
            let due = match self.plan.rate_per_s {
                0 => Instant::now(),
                rate => self.began + Duration::from_nanos(turn.saturating_mul(1_000_000_000) / u64::from(rate)),
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
            seen.take(answer, due.elapsed());
        }
    }

    async fn ask(&self, connection: &mut Option<Connection>, turn: u64) -> Result<u16, String> {
        let count = self.plan.requests.len().max(1) as u64;
        let request = self.plan.requests.get((turn % count) as usize).ok_or("nothing to ask for")?;
        let wanted = ask(&self.run, self.door, &request.method, &request.path, std::iter::empty(), Bytes::new())?;
        let open = match connection.take() {
            Some(open) if !open.sender.is_closed() => open,
            _ => Connection::open(self.door).await?,
        };
        let open = connection.insert(open);
        open.sender.ready().await.map_err(|error| error.to_string())?;
        let answer = open.sender.send_request(wanted).await.map_err(|error| format!("no answer: {error}"))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| format!("no whole answer: {error}"))?;
        }
        Ok(status)
    }
}
