//! A flood of output: an application that writes tens of megabytes a second and a line of a gigabyte, with a client
//! that follows the log and another client that does not read its output.

use super::lost_requests;
use gapless_harness::{App, Host, Load, Outcome, Runtime, Usage, system, wait_for};
use gapless_ledger::Report;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

const RATE_PER_S: u32 = 100;
const LONG_LINE_DEADLINE: Duration = Duration::from_secs(120);
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// The size of the flood.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// The application's output, in MB a second.
    pub mb_per_s: u64,
    /// The length of its first line, in MB.
    pub long_line_mb: u64,
    /// The duration.
    pub lasting: Duration,
    /// The runtime.
    pub runtime: Runtime,
}

/// The result.
#[derive(Debug)]
pub struct FloodReport {
    /// The ledger's report.
    pub report: Report,
    /// The output that the application could write, in MB a second.
    pub written_mb_per_s: f64,
    /// Lines that the following client received.
    pub followed: u64,
    /// The maximum usage of the server.
    pub server: Usage,
    /// The maximum usage of the shim; zero with Docker.
    pub shim: Usage,
    /// The maximum size of the log files, in bytes; 0 with Docker.
    pub log_bytes: u64,
}

/// A flood from a process, then from a container.
#[must_use]
pub fn scenario() -> Outcome {
    let mut violations = Vec::new();
    let mut one = |runtime| {
        let flood = Flood { mb_per_s: 50, long_line_mb: 1024, lasting: Duration::from_secs(30), runtime };
        let result = run(flood);
        let report = result.report;
        violations.extend(lost_requests(report.failed, &report.failures));
        json!({
            "requests": report.requests,
            "failed": report.failed,
            "failures": report.failures.iter().map(|failure| format!("{failure:?}")).collect::<Vec<_>>(),
            "p99_us": report.latency.p99_us,
            "written_mb_per_s": result.written_mb_per_s,
            "followed_lines": result.followed,
            "server_memory_kib": result.server.memory_kib,
            "shim_memory_kib": result.shim.memory_kib,
            "log_bytes": result.log_bytes,
        })
    };
    let figures = json!({ "process": one(Runtime::Process), "docker": one(Runtime::Docker) });
    Outcome { figures, violations }
}

/// Runs the flood.
#[must_use]
pub fn run(flood: Flood) -> FloodReport {
    let host = Host::start();
    let app =
        App { tables: "[log]\nmax_size = \"10MB\"\nmax_files = 3\n".to_owned(), ..App::new("flood", flood.runtime) };
    let app = app.misbehaving(&format!("long-line={},flood={}", flood.long_line_mb, flood.mb_per_s));
    let gapless = host.gapless().within(&app.write(host.folder()));
    gapless.ok(["deploy"]);
    let load = Load::of_all_kinds(host.address(), RATE_PER_S);
    let newest = || -> Option<u64> {
        let ran = gapless.run(["logs", "-n", "1"]);
        ran.stdout.rsplit_once("line ")?.1.trim().parse().ok()
    };
    wait_for("the long line has ended", LONG_LINE_DEADLINE, newest);

    let mut reader = gapless.spawn(["logs", "--follow"]);
    // Its pipe is soon full, and nothing reads it.
    let mut sleeper = gapless.spawn(["logs", "--follow"]);
    let output = reader.stdout.take().expect("stdout is piped");
    let following = std::thread::spawn(move || {
        let mut lines = BufReader::new(output).split(b'\n');
        std::iter::from_fn(|| lines.next()?.ok()).count() as u64
    });
    let (began, first) = (Instant::now(), newest().unwrap_or_default());
    let (mut server, mut shim, mut log_bytes) = (Usage::default(), Usage::default(), 0);
    while began.elapsed() < flood.lasting {
        server = server.most(host.server_pid().and_then(Usage::of).unwrap_or_default());
        let processes = system::processes(host.folder());
        let shims = processes.iter().filter(|process| process.is("shim"));
        shim = shims.filter_map(|process| Usage::of(process.pid)).fold(shim, Usage::most);
        log_bytes = log_bytes.max(bytes_of_logs(&host.folder().join("state/processes/instances")));
        std::thread::sleep(SAMPLE_EVERY);
    }
    let lines = newest().unwrap_or_default().saturating_sub(first);
    let written_mb_per_s = lines as f64 * 99.0 / 1e6 / began.elapsed().as_secs_f64();
    let report = load.stop();
    for child in [&mut reader, &mut sleeper] {
        child.kill().expect("the process can be killed");
        child.wait().expect("the process exits");
    }
    let followed = following.join().expect("the follower thread ends");
    FloodReport { report, written_mb_per_s, followed, server, shim, log_bytes }
}

fn bytes_of_logs(instances: &Path) -> u64 {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries(instances).flat_map(|instance| entries(&instance.path()).collect::<Vec<_>>());
    let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log."));
    logs.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}
