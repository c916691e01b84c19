//! Many WebSockets and many idle connections during deployments.

use super::lost_requests;
use gapless_harness::{App, Host, Load, Outcome, Runtime, Usage, wait_for};
use gapless_ledger::{LoadPlan, Report};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const RATE_PER_S: u32 = 200;
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The size of the crowd.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// WebSockets, each with a message a second.
    pub websockets: usize,
    /// Idle connections, each with one answered request.
    pub idle: usize,
    /// Deployments.
    pub deploys: u32,
}

/// The result.
#[derive(Debug)]
pub struct CrowdReport {
    /// The ledger's report, including WebSockets.
    pub report: Report,
    /// Idle connections that answered another request at the end.
    pub answered: usize,
    /// Idle connections that the proxy had closed in order.
    pub closed: usize,
    /// The proxy's usage before the crowd.
    pub before: Usage,
    /// The proxy's maximum usage.
    pub most: Usage,
    /// The proxy's usage after the crowd.
    pub after: Usage,
}

/// A thousand WebSockets and ten thousand idle connections over twenty deployments.
#[must_use]
pub fn scenario() -> Outcome {
    let crowd = Crowd { websockets: 1_000, idle: 10_000, deploys: 20 };
    let CrowdReport { report, answered, closed, before, most, after } = run(crowd, &mut |line| eprintln!("{line}"));
    let figures = json!({
        "websockets": crowd.websockets,
        "idle": crowd.idle,
        "deploys": crowd.deploys,
        "requests": report.requests,
        "by_kind": report.by_kind,
        "failed": report.failed,
        "failures": report.failures.iter().map(|failure| format!("{failure:?}")).collect::<Vec<_>>(),
        "moved": report.moved,
        "p99_us": report.latency.p99_us,
        "idle_answered_again": answered,
        "idle_closed": closed,
        "proxy_memory_kib": { "before": before.memory_kib, "most": most.memory_kib, "after": after.memory_kib },
        "proxy_open_files_most": most.open_files,
    });
    let broken = crowd.idle - answered - closed;
    let broken = (broken > 0).then(|| format!("{broken} idle connections were cut off"));
    let lost = lost_requests(report.failed, &report.failures);
    Outcome { figures, violations: lost.into_iter().chain(broken).collect() }
}

/// Opens the connections, and deploys.
#[must_use]
pub fn run(crowd: Crowd, log_line: &mut dyn FnMut(&str)) -> CrowdReport {
    let host = Host::start();
    let app = App {
        // WebSockets are closed, and reopened by their clients, two seconds after the cutover.
        deploy: "observe = \"300ms\"\nkeep_warm = \"1m\"\ndrain_timeout = \"2s\"\n".to_owned(),
        ..App::new("crowd", Runtime::Process)
    };
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let proxy = host.server_info().planes.iter().find_map(|plane| plane.pid).expect("a proxy runs");
    let usage = || Usage::of(proxy).expect("the proxy runs");

    let before = usage();
    let mut idle: Vec<Idle> = (0..crowd.idle).map(|_| Idle::open(host.address())).collect();
    log_line(&format!("{} idle connections: {:?}", idle.len(), usage()));
    let load = Load::start(LoadPlan {
        rate_per_s: RATE_PER_S,
        websockets: crowd.websockets,
        websocket_every: Duration::from_secs(1),
        ..LoadPlan::new(host.address())
    });
    let mut most = before;
    for deploy in 0..crowd.deploys {
        gapless.ok(["deploy", "--force"]);
        let now = usage();
        most = most.most(now);
        let report = load.snapshot();
        log_line(&format!("deploy {}: {} requests, {} failed, {now:?}", deploy + 1, report.requests, report.failed));
    }
    wait_for("the WebSockets are moved on", Duration::from_secs(30), || {
        (load.snapshot().moved >= crowd.websockets as u64).then_some(())
    });
    let states: Vec<Again> = idle.iter_mut().map(Idle::again).collect();
    let count = |wanted: Again| states.iter().filter(|state| **state == wanted).count();
    let (answered, closed) = (count(Again::Answered), count(Again::Closed));
    let report = load.stop();
    drop(idle);
    wait_for("the proxy closes the connections", Duration::from_secs(60), || {
        (usage().open_files < before.open_files + 50).then_some(())
    });
    CrowdReport { report, answered, closed, before, most, after: usage() }
}

/// A kept connection.
struct Idle(TcpStream);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Answered,
    Closed,
    Broken,
}

impl Idle {
    /// Opens a connection, on which one request is answered.
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the proxy accepts connections");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a timeout can be set");
        let mut idle = Idle(stream);
        assert_eq!(idle.again(), Again::Answered, "the first request of a connection");
        idle
    }

    /// Sends another request.
    fn again(&mut self) -> Again {
        // Sending on a closed connection can fail or succeed.
        let sent = self.0.write_all(b"GET /up HTTP/1.1\r\nHost: crowd.test\r\n\r\n");
        let mut answer = [0; 1024];
        match self.0.read(&mut answer) {
            Ok(count) if answer[..count].starts_with(b"HTTP/1.1 200") => Again::Answered,
            Ok(0) if sent.is_ok() => Again::Closed,
            // Data sent to a closed socket is answered by a reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Again::Closed,
            _ if sent.is_err() => Again::Closed,
            _ => Again::Broken,
        }
    }
}
